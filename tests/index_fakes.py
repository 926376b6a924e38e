"""A small world for tests of the index: users, vectors, builds, a fake encoder and risk model.

Shape key: `N` users, `Q` queries, `D` dimensions, `E` events.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index.answers import BandRule
from index.build import load_build, write_build
from index.build_input import BuildInput
from index.config import GateConfig, IndexConfig
from index.gate import gate
from index.manifest import BlockSpec
from index.publish import Published, publish
from index.service import LookalikeService
from index.vectors import Vectors
from store.clock import to_us
from store.schema import Column, EventSchema, Role
from store.sequences import Int64s, SequenceBatch
from store.workspace import Workspace

SPACE_ID = "space-a"
DIM = 12
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST_TS = datetime(2026, 1, 1, tzinfo=UTC)
BLOCKS = (
    BlockSpec(name="behavior", start=0, stop=8, weight=0.8),
    BlockSpec(name="statistics", start=8, stop=DIM, weight=0.6),
)
SCHEMA = EventSchema(
    (
        Column("amount", frozenset({Role.NUMBER})),
        Column("event_type", frozenset({Role.CATEGORY})),
        Column("level", frozenset({Role.NUMBER, Role.CATEGORY})),
        Column("mobile", frozenset({Role.FLAG})),
        Column("place", frozenset({Role.TARGET, Role.TEXT})),
        Column("session", frozenset({Role.IGNORE})),
    )
)


def unit_vectors(num: int, dim: int = DIM, *, seed: int = 0) -> Vectors:
    """Return random unit rows."""
    vectors = np.random.default_rng(seed).normal(size=(num, dim))
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def clustered_vectors(num: int, dim: int, *, num_clusters: int, seed: int = 0) -> Vectors:
    """Return unit rows around random centres, as behavior is."""
    generator = np.random.default_rng(seed)
    centre = generator.normal(size=(num_clusters, dim)).astype(np.float32)
    vectors = centre[generator.integers(0, num_clusters, num)]
    vectors = vectors + generator.normal(size=(num, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def uneven_clusters(num: int, dim: int, *, num_clusters: int, seed: int = 4) -> Vectors:
    """Return unit rows of which most are amid a cluster of few directions, and some far from it."""
    generator = np.random.default_rng(seed)
    centre = generator.normal(size=(num_clusters, dim))
    basis = generator.normal(size=(6, dim))
    spread = np.exp(generator.normal(-1.5, 1.0, size=(num, 1)))
    drawn = centre[generator.integers(0, num_clusters, num)]
    drawn = drawn + generator.normal(size=(num, len(basis))) @ basis * spread
    unit: Vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return unit


def user_name(number: int) -> str:
    """Return the id of the user in a row; ids sort as numbers do."""
    return f"user-{number:07d}"


def users_table(num: int, *, violators: Sequence[int] = (), first: int = 0) -> pa.Table:
    """Return `num` users; user i has i + 1 events, starts on day i and stays an hour."""
    number = np.arange(first, first + num)
    first_ts_us = to_us(FIRST_TS) + number * 86_400_000_000
    is_violator = np.isin(np.arange(num), violators)
    label = pa.array(np.where(is_violator, 1, 0), pa.int8(), mask=number % 3 == 2)
    label = pc.if_else(pa.array(is_violator), pa.scalar(1, pa.int8()), label)
    return pa.table(
        {
            "user_id": [user_name(one) for one in number.tolist()],
            "num_events": number + 1,
            "first_ts_us": first_ts_us,
            "last_ts_us": first_ts_us + 3_600_000_000,
            "fingerprint": number * 7,
            "label": label,
            "policy": pa.array(
                ["spam" if one else None for one in is_violator.tolist()], pa.string()
            ),
            "ring": pa.array(number % 4, pa.int32(), mask=number % 2 == 1),
        }
    )


def build_input(
    vectors_ND: Vectors, *, violators: Sequence[int] = (), space_id: str = SPACE_ID
) -> BuildInput:
    """Return what a job would hand over."""
    dim = vectors_ND.shape[1]
    whole = (BlockSpec(name="behavior", start=0, stop=dim, weight=1.0),)
    return BuildInput(
        space_id=space_id,
        model_digest="digest",
        data_as_of=NOW - timedelta(hours=1),
        blocks=BLOCKS if dim == DIM else whole,
        users=users_table(len(vectors_ND), violators=violators),
        vectors_ND=vectors_ND,
        made_with={"made": "for a test"},
        purposes={"same_kind": {"behavior": 0.2, "statistics": 0.8}} if dim == DIM else {},
    )


def publish_build(
    workspace: Workspace,
    build: BuildInput,
    config: IndexConfig | None = None,
    *,
    now: datetime = NOW,
    write_extra: Callable[[Path], None] | None = None,
) -> Published:
    """Write, gate and publish a build as the nightly job does."""
    staged = write_build(
        workspace, build, config or IndexConfig(), now=now, write_extra=write_extra
    )
    report = gate(
        load_build(staged),
        None,
        GateConfig(),
        known_users=build.users.column("user_id"),
        erased_users=(),
        violators=(),
    )
    return publish(workspace, staged, report, now=now)


@dataclass(frozen=True)
class FakeEmbedder:
    """Embeds a user by the sum of `amount` and the number of events; deterministic."""

    space_id: str = SPACE_ID
    dim: int = DIM
    schema: EventSchema = SCHEMA

    def embed(self, batch: SequenceBatch) -> Vectors:
        """Return one unit row per user."""
        amount_E = np.nan_to_num(batch.events.column("amount").to_numpy().astype(float))
        vectors = np.zeros((batch.num_users, self.dim), dtype=np.float32)
        for user in range(batch.num_users):
            own = slice(int(batch.offsets[user]), int(batch.offsets[user + 1]))
            seed = int(amount_E[own].sum() * 1000) + own.stop - own.start
            vectors[user] = unit_vectors(1, self.dim, seed=seed)[0]
        return vectors


@dataclass(frozen=True)
class FakeAssessment:
    """The risk of a batch."""

    probability: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    log_odds: npt.NDArray[np.float64]
    band: Sequence[str]
    features_QF: npt.NDArray[np.float32]
    band_rule: Sequence[BandRule]


@dataclass(frozen=True)
class FakeRisk:
    """Says that risk grows with the first dimension; under three events it says nothing."""

    feature_names: tuple[str, ...] = ("first_dimension", "num_events_seen")

    def assess(
        self,
        query_QD: Vectors,
        num_events_Q: Int64s,
        *,
        own_ids: Sequence[str | None],
        silence_us_Q: Int64s | None = None,
    ) -> FakeAssessment:
        """Assess each query."""
        assert len(own_ids) == len(query_QD)
        assert silence_us_Q is None or len(silence_us_Q) == len(query_QD)
        log_odds = 4.0 * query_QD[:, 0].astype(np.float64)
        probability = 1 / (1 + np.exp(-log_odds))
        names = np.where(probability > 0.5, "likely", "unlikely").astype(object)
        band = np.where(num_events_Q < 3, "insufficient_data", names)
        features = np.stack([query_QD[:, 0], num_events_Q.astype(np.float32)], axis=1)
        return FakeAssessment(
            probability,
            probability * 0.9,
            probability * 1.1,
            log_odds,
            band.tolist(),
            features,
            [BandRule(None, 0.95, 0.0, "everyone")] * len(query_QD),
        )


def write_rings_and_risk(directory: Path) -> None:
    """Write the extra files of a build: four rings, and an opaque risk model."""
    import pyarrow.parquet as pq

    (directory / "risk").mkdir()
    (directory / "risk" / "model.json").write_text("{}")
    rings = {
        "ring": pa.array([0, 1, 2, 3], pa.int32()),
        "num_users": [5, 0, 5, 0],
        "num_violators": [2, 0, 1, 0],
        "violator_rate_lower": [0.2, 0.0, 0.1, 0.0],
        "cohesion": [0.9, 0.0, 0.8, 0.0],
    }
    pq.write_table(pa.table(rings), directory / "rings.parquet")


def open_fake_service(
    workspace: Workspace,
    build_id: str | None = None,
    config: IndexConfig | None = None,
    *,
    clock: Callable[[], datetime] = lambda: NOW,
) -> LookalikeService:
    """Open a service whose encoder and risk model are the fakes."""
    return LookalikeService.open(
        workspace,
        build_id=build_id,
        config=config or IndexConfig(),
        load_embedder=lambda directory: FakeEmbedder(space_id=directory.name),
        load_risk_model=lambda directory: FakeRisk(),
        clock=clock,
    )


def event(**fields: Any) -> dict[str, Any]:
    """Return an event as a query brings it."""
    return {"ts": "2026-02-01T00:00:00Z", "event_type": "visit", **fields}
