"""`lookalike bench ann --quick` through the real command line: ours and FAISS on few vectors."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ann.figures import is_good
from benchmarks.ann.methods import METHODS
from benchmarks.ann.page import RESULTS_PATTERN, latest, page_text
from jobs.cli import run
from tests.index_fakes import clustered_vectors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

QUICK = [method.name for method in METHODS if method.is_quick]


def measured(output: Path, *further: str, status: int = 0) -> dict[str, Any]:
    printed = StringIO()
    with redirect_stdout(printed):
        assert run(["--json", "bench", "ann", "--quick", "-o", str(output), *further]) == status
    answer: dict[str, Any] = json.loads(printed.getvalue())
    return answer


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ann")
    measured(folder)
    return folder


@pytest.fixture(scope="module")
def result(output: Path) -> dict[str, Any]:
    (path,) = output.glob(RESULTS_PATTERN)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def methods(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {method["name"]: method for method in result["methods"]}


def test_every_quick_method_is_measured_in_every_section(methods: dict[str, Any]) -> None:
    assert sorted(methods) == sorted(QUICK)
    for method in methods.values():
        for points in method["frontier"].values():
            assert points
            assert all(len(point["qps"]["all"]) == 3 for point in points)
        assert method["build"]["build_peak_mb"] > 0
        assert method["load"]["first_query_ms"] > 0
        assert method["serve"]["resident_mb"] > 0
        assert method["batch"]["qps"]["median"] > 0
        assert list(method["concurrency"]) == ["1", "2", "4"]
        assert set(method["duplicates"]) == {"twenty_groups", "one_group"}
        assert len(method["filters"]) == 10
        assert method["updates"]


def test_exact_methods_find_everything_and_our_graph_has_a_good_setting(
    methods: dict[str, Any],
) -> None:
    for name in ("ours-exact", "faiss-flat"):
        for points in methods[name]["frontier"].values():
            assert [point["recall"] for point in points] == [1.0]
            assert [point["failed"] for point in points] == [0.0]
    assert is_good(methods["ours-hnsw"]["fastest_good"]["10"])


def test_identical_vectors_do_not_break_our_graph(methods: dict[str, Any]) -> None:
    for settings in methods["ours-hnsw"]["duplicates"].values():
        for facts in settings.values():
            assert facts["anywhere"]["recall"] > 0.95
            assert facts["near"]["recall"] > 0.95


def test_our_filtered_searches_find_nearly_everything(methods: dict[str, Any]) -> None:
    for facts in methods["ours-hnsw"]["filters"].values():
        assert facts["recall"] > 0.97
        assert facts["failed"] <= 0.01


def test_removed_vectors_are_never_returned(methods: dict[str, Any]) -> None:
    updates = methods["faiss-ivf-flat"]["updates"]
    assert updates["removing"]["changed"] == updates["adding"]["changed"] == 1_000
    assert updates["removed_but_returned"] == 0
    assert updates["after_adding"]["recall"] > 0.8
    assert "can't" in methods["ours-exact"]["updates"]["why_not"]


def test_a_result_tells_what_it_depends_on(result: dict[str, Any]) -> None:
    keys = {"command", "commit", "seed", "config", "machine", "versions", "about", "not_measured"}
    assert keys <= set(result)
    assert result["about"]["num_vectors"] == 10_000
    assert result["about"]["queries_equal_to_a_stored_vector"] == 0


def test_the_page_is_made_of_the_result_and_shows_the_frontier(
    output: Path, result: dict[str, Any]
) -> None:
    assert (output / "ann.md").read_text(encoding="utf-8") == page_text(latest([result]))
    assert (output / "plots" / "ann_clustered-10k.svg").stat().st_size > 1_000
    assert not (output / "scratch" / "clustered-10k").exists(), "indexes are not kept"


def test_what_is_measured_is_not_measured_again_and_is_no_regression_of_itself(
    output: Path, result: dict[str, Any]
) -> None:
    (path,) = output.glob(RESULTS_PATTERN)
    rows = {row: row.stat().st_mtime_ns for row in (output / "rows").rglob("*.json")}
    again = measured(output, "--baseline", str(path))
    assert again["results"][0]["methods"] == result["methods"]
    measured_rows = {row for row in rows if row.name != "identity.json"}
    assert {row: row.stat().st_mtime_ns for row in measured_rows} == {
        row: rows[row] for row in measured_rows
    }


def test_a_regression_ends_with_status_3_and_names_the_method(
    output: Path, result: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    faster = json.loads(json.dumps(result))
    (ours,) = (method for method in faster["methods"] if method["name"] == "ours-hnsw")
    for points in ours["frontier"].values():
        for point in points:
            point["qps"]["all"] = [20 * speed for speed in point["qps"]["all"]]
    baseline = tmp_path / "ann_earlier.json"
    baseline.write_text(json.dumps(faster), encoding="utf-8")
    measured(output, "--baseline", str(baseline), status=3)
    told = capfd.readouterr().err
    assert "error: clustered-10k: ours-hnsw is 95% slower" in told


def test_a_file_is_a_data_set_and_other_settings_in_its_folder_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "own.npy", clustered_vectors(1_500, 24, num_clusters=30))
    arguments = ["--data", str(tmp_path / "own.npy"), "--methods", "faiss-flat"]
    few = ["--sections", "frontier", "--repeats", "1"]
    answer = measured(tmp_path / "out", *arguments, *few)
    (found,) = answer["results"]
    assert found["data"] == "own"
    assert found["about"]["num_vectors"] == 1_200
    assert [method["name"] for method in found["methods"]] == ["faiss-flat"]
    measured(tmp_path / "out", *arguments, *few, "--seed", "1", status=2)
    assert "choose another folder" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--methods", "magic"], "there is no method magic"),
        (["--data", "nowhere"], "there is no data set nowhere"),
        (["--data", "sentences"], "--data sentences needs --texts FILE"),
        (["--sections", "magic"], "sections"),
        (["--sizes", "many"], "are no numbers"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert run(["bench", "ann", "-o", str(tmp_path), *arguments]) == 2
    assert told in capfd.readouterr().err
