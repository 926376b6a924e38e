"""A small simulated platform in a workspace, an untrained encoder, a risk model of one rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.early_risk import choose_cut
from embedder.evaluation.floors import Tokenizer
from index.answers import BandRule
from jobs.init import run as run_init
from jobs.measure import Trial
from jobs.people import People, read_people
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import simulate
from store.config import IngestConfig, SchemaConfig
from store.database import Database
from store.ingest import ingest_events
from store.label_ingest import ingest_labels
from store.labels import LabelStore
from store.lake import EventLake
from store.roles import infer_schema
from store.schema import EventSchema
from store.sequences import SequenceBatch
from store.workspace import Workspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = EvaluationConfig(num_resamples=60, min_positives=5, prefixes=(3, 5))


@dataclass(frozen=True)
class Platform:
    """A workspace with a simulated platform, and the truth about it."""

    workspace: Workspace
    truth_file: Path

    @property
    def lake(self) -> EventLake:
        return EventLake(self.workspace)

    def people(self, as_of: datetime = NOW) -> People:
        labels = LabelStore(Database(self.workspace.ops_url)).as_of(as_of)
        return read_people(self.lake, labels, as_of=as_of)


class CountingEncoder:
    """Folds token counts into 128 dimensions: deterministic, of unit length, and untrained."""

    def __init__(self, tokenizer: Tokenizer, schema: EventSchema) -> None:
        self._tokenizer, self.schema = tokenizer, schema

    def embed(self, batch: SequenceBatch) -> npt.NDArray[np.float32]:
        counts = self._tokenizer.count(batch).tocoo()
        folded = np.full((batch.num_users, 128), 1e-6)
        np.add.at(folded, (counts.row, counts.col % 128), np.log1p(counts.data))
        rows: npt.NDArray[np.float32] = folded / np.linalg.norm(folded, axis=1, keepdims=True)
        return rows.astype(np.float32)


@dataclass(frozen=True)
class RuleAssessment:
    probability: npt.NDArray[np.float64]
    band: list[str]
    band_rule: list[BandRule]


class RuleRisk:
    """The fewer events, the likelier; no answer below three, and four are likely.

    Whoever has an even number of events is like spammers, of whom more is promised.
    """

    def assess(
        self,
        query_QD: npt.NDArray[np.float32],
        num_events_Q: npt.NDArray[np.int64],
        *,
        own_ids: Sequence[str | None],
        silence_us_Q: npt.NDArray[np.int64] | None = None,
    ) -> RuleAssessment:
        assert len(query_QD) == len(num_events_Q) == len(own_ids)
        band_of = {1: "insufficient_data", 2: "insufficient_data", 4: "likely"}
        bands = [band_of.get(count, "possible") for count in num_events_Q.tolist()]
        rules = [
            BandRule("spam", 0.99, 0.0, "policy")
            if policy
            else BandRule(None, 0.95, 0.0, "everyone")
            for policy in self.nearest_policies(query_QD, num_events_Q, own_ids=own_ids)
        ]
        return RuleAssessment(1 / (1 + num_events_Q.astype(np.float64)), bands, rules)

    def nearest_policies(
        self,
        query_QD: npt.NDArray[np.float32],
        num_events_Q: npt.NDArray[np.int64],
        *,
        own_ids: Sequence[str | None],
    ) -> list[str | None]:
        return ["spam" if count % 2 == 0 else None for count in num_events_Q.tolist()]


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    root = tmp_path_factory.mktemp("platform")
    simulated = simulate(SimulatorConfig(num_users=1500, seed=1), root / "simulated")
    run_init(root / "workspace")
    workspace = Workspace.open(root / "workspace")
    ingest_events(workspace, [Path(simulated.events_file)], IngestConfig(), now=NOW)
    ingest_labels(workspace, Path(simulated.labels_file), IngestConfig(), now=NOW)
    return Platform(workspace, Path(simulated.truth_file))


@pytest.fixture(scope="session")
def trial(platform: Platform) -> Trial:
    people = platform.people()
    cut_us = choose_cut(people.known_us_N[people.is_violator_N], CONFIG)
    assert cut_us is not None
    schema = infer_schema(platform.lake, as_of=NOW, config=SchemaConfig())
    batch = next(platform.lake.batches(as_of=NOW, max_events=20_000))
    encoder = CountingEncoder(Tokenizer.fit(batch, schema), schema)
    return Trial(platform.lake, people, cut_us, encoder, CONFIG)
