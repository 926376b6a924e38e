"""`lookalike search`: the neighbors of one user, for a person at a terminal."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from index.answers import Counted, NeighborRequest, Purpose, UnknownUser
from jobs.auditing import record_read
from jobs.errors import UserUnknown
from jobs.live import open_live
from jobs.settings import Settings
from store.workspace import Workspace


@dataclass(frozen=True)
class SearchReport:
    """The neighbors of a user, best first, as in the service's answers."""

    user_id: str
    build_id: str
    space_id: str
    data_as_of: datetime
    search_mode: str
    state: str
    purpose: Purpose | None
    neighbors: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return {**asdict(self), "data_as_of": self.data_as_of.isoformat()}


def run(
    workspace: Workspace,
    settings: Settings,
    user_id: str,
    *,
    k: int,
    known_violators: bool,
    count: Counted = "users",
    purpose: Purpose | None = None,
    now: datetime,
) -> SearchReport:
    """Search in the live build; the read is audited like any other.

    Raises:
        PurposeUnavailable: If the build has no weights for the purpose.
        UserUnknown: If the build has no such user.
    """
    service = open_live(workspace, settings)
    asked = {"k": k, "known_violators": known_violators, "purpose": purpose}
    record_read(workspace, "search", [user_id], asked, now=now)
    request = NeighborRequest(k=k, known_violators=known_violators, count=count, purpose=purpose)
    (answer,) = service.neighbors_of_users([user_id], request)
    if isinstance(answer, UnknownUser):
        raise UserUnknown(f"build {service.build_id} has no user {user_id!r}")
    names = ("user_id", "similarity", "known_violator", "policy", "num_events", "duplicates")
    return SearchReport(
        user_id=user_id,
        build_id=service.build_id,
        space_id=service.space_id,
        data_as_of=service.data_as_of,
        search_mode=answer.search_mode,
        state=answer.state,
        purpose=purpose,
        neighbors=tuple({name: getattr(hit, name) for name in names} for hit in answer.hits),
    )
