"""A build of a few invented users, and the worker's services around it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import pyarrow as pa

from api.audit import AuditWriter
from api.logs import UserHasher
from api.metrics import ServiceMetrics
from api.scopes import ServedKeys
from api.services import Services
from api.work import WorkPool
from index.answers import (
    BandRule,
    Freshness,
    Hit,
    Member,
    NeighborAnswer,
    NeighborRequest,
    RingInfo,
    RiskAnswer,
    SearchMode,
    UnknownUser,
    UserProfile,
)
from index.errors import DimensionMismatch, InvalidEvents, NoLiveBuild, NotAVector, SpaceMismatch
from index.live import LiveService, LiveStatus
from index.serve_config import ServeConfig
from index.vectors import Vectors
from store.audit import AuditEntry
from store.keys import Key
from store.workspace import Workspace

DIM = 4
SPACE_ID = "5pace"
DATA_AS_OF = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RING = RingInfo(id=17, num_users=12, num_violators=5, violator_rate_lower=0.24, cohesion=0.83)
USER_IDS = ("u-1", "u-2", "a/b", "x:y", "ü", "<script>alert(1)</script>", "newcomer", "u 7")
DUPLICATES = {"ü": 23}
VIOLATORS = {"u-2": "spam", "a/b": "bot", "x:y": "spam"}


class FakeBuild:
    """Answers as a loaded build does, from made-up numbers."""

    build_id = "b20260301T120000-fake"
    space_id = SPACE_ID
    data_as_of = DATA_AS_OF
    num_users = len(USER_IDS)
    num_violators = len(VIOLATORS)
    dim = DIM
    search_mode: SearchMode = "exact"

    def __init__(self) -> None:
        self.state = Freshness("fresh", 3_600.0)
        self.failure: Exception | None = None
        self.asked: list[NeighborRequest] = []

    def freshness(self) -> Freshness:
        return self.state

    def neighbors_of_users(
        self, user_ids: Sequence[str], request: NeighborRequest
    ) -> list[NeighborAnswer | UnknownUser]:
        self._fail()
        self.asked.append(request)
        return [
            _answer(user_id, request) if user_id in USER_IDS else UnknownUser(user_id)
            for user_id in user_ids
        ]

    def neighbors_of_vectors(
        self, vectors_QD: Vectors, space_id: str, request: NeighborRequest
    ) -> list[NeighborAnswer]:
        if space_id != SPACE_ID:
            raise SpaceMismatch(f"the vector is of space {space_id}", pointer="space_id")
        if vectors_QD.shape[1] != DIM:
            raise DimensionMismatch("the vector has a wrong length", pointer="vector")
        if not np.isfinite(vectors_QD).all():
            raise NotAVector("the vector is not finite", pointer="vector")
        return [_answer(None, request) for _ in vectors_QD]

    def neighbors_of_events(
        self, sequences: Sequence[Sequence[Mapping[str, Any]]], request: NeighborRequest
    ) -> list[NeighborAnswer]:
        for events in sequences:
            for position, event in enumerate(events):
                if event["ts"] == "bad":
                    raise InvalidEvents("no time", pointer=f"events/{position}/ts")
        return [_answer(None, request) for _ in sequences]

    def risk_of_users(self, user_ids: Sequence[str]) -> list[RiskAnswer | UnknownUser]:
        self._fail()
        return [
            _risk(user_id) if user_id in USER_IDS else UnknownUser(user_id) for user_id in user_ids
        ]

    def features_of_users(self, user_ids: Sequence[str]) -> pa.Table:
        found = [user_id in USER_IDS for user_id in user_ids]
        return pa.table(
            {
                "user_id": list(user_ids),
                "found": found,
                "num_events": pa.array([9 if known else None for known in found], pa.int64()),
                "similarity_max": pa.array(
                    [0.5 if known else None for known in found], pa.float32()
                ),
            }
        )

    def profile(self, user_id: str) -> UserProfile | UnknownUser:
        self._fail()
        if user_id not in USER_IDS:
            return UnknownUser(user_id)
        policy = VIOLATORS.get(user_id)
        return UserProfile(
            user_id=user_id,
            num_events=2 if user_id == "newcomer" else 57,
            first_seen=datetime(2026, 2, 1, 9, 30, tzinfo=UTC),
            last_seen=datetime(2026, 2, 27, 21, 5, tzinfo=UTC),
            label=None if policy is None else 1,
            policy=policy,
            group=None,
            occurred_at=None if policy is None else datetime(2026, 2, 28, tzinfo=UTC),
            known_at=None if policy is None else datetime(2026, 2, 28, tzinfo=UTC),
            ring=RING if policy == "spam" else None,
        )

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


def _answer(user_id: str | None, request: NeighborRequest) -> NeighborAnswer:
    others = [other for other in USER_IDS if other != user_id]
    if request.known_violators:
        others = [other for other in others if other in VIOLATORS]
    hits = tuple(_hit(rank, other, request) for rank, other in enumerate(others[: request.k]))
    mode: SearchMode = "exact" if request.filter is None else "exact_filtered"
    return NeighborAnswer(user_id, hits, mode, None if user_id is None else 57, "fresh")


def _hit(rank: int, user_id: str, request: NeighborRequest) -> Hit:
    behavior, target, statistics = 0.42 - 0.02 * rank, 0.35 - 0.04 * rank, 0.12 - 0.03 * rank
    channels = {"behavior": behavior, "target": target, "statistics": statistics}
    return Hit(
        user_id=user_id,
        similarity=sum(channels.values()),
        known_violator=user_id in VIOLATORS,
        policy=VIOLATORS.get(user_id),
        num_events=57 - rank,
        duplicates=DUPLICATES.get(user_id, 0),
        channels=channels if request.explain else None,
        members=_members(user_id, request) if request.members else None,
    )


def _members(user_id: str, request: NeighborRequest) -> tuple[Member, ...]:
    number = min(DUPLICATES.get(user_id, 0), request.members)
    return tuple(
        Member(f"{user_id}-copy-{copy}", copy == 0, "spam" if copy == 0 else None, 9 - copy)
        for copy in range(number)
    )


def _risk(user_id: str) -> RiskAnswer:
    if user_id == "newcomer":
        return RiskAnswer(
            user_id, "insufficient_data", None, None, "insufficient_data", None, 2, None, False
        )
    ring = RING if VIOLATORS.get(user_id) == "spam" else None
    violator = user_id in VIOLATORS
    rule = BandRule("spam", 0.99, 1.2, "everyone")
    return RiskAnswer(user_id, "ok", 0.82, 1.52, "likely", (0.71, 0.9), 57, ring, violator, rule)


@dataclass
class FakeLive:
    """Holds a build that a test can take away."""

    build: FakeBuild | None = field(default_factory=FakeBuild)
    error: str | None = None

    def current(self) -> FakeBuild:
        if self.build is None:
            raise NoLiveBuild("nothing was published yet")
        return self.build

    def refresh(self) -> bool:
        return False

    def follow_erasures(self) -> bool:
        return False

    def status(self) -> LiveStatus:
        build_id = None if self.build is None else self.build.build_id
        return LiveStatus(build_id, None, None, self.error)


class FakeKeys:
    """Keys whose secret is their name."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {key.name: key for key in keys}

    async def check(self, secret: str) -> Key | None:
        return self._keys.get(secret)

    async def find(self, name: str) -> Key | None:
        return self._keys.get(name)

    def revoke(self, name: str) -> None:
        del self._keys[name]


@dataclass
class World:
    """The services, and the fakes behind them."""

    services: Services
    live: FakeLive
    keys: FakeKeys
    audited: list[AuditEntry]


def make_world(
    workspace: Workspace,
    *,
    config: ServeConfig | None = None,
    record: Callable[[Sequence[AuditEntry]], None] | None = None,
) -> World:
    """Return services over the fakes."""
    config = config or ServeConfig(audit_flush_seconds=0.02, poll_seconds=0.05)
    live = FakeLive()
    keys = FakeKeys(
        [
            Key("everything", frozenset({"*"}), DATA_AS_OF, None),
            Key("neighbors", frozenset({"neighbors:read"}), DATA_AS_OF, None),
            Key("risk", frozenset({"risk:read"}), DATA_AS_OF, None),
            Key("nothing", frozenset(), DATA_AS_OF, None),
        ]
    )
    audited: list[AuditEntry] = []
    services = Services(
        config=config,
        secret="s" * 40,
        workspace=workspace,
        live=cast(LiveService, live),
        keys=cast(ServedKeys, keys),
        audit=AuditWriter(
            record or audited.extend,
            rows_max=config.audit_queue_max,
            flush_seconds=config.audit_flush_seconds,
        ),
        work=WorkPool(
            num_threads=1,
            queue_max=config.work_queue_max,
            timeout_seconds=config.work_timeout_seconds,
        ),
        remote=WorkPool(
            num_threads=config.remote_threads,
            queue_max=config.work_queue_max,
            timeout_seconds=config.work_timeout_seconds,
        ),
        metrics=ServiceMetrics(),
        hash_user=UserHasher("s" * 40),
    )
    return World(services, live, keys, audited)
