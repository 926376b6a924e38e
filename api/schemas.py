"""The wire: what requests must be and what answers are. These types go no further in.

Requests are Pydantic models that forbid unknown fields. Answers are typed dictionaries: they are
built by us, so they are checked by tests instead of at every request.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from index.answers import (
    EF_SEARCH_MAX,
    FILTER_POLICIES_MAX,
    K_MAX,
    Filter,
    NeighborRequest,
    SearchMode,
)

BATCH_QUERIES_MAX = 1_000
BATCH_HITS_MAX = 100_000
RISK_USERS_MAX = 1_000
FEATURE_USERS_MAX = 10_000
EVENTS_MAX = 10_000
VECTOR_MAX = 8_192

UserId = Annotated[str, StringConstraints(min_length=1, max_length=1_024)]
Attribute = Annotated[str, StringConstraints(max_length=16_384)] | bool | int | FiniteFloat | None

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
        max_length=EVENTS_MAX,
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
        None, description="beam width of the approximate search; the build's own if absent"
    )


class NeighborsRequest(_Strict):
    """A search for look-alikes."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_USER_EXAMPLE, _EVENTS_EXAMPLE, _VECTOR_EXAMPLE]}
    )

    query: QueryBody
    k: int = Field(10, ge=1, le=K_MAX, description="neighbors to return")
    known_violators: bool = Field(False, description="search among known violators only")
    filter: FilterBody | None = Field(None, description="conditions; the search is then exact")
    params: ParamsBody = Field(ParamsBody(), description="how to search")
    explain: bool = Field(False, description="split each similarity by channel")

    def to_domain(self) -> NeighborRequest:
        """Return the index's own form."""
        return NeighborRequest(
            k=self.k,
            known_violators=self.known_violators,
            filter=None if self.filter is None else self.filter.to_domain(),
            exact=self.params.exact,
            ef_search=self.params.ef_search,
            explain=self.explain,
        )


class BatchNeighborsRequest(_Strict):
    """Several searches at once."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"queries": [_USER_EXAMPLE, _EVENTS_EXAMPLE]}]}
    )

    queries: list[NeighborsRequest] = Field(
        min_length=1,
        max_length=BATCH_QUERIES_MAX,
        description=f"answered in this order; together at most {BATCH_HITS_MAX:,} neighbors",
    )

    @field_validator("queries")
    @classmethod
    def _bounded(cls, queries: list[NeighborsRequest]) -> list[NeighborsRequest]:
        if sum(query.k for query in queries) > BATCH_HITS_MAX:
            raise ValueError(f"together the queries ask for more than {BATCH_HITS_MAX} neighbors")
        return queries


class NeighborParams(BaseModel):
    """The query parameters of a user's neighbors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int = Field(10, ge=1, le=K_MAX, description="neighbors to return")
    known_violators: bool = Field(False, description="search among known violators only")
    explain: bool = Field(False, description="split each similarity by channel")


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
        SearchMode | None, Field(description="null where no search ran, or several kinds did")
    ]
    state: Annotated[Literal["fresh", "stale"], Field(description="`stale` when the build is old")]
    age_seconds: Annotated[float, Field(description="time since the build was made")]


class HitBody(TypedDict):
    """One neighbor."""

    user_id: str
    similarity: Annotated[float, Field(description="cosine in [-1, 1], higher is closer")]
    known_violator: bool
    policy: Annotated[str | None, Field(description="what the violator was labelled for")]
    num_events: int
    channels: NotRequired[
        Annotated[dict[str, float], Field(description="shares that sum to the similarity")]
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


class RingBody(TypedDict):
    """The ring that a user belongs to, as the others in it tell."""

    id: int
    num_users: Annotated[int, Field(description="members, the user included")]
    num_violators: Annotated[
        int, Field(description="known violators among the others; the own label never counts")
    ]
    violator_rate_lower: Annotated[
        float, Field(description="lower bound of the share of violators, by the others alone")
    ]
    cohesion: Annotated[float, Field(description="mean similarity within the ring")]


class BandRuleBody(TypedDict):
    """What `likely` means for a user; `fitted_on` everyone also where a policy has too few users.

    `policy` is the one whose known violators are most like the user, where it has a precision of
    its own; `precision` holds at its lower 95 % bound; from `likely_log_odds` on one is likely.
    """

    policy: str | None
    precision: float
    likely_log_odds: Annotated[float | None, Field(description="null where nobody can be likely")]
    fitted_on: Literal["policy", "everyone"]


class RiskBody(TypedDict):
    """The risk of one user."""

    user_id: str
    status: Literal["ok", "insufficient_data", "unknown_user"]
    probability: Annotated[
        float | None, Field(description="calibrated; null where the data does not suffice")
    ]
    log_odds: Annotated[float | None, Field(description="the same, never saturated")]
    band: Annotated[
        Literal["likely", "possible", "unlikely", "insufficient_data"],
        Field(description="for people; a person decides"),
    ]
    interval: Annotated[
        tuple[float, float] | None, Field(description="low <= probability <= high, in [0, 1]")
    ]
    num_events: int
    ring: RingBody | None
    known_violator: Annotated[
        bool, Field(description="the user's own label; it never votes on the user's own risk")
    ]
    band_rule: Annotated[
        BandRuleBody | None,
        Field(description="what `likely` means here; null where the data does not suffice"),
    ]


class RiskAnswerBody(RiskBody):
    """The risk of one user, with what it rests on."""

    meta: Meta


class BatchRiskAnswer(TypedDict):
    """The risks of several users, in the order asked."""

    risks: list[RiskBody]
    meta: Meta


class FeaturesAnswer(TypedDict):
    """The neighbor features of several users, in the order asked."""

    features: Annotated[
        list[dict[str, Any]],
        Field(description="`user_id`, `found`, `num_events` and one number per feature"),
    ]
    meta: Meta


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
    """Ties the answer to the log."""

    request_id: str


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
