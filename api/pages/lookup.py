"""Looking a user up: the same questions to the same service as the JSON endpoints ask."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from api.call import Call
from api.errors import UserNotFound
from api.pages.views import NeighborsView, ProfileView, RingView, RiskView
from api.routes.neighbors import UNKNOWN_USER, find_neighbors
from api.schemas import QueryBody, UserId
from index.answers import NeighborRequest, Purpose, RiskAnswer, UnknownUser
from index.errors import RiskUnavailable
from index.service import LookalikeService

PAGE_K_MAX = 100
PAGE_MEMBERS = 20

_RISK_HIDDEN = "Your key lacks the scope risk:read, so the risk is not shown, nor a ring."
_RISK_ABSENT = "This build was made without a risk model; there is no risk to show."


class PageParams(BaseModel):
    """What the form on the page sends."""

    model_config = ConfigDict(extra="ignore", frozen=True, str_strip_whitespace=True)

    user_id: UserId | None = None
    k: int = Field(10, ge=1, le=PAGE_K_MAX)
    known_violators: bool = False
    purpose: Purpose | None = None


@dataclass(frozen=True)
class UserView:
    """All that the page says of one user; `risk` is None where the key may not see it.

    `ring` is so too, and `shows_ring` tells that from a user who is in none.
    """

    profile: ProfileView
    ring: RingView | None
    shows_ring: bool
    risk: RiskView | None
    risk_note: str | None
    neighbors: NeighborsView


async def look_up(
    call: Call, service: LookalikeService, user_id: str, params: PageParams
) -> UserView:
    """Collect what is known of a user, as far as the key that is signed in may see it.

    Raises:
        UserNotFound: If the build has no such user.
    """
    request = NeighborRequest(
        k=params.k,
        known_violators=params.known_violators,
        explain=True,
        count="behaviors",
        members=PAGE_MEMBERS,
        purpose=params.purpose,
    )
    may_see_risk = call.key.allows("risk:read")
    call.audit_reads(
        "page.look_up", [user_id], k=params.k, purpose=params.purpose, with_risk=may_see_risk
    )
    profile = await call.services.work.run(lambda: service.profile(user_id))
    if isinstance(profile, UnknownUser):
        raise UserNotFound(UNKNOWN_USER)
    neighbors = await find_neighbors(call, service, QueryBody(user_id=user_id), request)
    risk, note = await _risk(call, service, user_id) if may_see_risk else (None, _RISK_HIDDEN)
    return UserView(
        profile=ProfileView.of(profile),
        ring=RingView.of(profile.ring) if profile.ring is not None and may_see_risk else None,
        shows_ring=may_see_risk,
        risk=risk,
        risk_note=note,
        neighbors=NeighborsView.of(neighbors, only_violators=params.known_violators),
    )


async def _risk(
    call: Call, service: LookalikeService, user_id: str
) -> tuple[RiskView | None, str | None]:
    try:
        answer = (await call.services.work.run(lambda: service.risk_of_users([user_id])))[0]
    except RiskUnavailable:
        return None, _RISK_ABSENT
    assert isinstance(answer, RiskAnswer)
    return RiskView.of(answer), None
