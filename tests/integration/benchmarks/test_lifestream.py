"""The authors' CoLES through the benchmark, which says so where it is not installed."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.encoder.config import BenchmarkConfig
from benchmarks.encoder.lifestream import PYTHON_VARIABLE, train_lifestream
from benchmarks.encoder.run import run
from embedder.config import FeaturizerConfig, TrainingPlan
from embedder.evaluation.recipes import prepare
from embedder.evaluation.sample import owners
from tests.unit.embedder.people import SCHEMA, make_people

NOW = datetime(2025, 6, 1, tzinfo=UTC)
NUM_USERS, METHOD = 240, "coles_lifestream"
PYTHON = os.environ.get(PYTHON_VARIABLE, "")  # before a fixture hides our variables
needs_the_library = pytest.mark.skipif(
    not PYTHON, reason=f"{PYTHON_VARIABLE} names no Python with the library"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose users are long enough to be recognised by their halves."""
    people, folder = make_people(NUM_USERS, 3, mean_events=24), tmp_path_factory.mktemp("people")
    users = pa.array(people.user_ids).take(pa.array(owners(people)))
    table = people.events.append_column("user_id", users).append_column(
        "ts", pa.array(people.ts_us, pa.timestamp("us", tz="UTC"))
    )
    pq.write_table(table, folder / "events.parquet")
    lines = ["user_id,label", *(f"{user},0" for user in people.user_ids[:50])]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def measured(folder: Path, output: Path) -> dict[str, Any]:
    config = BenchmarkConfig(data=(folder,), methods=(METHOD,), quick=True)
    result, _ = run(config, output, now=NOW, report=lambda line: None)
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def test_without_the_library_the_benchmark_says_what_is_missing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    tasks = measured(folder, tmp_path)["tasks"]
    assert "split_halves" in {task["name"] for task in tasks}
    for task in tasks:
        assert task["rows"] == []
        assert "is not installed" in task["not_answered"][METHOD]
        assert PYTHON_VARIABLE in task["not_answered"][METHOD]


@needs_the_library
def test_the_library_answers_in_the_benchmark(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, PYTHON)
    tasks = {task["name"]: task for task in measured(folder, tmp_path)["tasks"]}
    (row,) = tasks["split_halves"]["rows"]
    assert row["method"] == METHOD
    assert row["family"] == "published"
    assert tasks["split_halves"]["not_answered"] == {}


@needs_the_library
def test_the_library_learns_to_recognise_users_and_reads_them_again_alike(tmp_path: Path) -> None:
    """Halves of people with habits find each other by what was learned, far beyond chance."""
    people = make_people(NUM_USERS, 4, mean_events=24)
    plan = TrainingPlan(
        steps=60,
        batch_users=96,
        labelled_users=16,
        slice_events=16,
        evaluate_every=20,
        patience=3,
        hidden=16,
        state=24,
    )
    data = prepare(people, SCHEMA, np.full(NUM_USERS, -1), FeaturizerConfig(), seed=0)
    trained = train_lifestream(PYTHON, data, plan, tmp_path / "model", seed=0, threads=1)
    weights = (tmp_path / "model" / "weights.safetensors").read_bytes()

    middle = people.num_events // 2
    rows = np.arange(NUM_USERS)
    first = trained.vectors(people.take(rows, stop=middle))
    second = trained.vectors(people.take(rows, start=middle))
    similarity = first @ second.T
    rank = 1 + (similarity > np.diagonal(similarity)[:, None]).sum(axis=1)
    assert first.shape == (NUM_USERS, plan.state)
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert np.median(rank) < NUM_USERS / 8

    again = train_lifestream(PYTHON, data, plan, tmp_path / "again", seed=0, threads=1)
    backwards = again.vectors(people.take(rows[::-1], stop=middle[::-1]))
    assert np.allclose(backwards[::-1], first, atol=1e-5), "the same seed, whatever the batch"
    assert (tmp_path / "model" / "weights.safetensors").read_bytes() == weights
