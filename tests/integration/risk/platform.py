"""A small simulated platform, seen as of a time in the middle of its records."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from embedder.config import PLANS, EmbedderConfig, FeaturizerConfig
from embedder.embedder import Embedder
from embedder.training import TrainReport, train
from index.risk.config import RiskConfig
from index.risk.fit import fit_risk
from index.risk.model import RiskModel
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import simulate
from store.config import IngestConfig, SchemaConfig
from store.database import Database
from store.ingest import ingest_events
from store.label_ingest import ingest_labels
from store.labels import LabelStore, LabelView
from store.lake import EventLake
from store.sequences import Int64s
from store.workspace import Workspace

STARTS_AT = datetime(2025, 3, 1, tzinfo=UTC)
AS_OF = STARTS_AT + timedelta(days=70)
NOW = STARTS_AT + timedelta(days=200)
CONFIG = EmbedderConfig(
    featurizer=FeaturizerConfig(hash_buckets=256),
    dim_behavior=8,
    dim_conduct=4,
    dim_target=64,
    dim_statistics=16,
    threads=1,
)
RISK = RiskConfig(labels_min=10, neighbors=50)
TINY_PLAN = {
    "steps": 8,
    "batch_users": 32,
    "labelled_users": 32,
    "evaluate_every": 4,
    "hidden": 8,
    "state": 12,
}


@dataclass(frozen=True)
class Records:
    """What the platform wrote down: all events and all labels, times as timestamps."""

    events: pa.Table
    labels: pa.Table

    def known(self) -> "Records":
        """Return what a view as of `AS_OF` shows: neither later rows, nor events after a ban."""
        labels = self.labels.filter(pc.less(self.labels["known_at"], AS_OF))
        banned = labels.filter(pc.equal(labels["label"], 1))
        at = pc.index_in(self.events["user_id"], value_set=banned["user_id"].combine_chunks())
        ban = banned["occurred_at"].take(pc.fill_null(at, 0))
        is_free = pc.or_(pc.is_null(at), pc.less(self.events["ts"], ban))
        past = pc.and_(is_free, pc.less(self.events["ts"], AS_OF))
        return Records(self.events.filter(past), labels)


def simulate_records(folder: Path) -> Records:
    """Simulate a platform with many violators."""
    report = simulate(
        SimulatorConfig(
            num_users=700,
            events_per_user=14.0,
            share_loners=0.3,
            seed=3,
            starts_at=STARTS_AT,
            policy_noise=0.0,
            share_false_alarms=0.0,
        ),
        folder,
    )
    events = pq.read_table(report.events_file)
    place = events.schema.get_field_index("ts")
    events = events.set_column(place, "ts", events["ts"].cast(pa.timestamp("us", "UTC")))
    labels = pyarrow.csv.read_csv(report.labels_file)
    for name in ("occurred_at", "known_at"):
        place = labels.schema.get_field_index(name)
        labels = labels.set_column(place, name, labels[name].cast(pa.timestamp("us", "UTC")))
    return Records(events, labels)


def make_workspace(root: Path, records: Records, *more: pa.Table) -> Workspace:
    """Ingest records, and further tables of events, into a new workspace."""
    workspace = Workspace.create(root / "workspace")
    for number, table in enumerate((records.events, *more)):
        file = root / f"events-{number}.parquet"
        pq.write_table(table, file)
        ingest_events(workspace, [file], IngestConfig(), now=NOW)
    file = root / "labels.parquet"
    pq.write_table(records.labels, file)
    Database(workspace.ops_url).migrate()
    ingest_labels(workspace, file, IngestConfig(), now=NOW)
    return workspace


@contextmanager
def tiny_training() -> Iterator[None]:
    """Make the preset `fast` take a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PLANS, "fast", PLANS["fast"].model_copy(update=TINY_PLAN))
        yield


@dataclass(frozen=True)
class Outcome:
    """A workspace trained, embedded and assessed as of `AS_OF`."""

    report: TrainReport
    embedder: Embedder
    lake: EventLake
    labels: LabelView
    user_ids: list[str]
    num_events: Int64s
    vectors: np.ndarray
    risk: RiskModel


def train_and_fit(workspace: Workspace) -> Outcome:
    """Train, embed everybody, fit the risk."""
    with tiny_training():
        report = train(
            workspace,
            as_of=AS_OF,
            preset="fast",
            seed=0,
            config=CONFIG,
            schema_config=SchemaConfig(),
        )
    embedder = Embedder.load(report.model_dir)
    lake = EventLake(workspace, threads=1)
    labels = LabelStore(Database(workspace.ops_url)).as_of(AS_OF)
    ids: list[str] = []
    sizes, vectors = [], []
    columns = [column.name for column in embedder.schema.columns]
    for batch in lake.batches(as_of=AS_OF, cutoffs=labels.cutoffs(), columns=columns):
        ids += batch.user_ids
        sizes.append(batch.num_events)
        vectors.append(embedder.embed(batch))
    risk = fit_risk(lake, labels, embedder, as_of=AS_OF, config=RISK)
    return Outcome(
        report,
        embedder,
        lake,
        labels,
        ids,
        np.concatenate(sizes),
        np.concatenate(vectors),
        risk,
    )
