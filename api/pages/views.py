"""What the page shows, worked out before the template sees it."""

from dataclasses import dataclass

from api.pages.charts import Bar, similarity_bars
from api.pages.words import (
    BAND_TITLES,
    CHANNEL_MEANINGS,
    band_rule_sentence,
    count,
    duration,
    moment,
    percent,
    policies_sentence,
    risk_sentence,
)
from index.answers import Hit, NeighborAnswer, RingInfo, RiskAnswer, UserProfile
from index.service import LookalikeService


@dataclass(frozen=True)
class BuildView:
    """Which build answers, and how old its data is."""

    build_id: str
    data_as_of: str
    age: str
    is_stale: bool
    size: str

    @classmethod
    def of(cls, service: LookalikeService) -> "BuildView":
        """Describe the build that a service answers from."""
        freshness = service.freshness()
        users, violators = count(service.num_users, "user"), f"{service.num_violators:,}"
        return cls(
            build_id=service.build_id,
            data_as_of=moment(service.data_as_of),
            age=duration(freshness.age_seconds),
            is_stale=freshness.state == "stale",
            size=f"{users}, {violators} of them known violators",
        )


@dataclass(frozen=True)
class ProfileView:
    """Who the user is."""

    user_id: str
    events: str
    first_seen: str
    last_seen: str
    label: str
    is_violator: bool
    since: str | None

    @classmethod
    def of(cls, profile: UserProfile) -> "ProfileView":
        """Describe a user."""
        return cls(
            user_id=profile.user_id,
            events=count(profile.num_events, "event"),
            first_seen=moment(profile.first_seen),
            last_seen=moment(profile.last_seen),
            label=_label(profile),
            is_violator=profile.label == 1,
            since=None if profile.occurred_at is None else moment(profile.occurred_at),
        )


def _label(profile: UserProfile) -> str:
    if profile.label == 1:
        return f"known violator: {profile.policy or 'no policy named'}"
    return "reviewed, benign" if profile.label == 0 else "none"


@dataclass(frozen=True)
class RiskView:
    """How risky the user is; numbers are percent of the scale's width."""

    band: str
    title: str
    sentence: str
    percent: str | None
    interval: str | None
    position: float
    low: float
    high: float
    rule: str | None

    @classmethod
    def of(cls, risk: RiskAnswer) -> "RiskView":
        """Describe a risk."""
        low, high = risk.interval or (0.0, 0.0)
        known = risk.probability is not None and risk.interval is not None
        return cls(
            band=risk.band,
            title=BAND_TITLES[risk.band],
            sentence=risk_sentence(risk),
            percent=percent(risk.probability) if risk.probability is not None else None,
            interval=f"{percent(low)} to {percent(high)}" if known else None,
            position=round((risk.probability or 0.0) * 100, 2),
            low=round(low * 100, 2),
            high=round(high * 100, 2),
            rule=band_rule_sentence(risk.band_rule),
        )


@dataclass(frozen=True)
class RingView:
    """The ring that the user belongs to."""

    title: str
    sentence: str

    @classmethod
    def of(cls, ring: RingInfo) -> "RingView":
        """Describe a ring."""
        return cls(
            title=f"Ring {ring.id}",
            sentence=(
                f"{count(ring.num_users, 'user')} closer to each other than chance; "
                f"{ring.num_violators:,} of the others are known violators, which tells of at "
                f"least {percent(ring.violator_rate_lower)} in such a ring; "
                f"mean similarity {ring.cohesion:.2f}."
            ),
        )


@dataclass(frozen=True)
class MemberView:
    """One of the users who behave exactly like a look-alike; `policy` is empty for no violator."""

    user_id: str
    policy: str


@dataclass(frozen=True)
class HitView:
    """One row of the look-alikes."""

    rank: int
    user_id: str
    similarity: str
    known_violator: bool
    policy: str
    events: str
    bar: Bar
    duplicates: str | None
    members: tuple[MemberView, ...]
    unnamed: str | None


@dataclass(frozen=True)
class ChannelView:
    """One entry of the legend."""

    name: str
    meaning: str


@dataclass(frozen=True)
class NeighborsView:
    """The look-alikes, with what they say together."""

    summary: str
    hits: tuple[HitView, ...]
    channels: tuple[ChannelView, ...]
    search_mode: str

    @classmethod
    def of(cls, answer: NeighborAnswer, *, only_violators: bool) -> "NeighborsView":
        """Describe an explained answer."""
        names = list(answer.hits[0].channels or {}) if answer.hits else []
        bars = similarity_bars([hit.channels or {} for hit in answer.hits], names)
        return cls(
            summary=_summary(answer.hits, only_violators=only_violators),
            hits=tuple(
                _hit(rank, hit, bar)
                for rank, (hit, bar) in enumerate(zip(answer.hits, bars, strict=True), 1)
            ),
            channels=tuple(ChannelView(name, CHANNEL_MEANINGS.get(name, "")) for name in names),
            search_mode=answer.search_mode.replace("_", " "),
        )


def _hit(rank: int, hit: Hit, bar: Bar) -> HitView:
    members = hit.members or ()
    num_unnamed = hit.duplicates - len(members)
    return HitView(
        rank=rank,
        user_id=hit.user_id,
        similarity=f"{hit.similarity:.3f}",
        known_violator=hit.known_violator,
        policy=_policy(hit.policy, hit.known_violator),
        events=f"{hit.num_events:,}",
        bar=bar,
        duplicates=f"{count(hit.duplicates, 'other')} exactly alike" if hit.duplicates else None,
        members=tuple(
            MemberView(member.user_id, _policy(member.policy, member.known_violator))
            for member in members
        ),
        unnamed=f"and {num_unnamed:,} more" if num_unnamed else None,
    )


def _policy(policy: str | None, known_violator: bool) -> str:
    return (policy or "no policy named") if known_violator else ""


def _summary(hits: tuple[Hit, ...], *, only_violators: bool) -> str:
    if not hits:
        return "Nobody to compare with."
    violators = [hit.policy for hit in hits if hit.known_violator]
    if only_violators:
        found = count(len(hits), "known violator")
        return f"The closest {found}{_alike(hits)}: {policies_sentence(violators)}."
    nearest = f"{len(hits)} most similar users{_alike(hits)}"
    if not violators:
        return f"None of the {nearest} is a known violator."
    verb = "is a known violator" if len(violators) == 1 else "are known violators"
    return f"{len(violators)} of the {nearest} {verb}: {policies_sentence(violators)}."


def _alike(hits: tuple[Hit, ...]) -> str:
    """Say that one user stands for many, where that is so."""
    return ", one for each behavior," if any(hit.duplicates for hit in hits) else ""
