"""`lookalike evaluate` on a workspace: two files, nothing else changed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import FAILED, run
from tests.integration.demo.conftest import FinishedDemo, run_json

pytestmark = pytest.mark.timeout(900)  # of which the demo itself takes most


@dataclass(frozen=True)
class Evaluated:
    """What one evaluation of the demo printed, where it wrote, and the models there were before."""

    answer: dict[str, Any]
    output: Path
    models_before: list[str]


@pytest.fixture(scope="module")
def evaluated(demo: FinishedDemo, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    before = sorted(path.name for path in (demo.directory / "models").iterdir())
    output = tmp_path_factory.mktemp("evaluated") / "out"
    answer = run_json(["evaluate", "-w", str(demo.directory), "-o", str(output)])
    return Evaluated(answer, output, before)


def test_evaluation_writes_both_reports_and_leaves_no_model_behind(
    demo: FinishedDemo, evaluated: Evaluated
) -> None:
    answer = evaluated.answer
    assert json.loads((evaluated.output / "report.json").read_text()) == answer
    assert (evaluated.output / "report.html").read_text().startswith("<!doctype html>")
    assert [task["name"] for task in answer["tasks"]] == [
        "split_halves",
        "split_halves_target_disjoint",
        "groups",
        "risk_first_3",
        "risk_first_5",
        "risk_first_10",
        "risk_first_20",
        "risk_first_all",
        "early_detection",
    ]
    assert answer["tasks"][0]["measured"]
    assert answer["audit"]["verdict"] in ("pass", "warn")
    assert all(task["refused"] is None for task in answer["tasks"])
    for task in answer["tasks"]:
        if task["measured"] and task["name"].startswith("risk_first_"):
            assert 0 <= task["extra"]["explained_by_length"] <= 1
            assert task["notes"][-1].startswith("the number of events alone has AUC")
    assert {"machine", "versions", "command", "duration_seconds", "cut", "seed"} <= set(answer)
    assert not list((demo.directory / "tmp").iterdir())
    models = sorted(path.name for path in (demo.directory / "models").iterdir())
    assert models == evaluated.models_before


def test_evaluation_tells_what_rare_violators_cost_and_how_early_they_are_seen(
    evaluated: Evaluated,
) -> None:
    tasks = {task["name"]: task for task in evaluated.answer["tasks"]}
    risk, detection = tasks["risk_first_5"], tasks["early_detection"]
    assert risk["measured"], risk["why_not"]
    natural, percent, permille = risk["base_rates"]
    assert [rate["base_rate"] for rate in (percent, permille)] == [0.01, 0.001]
    assert natural["is_natural"]
    assert permille["benign_weight"] > percent["benign_weight"] > natural["benign_weight"]
    for demand in permille["demands"]:
        measurable = demand["num_benign_needed"] <= permille["num_negatives"]
        assert (demand["why_not"] is None) == measurable
        assert set(demand["recall"]) == (set(risk["metrics"]) if measurable else set())
    assert {group["name"] for group in risk["reliability_by_activity"]} > {"busiest third"}
    likely = detection["early_detection"][0]
    detected = [step["num_detected"] for step in likely["curve"]]
    assert detected == sorted(detected)
    assert detected[-1] == likely["num_detected"] <= likely["num_positives"]
    page = (evaluated.output / "report.html").read_text()
    assert "Reliability by activity" in page
    assert "Who ever crosses" in page


def test_a_cut_before_all_events_is_an_error_of_one_line(
    demo: FinishedDemo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "-w", str(demo.directory), "-o", str(tmp_path), "--cut", "2001-01-01"]
    assert run(arguments) == FAILED
    assert "there are no events to learn from before the cut" in capsys.readouterr().err


def test_an_empty_workspace_is_an_error_of_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "-w", str(tmp_path / "w")]) == 0
    assert run(["evaluate", "-w", str(tmp_path / "w"), "-o", str(tmp_path / "r")]) == FAILED
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "r").exists()
