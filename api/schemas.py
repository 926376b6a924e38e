"""The wire: what requests must be, and answers about neighbors. These types go no further in.

Requests are Pydantic models that forbid unknown fields. Answers are typed dictionaries: they are
built by us, so they are checked by tests instead of at every request.
"""

from datetime import datetime
from typing import Annotated, Literal, NotRequired

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from index.answers import (
    EF_SEARCH_MAX,
    FILTER_POLICIES_MAX,
    K_MAX,
    MEMBERS_MAX,
    Counted,
    Filter,
    NeighborRequest,
    Purpose,
    SearchMode,
    members_fault,
)
from index.config import QUERY_EVENTS_MAX, QUERY_STRING_CHARS_MAX
from store.tables import USER_ID_BYTES_MAX

BATCH_QUERIES_MAX = 1_000
BATCH_HITS_MAX = 100_000
RISK_USERS_MAX = 1_000
FEATURE_USERS_MAX = 10_000
VECTOR_MAX = 8_192
PURPOSE_TEXT = (
    "what the neighbors are for: `evader` and `ring` compare vectors as they are; `same_kind`, the "
    "same behavior wherever it happens, weighs their blocks otherwise, and searches exactly"
)

COUNT_MEANING = (
    "what `k` counts: `users`, of whom those who share a vector take at most a quarter of the "
    "places while others could fill them; or `behaviors`, distinct vectors of one hit each"
)
MEMBERS_MEANING = (
    "name so many others of each hit's vector, known violators first; needs `count` to be "
    "`behaviors`, and `k` times `members` to be at most 10,000"
)

USER_ID_MAX = 1_024
TOO_MANY_BYTES = f"must have at most {USER_ID_BYTES_MAX:,} bytes"


def _check_bytes(user_id: str) -> str:
    if len(user_id) * 4 > USER_ID_BYTES_MAX and len(user_id.encode()) > USER_ID_BYTES_MAX:
        raise PydanticCustomError("bytes_too_many", TOO_MANY_BYTES)
    return user_id


UserId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=USER_ID_MAX, pattern=r"^[^\x00]*$"),
    AfterValidator(_check_bytes),
]  # PostgreSQL stores no zero character
Attribute = (
    Annotated[str, StringConstraints(max_length=QUERY_STRING_CHARS_MAX)]
    | bool
    | int
    | FiniteFloat
    | None
)

_VECTOR_EXAMPLE: JsonDict = {"query": {"vector": [0.12, -0.07, 0.31], "space_id": "3f9a5c"}, "k": 5}
_EVENTS_EXAMPLE: JsonDict = {
    "query": {
        "events": [
            {"ts": "2026-03-01T18:20:00Z", "event_type": "join", "place": "arena-7"},
            {"ts": "2026-03-01T18:21:30Z", "event_type": "trade", "place": "market"},
        ]
    },
    "k": 10,
}
_BEHAVIORS_EXAMPLE: JsonDict = {
    "query": {"user_id": "u-1024"},
    "k": 5,
    "count": "behaviors",
    "members": 20,
}
_USER_EXAMPLE: JsonDict = {
    "query": {"user_id": "u-1024"},
    "k": 10,
    "known_violators": True,
    "explain": True,
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EventBody(BaseModel):
    """One event; every further field is an attribute, as in the event files."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, Attribute]

    ts: Annotated[str, StringConstraints(max_length=64)] | int | FiniteFloat = Field(
        description="ISO 8601 or seconds since 1970, UTC"
    )
    event_type: Annotated[str, StringConstraints(min_length=1, max_length=1_024)] = Field(
        description="what was done"
    )


class QueryBody(_Strict):
    """Whom to look for: exactly one of `user_id`, `events` and `vector`."""

    user_id: UserId | None = Field(None, description="a user of the live build")
    events: list[EventBody] | None = Field(
        None,
        min_length=1,
        max_length=QUERY_EVENTS_MAX,
        description="events embedded on the spot, in any order",
    )
    vector: list[FiniteFloat] | None = Field(
        None, min_length=1, max_length=VECTOR_MAX, description="an embedding; needs `space_id`"
    )
    space_id: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = Field(
        None, description="the space of `vector`; 409 where the live build is of another"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "QueryBody":
        given = [value for value in (self.user_id, self.events, self.vector) if value is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of user_id, events and vector")
        if (self.vector is None) != (self.space_id is None):
            raise ValueError("vector and space_id go together")
        return self


class FilterBody(_Strict):
    """Which users may be returned: those that pass every condition given."""

    policies: list[Annotated[str, StringConstraints(max_length=1_024)]] | None = Field(
        None,
        min_length=1,
        max_length=FILTER_POLICIES_MAX,
        description="violators of one of these policies",
    )
    label: Literal[0, 1] | None = Field(None, description="1 violators, 0 benign users")
    min_events: Annotated[int, Field(ge=0)] | None = Field(None, description="inclusive")
    max_events: Annotated[int, Field(ge=0)] | None = Field(None, description="inclusive")
    first_seen_after: AwareDatetime | None = Field(None, description="inclusive")
    first_seen_before: AwareDatetime | None = Field(None, description="exclusive")
    last_seen_after: AwareDatetime | None = Field(None, description="inclusive")
    last_seen_before: AwareDatetime | None = Field(None, description="exclusive")

    def to_domain(self) -> Filter:
        """Return the index's own form."""
        values = self.model_dump()
        policies = values.pop("policies")
        return Filter(policies=None if policies is None else tuple(policies), **values)


class ParamsBody(_Strict):
    """How to search; the defaults are the build's."""

    exact: bool = Field(False, description="search exactly, not with the approximate index")
    ef_search: Annotated[int, Field(ge=1, le=EF_SEARCH_MAX)] | None = Field(
        None, description="beam width or lists probed; the build's own if absent"
    )
    purpose: Purpose | None = Field(None, description=PURPOSE_TEXT)


def _check_members(members: int, info: ValidationInfo) -> int:
    """Refuse members that the other fields, read before, do not allow."""
    if {"k", "count"} <= info.data.keys():
        fault = members_fault(members, k=info.data["k"], count=info.data["count"])
        if fault is not None:
            raise ValueError(fault)
    return members


class NeighborsRequest(_Strict):
    """A search for look-alikes."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [_USER_EXAMPLE, _BEHAVIORS_EXAMPLE, _EVENTS_EXAMPLE, _VECTOR_EXAMPLE]
        }
    )

    query: QueryBody
    k: int = Field(10, ge=1, le=K_MAX, description="neighbors to return")
    known_violators: bool = Field(False, description="search among known violators only")
    filter: FilterBody | None = Field(None, description="conditions on the neighbors")
    params: ParamsBody = Field(ParamsBody(), description="how to search")
    explain: bool = Field(False, description="split each similarity by channel")
    count: Counted = Field("users", description=COUNT_MEANING)
    members: int = Field(0, ge=0, le=MEMBERS_MAX, description=MEMBERS_MEANING)

    _members_fit = field_validator("members")(_check_members)

    def to_domain(self) -> NeighborRequest:
        """Return the index's own form."""
        return NeighborRequest(
            k=self.k,
            known_violators=self.known_violators,
            filter=None if self.filter is None else self.filter.to_domain(),
            exact=self.params.exact,
            ef_search=self.params.ef_search,
            purpose=self.params.purpose,
            explain=self.explain,
            count=self.count,
            members=self.members,
        )


class BatchNeighborsRequest(_Strict):
    """Several searches at once."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"queries": [_USER_EXAMPLE, _EVENTS_EXAMPLE]}]}
    )

    queries: list[NeighborsRequest] = Field(
        min_length=1,
        max_length=BATCH_QUERIES_MAX,
        description=f"answered in this order; together at most {BATCH_HITS_MAX:,} neighbors and "
        "members",
    )

    @field_validator("queries")
    @classmethod
    def _bounded(cls, queries: list[NeighborsRequest]) -> list[NeighborsRequest]:
        if sum(query.k * (1 + query.members) for query in queries) > BATCH_HITS_MAX:
            raise ValueError(f"together the queries ask for more than {BATCH_HITS_MAX} neighbors")
        return queries


class NeighborParams(BaseModel):
    """The query parameters of a user's neighbors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int = Field(10, ge=1, le=K_MAX, description="neighbors to return")
    known_violators: bool = Field(False, description="search among known violators only")
    explain: bool = Field(False, description="split each similarity by channel")
    count: Counted = Field("users", description=COUNT_MEANING)
    members: int = Field(0, ge=0, le=MEMBERS_MAX, description=MEMBERS_MEANING)

    _members_fit = field_validator("members")(_check_members)
    purpose: Purpose | None = Field(None, description=PURPOSE_TEXT)


class RiskRequest(_Strict):
    """Users whose risk is asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_ids": ["u-1024", "u-7"]}]})

    user_ids: list[UserId] = Field(min_length=1, max_length=RISK_USERS_MAX)


class FeaturesRequest(_Strict):
    """Users whose features are asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_ids": ["u-1024", "u-7"]}]})

    user_ids: list[UserId] = Field(min_length=1, max_length=FEATURE_USERS_MAX)


class Meta(TypedDict):
    """What the answer rests on."""

    request_id: str
    build_id: str
    space_id: str
    data_as_of: datetime
    search_mode: Annotated[
        SearchMode | None, Field(description="which search ran; null where none or several did")
    ]
    state: Annotated[Literal["fresh", "stale"], Field(description="`stale` when the build is old")]
    age_seconds: Annotated[float, Field(description="time since the build was made")]


class MemberBody(TypedDict):
    """A user who shares the vector of a hit."""

    user_id: str
    known_violator: bool
    policy: Annotated[str | None, Field(description="what the violator was labelled for")]
    num_events: int


class HitBody(TypedDict):
    """One neighbor."""

    user_id: str
    similarity: Annotated[
        float, Field(description="cosine in [-1, 1] by the purpose's weights, higher is closer")
    ]
    known_violator: bool
    policy: Annotated[str | None, Field(description="what the violator was labelled for")]
    num_events: int
    duplicates: Annotated[
        int, Field(description="others of the same vector who could be hits, listed or not")
    ]
    channels: NotRequired[
        Annotated[dict[str, float], Field(description="shares that sum to the similarity")]
    ]
    members: NotRequired[
        Annotated[
            list[MemberBody],
            Field(description="the first of the duplicates; `duplicates` tells how many there are"),
        ]
    ]


class NeighborsAnswer(TypedDict):
    """The neighbors of one query, best first."""

    user_id: Annotated[str | None, Field(description="null for events and vectors")]
    num_events: Annotated[int | None, Field(description="events of the query; null for vectors")]
    neighbors: list[HitBody]
    meta: Meta


class FaultBody(TypedDict):
    """One thing that is wrong with a request."""

    pointer: Annotated[str, Field(description="JSON pointer, or `/name` of a query parameter")]
    detail: str


class ProblemBody(TypedDict):
    """A failure (RFC 9457)."""

    type: Annotated[str, Field(description="`urn:lookalike:problem:…`; never changes")]
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: NotRequired[list[FaultBody]]


class BatchItem(TypedDict):
    """The answer to one query of a batch."""

    status: Annotated[int, Field(description="the HTTP status that it would have had alone")]
    user_id: str | None
    num_events: int | None
    neighbors: Annotated[list[HitBody], Field(description="empty where it failed")]
    search_mode: SearchMode | None
    problem: NotRequired[Annotated[ProblemBody, Field(description="where it failed: why")]]


class BatchNeighborsAnswer(TypedDict):
    """The answers to a batch, in the order of its queries."""

    results: list[BatchItem]
    meta: Meta
