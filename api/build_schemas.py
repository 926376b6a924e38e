"""The wire: answers about builds. They are built by us, so tests check them, not every request."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict


class BuildBody(TypedDict):
    """One build on disk."""

    build_id: str
    created_at: datetime | None
    data_as_of: datetime | None
    space_id: str | None
    num_users: int
    num_violators: int
    size_bytes: int
    gate: Annotated[
        Literal["passed", "refused", "forced"] | None,
        Field(description="what the gate said; null where it never ran"),
    ]
    damage: Annotated[str | None, Field(description="why the build can't be read, where it can't")]
    live: bool
    previous: Annotated[bool, Field(description="whether a rollback would make it live")]


class OpsMeta(TypedDict):
    """Ties the answer to the log, and says of the build that this worker serves; null for none."""

    request_id: str
    build_id: str | None
    space_id: str | None
    data_as_of: datetime | None
    search_mode: None
    state: Literal["fresh", "stale"] | None


class BuildsAnswer(TypedDict):
    """All builds, newest first."""

    builds: list[BuildBody]
    live: str | None
    previous: str | None
    meta: OpsMeta


class LiveAnswer(TypedDict):
    """Which build is live after a promotion or a rollback."""

    live: str
    previous: str | None
    meta: OpsMeta
