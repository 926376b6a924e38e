"""`lookalike bench encoder` on a small simulated platform, through the real command line."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from benchmarks.encoder.render import RESULTS_PATTERN, render
from jobs.cli import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

METHODS = "count,tfidf,ours,ours_labels_1"
RISKS = [f"risk_first_{count}" for count in (3, 5, 10, 20, "all")]
HALVES = ["split_halves", "split_halves_target_disjoint", "split_halves_behavior_only"]


def measured(output: Path, *further: str) -> dict[str, Any]:
    arguments = ["bench", "encoder", "--quick", "-o", str(output), "--methods", METHODS]
    printed = StringIO()
    with redirect_stdout(printed):
        assert run(["--json", *arguments, *further]) == 0
    answer: dict[str, Any] = json.loads(printed.getvalue())
    return answer


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKALIKE_EMBEDDER__THREADS", "1")
        measured(folder)
    return folder


@pytest.fixture(scope="module")
def result(output: Path) -> dict[str, Any]:
    (path,) = output.glob(RESULTS_PATTERN)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_every_task_that_the_data_have_is_measured(result: dict[str, Any]) -> None:
    names = [task["name"] for task in result["tasks"] + result["unmeasured"]]
    assert sorted(names) == sorted([*RISKS, "campaigns", *HALVES])
    assert {"split_halves", "risk_first_all"} <= {task["name"] for task in result["tasks"]}


def test_every_method_answers_or_says_why_not(result: dict[str, Any]) -> None:
    for task in result["tasks"]:
        methods = {row["method"] for row in task["rows"]}
        assert {"count", "tfidf", "ours"} <= methods
        assert methods.isdisjoint(task["not_answered"])
        if task["name"] in RISKS:
            assert {"ours.knn", "ours.behavior_alone", "ours.without_behavior"} <= methods
            assert "a risk model needs" in task["not_answered"]["ours_labels_1"]
        else:
            assert {"ours.whitened", "ours.dims_16", "ours.behavior_alone"} <= methods
            assert "ours.same_kind" in methods
        for row in task["rows"]:
            assert row["method"] == task["best_floor"] or row["lead_on_best_floor"]


def test_a_result_tells_what_it_depends_on(result: dict[str, Any]) -> None:
    keys = {"command", "commit", "seeds", "config", "machine", "versions", "users", "plan", "cut"}
    assert keys <= set(result)
    assert result["users"]["learned_from"] < result["users"]["all"]


def test_the_page_is_made_of_the_result(output: Path) -> None:
    assert (output / "encoder.md").read_text() == render(sorted(output.glob(RESULTS_PATTERN)))


def test_what_is_measured_is_not_measured_again(output: Path, result: dict[str, Any]) -> None:
    rows = {path: path.stat().st_mtime_ns for path in (output / "rows").rglob("*.npz")}
    row = next((output / "rows").rglob("tfidf.0.json"))
    row.write_text(json.dumps({**json.loads(row.read_text()), "commit": "earlier"}))
    again = measured(output)
    assert "commits" not in result
    assert set(again["results"][0]["commits"]) == {"earlier", result["commit"]}
    assert again["results"][0]["tasks"] == result["tasks"]
    for path, written in rows.items():
        assert path.name == "task.npz" or path.stat().st_mtime_ns == written


def test_another_cut_in_the_same_folder_is_refused(
    output: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "encoder", "--quick", "-o", str(output), "--methods", METHODS]
    assert run([*arguments, "--cut", "2025-04-15"]) == 2
    assert "choose another folder" in capfd.readouterr().err


def test_an_unknown_method_is_wrong_usage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "encoder", "-o", str(tmp_path), "--methods", "magic"]) == 2
    assert capfd.readouterr().err.startswith("error: there is no method magic; there are bigrams,")
