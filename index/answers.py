"""What the service is asked and what it answers; plain values, no arrays."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from index.approximate import IndexKind
from index.errors import InvalidRequest

SearchMode = IndexKind | Literal["exact_filtered", "approximate_filtered", "milvus_filtered"]
"""How an answer was found; of filtered ones: among all who pass, among the nearest of all, or by a
server that filters as it searches."""
State = Literal["fresh", "stale"]
RiskStatus = Literal["ok", "insufficient_data"]
Counted = Literal["users", "behaviors"]
Purpose = Literal["evader", "same_kind", "ring"]
Band = Literal["likely", "possible", "unlikely", "insufficient_data"]

AS_STORED: tuple[Purpose, ...] = ("evader", "ring")
"""Purposes that the vectors are weighted for."""

K_MAX = 1_000
EF_SEARCH_MAX = 4_096
FILTER_POLICIES_MAX = 100
MEMBERS_MAX = 1_000
MEMBERS_TOTAL_MAX = 10_000


@dataclass(frozen=True)
class Filter:
    """The users a search may return: those that pass every condition that is set.

    Attributes:
        policies: Violators of one of these policies.
        label: 1 violators, 0 benign users.
        min_events: Least number of events, inclusive; `max_events` likewise.
        first_seen_after: First event at or after this time; `..._before` is exclusive.
        last_seen_after: Last event at or after this time; `..._before` is exclusive.
    """

    policies: tuple[str, ...] | None = None
    label: Literal[0, 1] | None = None
    min_events: int | None = None
    max_events: int | None = None
    first_seen_after: datetime | None = None
    first_seen_before: datetime | None = None
    last_seen_after: datetime | None = None
    last_seen_before: datetime | None = None

    def __post_init__(self) -> None:
        if self.policies is not None and not 1 <= len(self.policies) <= FILTER_POLICIES_MAX:
            raise InvalidRequest(
                f"a filter takes 1 to {FILTER_POLICIES_MAX} policies, not {len(self.policies)}",
                pointer="filter/policies",
            )
        moments = {
            "first_seen_after": self.first_seen_after,
            "first_seen_before": self.first_seen_before,
            "last_seen_after": self.last_seen_after,
            "last_seen_before": self.last_seen_before,
        }
        for name, moment in moments.items():
            if moment is not None and moment.tzinfo is None:
                raise InvalidRequest(f"{name} needs a time zone", pointer=f"filter/{name}")


def members_fault(members: int, *, k: int, count: Counted) -> str | None:
    """Return why so many members of each hit can't be asked for; None where they can."""
    most = min(MEMBERS_MAX, MEMBERS_TOTAL_MAX // k)
    if not 0 <= members <= most:
        return f"members must be 0 to {most} for a k of {k}, not {members}"
    return 'members need count "behaviors"' if members and count == "users" else None


@dataclass(frozen=True)
class NeighborRequest:
    """How to search.

    Attributes:
        k: Hits per query, 1 to 1,000; there are fewer where the view holds fewer users.
        known_violators: Search among known violators instead of everyone.
        filter: Conditions on the users returned.
        exact: Search exactly although the build has an approximate index.
        ef_search: Beam width or lists probed, 1 to 4,096; the build's own if absent.
        explain: Also split each similarity into channels.
        count: What k counts. "users": users, no more than a quarter of the places to those who
            share a vector while others could fill them. "behaviors": distinct vectors, one hit
            each, which is a known violator where one shares it, else who has most events.
        members: Name up to so many others of each hit's vector, 0 to 1,000 and with k together
            10,000; known violators first, then by number of events. Only where behaviors count.
        purpose: What the hits are for. `same_kind` has its own block weights, so that similarities
            are other numbers, and the search is exact; all else compares vectors as they are.

    Raises:
        InvalidRequest: If a number is out of its range, or members are asked for among users.
    """

    k: int = 10
    known_violators: bool = False
    filter: Filter | None = None
    exact: bool = False
    ef_search: int | None = None
    explain: bool = False
    count: Counted = "users"
    members: int = 0
    purpose: Purpose | None = None

    @property
    def compares_as_stored(self) -> bool:
        """Whether vectors are compared as they are."""
        return self.purpose is None or self.purpose in AS_STORED

    @property
    def needs_vectors_here(self) -> bool:
        """Whether no approximate index and no server can answer it, but the mapped vectors."""
        return self.exact or not self.compares_as_stored

    def __post_init__(self) -> None:
        if not 1 <= self.k <= K_MAX:
            raise InvalidRequest(f"k must be 1 to {K_MAX}, not {self.k}", pointer="k")
        fault = members_fault(self.members, k=self.k, count=self.count)
        if fault is not None:
            raise InvalidRequest(fault, pointer="members")
        if self.ef_search is not None and not 1 <= self.ef_search <= EF_SEARCH_MAX:
            raise InvalidRequest(
                f"ef_search must be 1 to {EF_SEARCH_MAX}, not {self.ef_search}",
                pointer="params/ef_search",
            )


class Member(NamedTuple):
    """A user who shares the vector of a hit; `policy` as that of a hit."""

    user_id: str
    known_violator: bool
    policy: str | None
    num_events: int


class Hit(NamedTuple):
    """One neighbor.

    Attributes:
        similarity: True cosine in [-1, 1], under the block weights of the purpose. The hub
            correction changes the order of hits, never this number, so it need not descend
            strictly.
        policy: What the violator was labelled for; None for others.
        duplicates: How many others behave the same to the last bit but float noise, and could be
            hits too: they are in the view, pass the filter, are neither erased nor asked about.
        channels: Block name to its share of the similarity; the shares sum to it. Only on request.
        members: The first of those duplicates, known violators first. Only on request; there are
            more where `duplicates` is larger.
    """

    user_id: str
    similarity: float
    known_violator: bool
    policy: str | None
    num_events: int
    duplicates: int
    channels: dict[str, float] | None = None
    members: tuple[Member, ...] | None = None


@dataclass(frozen=True, slots=True)
class NeighborAnswer:
    """The neighbors of one query, best first.

    Attributes:
        user_id: The user asked about; None for events and vectors.
        num_events: Events behind the query; None for a vector.
        state: "stale" when the build is older than the service was told to accept silently.
    """

    user_id: str | None
    hits: tuple[Hit, ...]
    search_mode: SearchMode
    num_events: int | None
    state: State


@dataclass(frozen=True, slots=True)
class UnknownUser:
    """The build has no user of this id."""

    user_id: str


@dataclass(frozen=True, slots=True)
class RingInfo:
    """The ring a user belongs to, as of the build and as the others in it tell.

    The user's own label changes nothing here.

    Attributes:
        num_users: Members, the user included.
        num_violators: Known violators among the other members.
        violator_rate_lower: Lower bound of the share of violators, in [0, 1], by the other members
            and all other rings.
        cohesion: Mean similarity within the ring.
    """

    id: int
    num_users: int
    num_violators: int
    violator_rate_lower: float
    cohesion: float


@dataclass(frozen=True, slots=True)
class BandRule:
    """What `likely` means for a user.

    Attributes:
        policy: The policy whose known violators are most like the user, where it has a precision of
            its own; None where what holds for everyone holds.
        precision: Share of violators among the likely, at its lower 95 % bound, on held-out users.
        likely_log_odds: From where on a user is likely; None where no threshold earned it.
        fitted_on: Held-out users of this policy, or everyone: where there is no policy, or too few
            users of it.
    """

    policy: str | None
    precision: float
    likely_log_odds: float | None
    fitted_on: Literal["policy", "everyone"]


@dataclass(frozen=True, slots=True)
class RiskAnswer:
    """The risk of one user.

    Attributes:
        user_id: None for events.
        status: "insufficient_data" when there are too few events to say anything.
        probability: Calibrated, in [0, 1]; None where the data does not suffice.
        log_odds: The same without saturation; None likewise.
        interval: 0 <= low <= probability <= high <= 1; None likewise.
        known_violator: The user's own label; it never votes on the user's own risk.
        band_rule: What `likely` means for this user; None where the data does not suffice.
    """

    user_id: str | None
    status: RiskStatus
    probability: float | None
    log_odds: float | None
    band: Band
    interval: tuple[float, float] | None
    num_events: int
    ring: RingInfo | None
    known_violator: bool
    band_rule: BandRule | None = None


@dataclass(frozen=True, slots=True)
class UserProfile:
    """What a build knows of a user; `label` is None while unknown."""

    user_id: str
    num_events: int
    first_seen: datetime
    last_seen: datetime
    label: Literal[0, 1] | None
    policy: str | None
    group: str | None
    occurred_at: datetime | None
    known_at: datetime | None
    ring: RingInfo | None


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old the data of a build is."""

    state: State
    age_seconds: float
