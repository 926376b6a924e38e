"""Training from a workspace, by the lake and the labels."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedder.config import PLANS, BackboneName, EmbedderConfig, Preset, TrainingPlan
from embedder.embedder import Embedder
from embedder.errors import NotEnoughData
from embedder.training import TrainReport, train
from store.config import IngestConfig, SchemaConfig
from store.database import Database
from store.ingest import ingest_events
from store.schema import Role
from store.sequences import SequenceBatch
from store.workspace import Workspace
from tests.integration.embedder.small_models import CONFIG, PLAN
from tests.unit.embedder.people import make_people

AS_OF = datetime(1970, 6, 1, tzinfo=UTC)
CHARACTER = {
    "backbones",
    "layers",
    "rate_top",
    "bfloat16",
    "losses",
}  # of a preset, whatever its size


@pytest.fixture(autouse=True)
def _tiny_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = PLAN.model_dump(include={*TrainingPlan.model_fields} - CHARACTER)
    for name, plan in PLANS.items():
        monkeypatch.setitem(PLANS, name, plan.model_copy(update=sizes))


def workspace_of(root: Path, people: SequenceBatch) -> Workspace:
    workspace = Workspace.create(root / "workspace")
    users = np.repeat(np.array(people.user_ids), people.num_events)
    table = people.events.append_column("user_id", pa.array(users.tolist(), pa.string()))
    table = table.append_column("ts", pa.array(people.ts_us, pa.timestamp("us", "UTC")))
    pq.write_table(table, root / "events.parquet")
    ingest_events(
        workspace, [root / "events.parquet"], IngestConfig(), now=AS_OF + timedelta(days=1)
    )
    Database(workspace.ops_url).migrate()
    return workspace


def train_here(
    workspace: Workspace, config: EmbedderConfig = CONFIG, preset: Preset = "fast"
) -> TrainReport:
    return train(
        workspace,
        as_of=AS_OF,
        preset=preset,
        seed=0,
        config=config,
        schema_config=SchemaConfig(),
        now=AS_OF,
    )


def test_the_report_tells_what_was_learned_from_what(tmp_path: Path) -> None:
    people = make_people(120, 1)
    report = train_here(workspace_of(tmp_path, people))
    told = report.to_dict()
    assert told["num_users"] == 120
    assert told["num_events"] == len(people.ts_us)
    assert told["as_of"] == AS_OF.isoformat()
    assert told["metrics"]["behavior"]["shipped"] in ("twin", "gru")
    assert sum(told["metrics"]["block_weights"].values()) == pytest.approx(1.0, abs=1e-3)
    embedder = Embedder.load(report.model_dir)
    assert embedder.as_of == AS_OF
    assert embedder.schema.target == "page"
    assert embedder.schema.with_role(Role.NUMBER) == ("size",)
    vectors = embedder.embed(people)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_the_large_preset_compares_twin_and_transformer(tmp_path: Path) -> None:
    people = make_people(120, 1)
    report = train_here(workspace_of(tmp_path, people), preset="large")
    behavior = report.to_dict()["metrics"]["behavior"]
    assert behavior["shipped"] in ("twin", "transformer")
    assert {"twin", "transformer", "transformer_over_twin"} < set(behavior)
    assert report.manifest["plan"]["layers"] == 4
    vectors = Embedder.load(report.model_dir, device="cpu").embed(people)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("backbone", ["twin", "gru", "transformer"])
def test_a_backbone_alone_is_shipped_and_read_back_as_it_was(
    backbone: BackboneName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        PLANS, "large", PLANS["large"].model_copy(update={"backbones": (backbone,)})
    )
    people = make_people(120, 1)
    workspace = workspace_of(tmp_path, people)
    report = train_here(workspace, preset="large")
    behavior = report.to_dict()["metrics"]["behavior"]
    assert set(behavior) == {backbone, "num_queries", "shipped"}
    assert behavior["shipped"] == backbone
    assert report.manifest["model"]["networks"]["behavior"]["backbone"] == backbone
    embedder = Embedder.load(report.model_dir)
    vectors = embedder.embed(people)
    few = people.take(np.array([5, 40, 99]))
    assert embedder.embed(few) == pytest.approx(vectors[[5, 40, 99]], abs=1e-5)
    assert (Embedder.load(report.model_dir).embed(people) == vectors).all()
    assert train_here(workspace, preset="large").space_id == report.space_id


def test_a_budget_of_events_is_kept(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, make_people(300, 2, mean_events=10))
    few = CONFIG.model_copy(update={"max_training_events": 1000})
    told = train_here(workspace, few).to_dict()
    assert 800 < told["num_events"] <= 1000
    assert told["num_users"] < 150


def test_with_too_little_to_learn_from_the_error_says_what_is_missing(tmp_path: Path) -> None:
    few = make_people(15, 3, mean_events=20)
    with pytest.raises(NotEnoughData, match="15 users with two events or more"):
        train_here(workspace_of(tmp_path, few))


def test_users_of_one_event_are_too_little(tmp_path: Path) -> None:
    people = make_people(150, 4)
    once = people.take(np.arange(150), stop=np.ones(150, dtype=np.int64))
    with pytest.raises(NotEnoughData, match="0 users with two events or more"):
        train_here(workspace_of(tmp_path, once))
