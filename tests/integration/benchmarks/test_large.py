"""A small run of the benchmark of large indexes: every step, in processes of their own."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.large.config import LargeConfig
from benchmarks.large.draw import (
    CLUSTER,
    QUERIES,
    SAME_AS,
    VECTORS,
    draw_users,
    draw_vectors,
    read_array,
)
from benchmarks.large.page import page_text
from benchmarks.large.running import run_large, step
from index.users import conform_users
from jobs.errors import BenchmarkFailed

pytestmark = pytest.mark.timeout(900)  # nine processes

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = LargeConfig(users=8_000, dim=32, queries=40, timed_queries=20, kind="ivf_rabitq")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_large(CONFIG, now=NOW, scratch=tmp_path_factory.mktemp("large"))


def test_a_run_builds_serves_and_judges(result: dict[str, Any]) -> None:
    assert result["build"]["is_live"]
    assert result["build"]["index"] == "ivf_rabitq"
    assert {judged["k"] for judged in result["recall"]} == {10, 100}
    assert all(judged["recall"] > 0.95 for judged in result["recall"])
    assert result["build"]["num_distinct"] < CONFIG.users
    kinds = {one["kind"] for one in result["served"]["asked"]["kinds"]}
    assert {"among known violators", "among those of one policy"} <= kinds


def test_workers_share_the_files_and_nothing_of_them_is_a_copy(result: dict[str, Any]) -> None:
    parts = {part["file"]: part for part in result["served"]["workers"]["parts"]}
    for name in ("vectors.npy", "ivf_lists.bin"):
        assert sum(parts[name]["pss_kb"]) <= 0.6 * sum(parts[name]["rss_kb"])
        assert parts[name]["anonymous_kb"] == [0, 0]


def test_every_phase_of_the_build_is_told(result: dict[str, Any]) -> None:
    phases = {one["phase"] for one in result["build"]["phases"]}
    assert {"find equal vectors", "build the index", "tune", "gate", "publish"} <= phases
    peak = result["build"]["peak"]
    assert 0 < peak["anonymous_mb"] < peak["resident_mb"]


def test_the_page_tells_of_a_run(result: dict[str, Any]) -> None:
    page = page_text([result])
    assert "8,000 users of 32 dimensions" in page
    assert "1,000,000,000" in page


def test_the_drawn_users_are_what_is_said_of_them(tmp_path: Path) -> None:
    config = LargeConfig(users=20_000, dim=16, queries=30)
    draw_vectors(config, tmp_path)
    vectors_ND, same_as_N = read_array(tmp_path / VECTORS), read_array(tmp_path / SAME_AS)
    assert vectors_ND.shape == (20_000, 16)
    assert read_array(tmp_path / QUERIES).shape == (30, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors_ND, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.abs(vectors_ND - vectors_ND[same_as_N]).max(), 0, atol=1e-5)
    assert 0.01 < (same_as_N != np.arange(20_000)).mean() < 0.03
    assert (same_as_N[same_as_N] == same_as_N).all()
    users = conform_users(draw_users(config, read_array(tmp_path / CLUSTER)))
    labels = users["label"].to_pylist()
    policies = users["policy"].to_pylist()
    assert 0.002 < labels.count(1) / 20_000 < 0.03
    assert [policy is not None for policy in policies] == [label == 1 for label in labels]


def test_a_build_that_needs_more_memory_than_allowed_is_told(tmp_path: Path) -> None:
    """Numerical libraries alone take more private memory than this."""
    config = CONFIG.model_copy(update={"memory_gb": 0.05})
    draw_vectors(config, tmp_path)
    with pytest.raises(BenchmarkFailed, match="the step build of 8,000 users failed"):
        step("build", config, tmp_path)
