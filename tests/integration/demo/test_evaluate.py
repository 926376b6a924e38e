"""`lookalike evaluate` on a workspace: two files, nothing else changed."""

import json
from pathlib import Path

import pytest

from jobs.cli import FAILED, run
from tests.integration.demo.conftest import FinishedDemo, run_json


def test_evaluation_writes_both_reports_and_leaves_no_model_behind(
    demo: FinishedDemo, tmp_path: Path
) -> None:
    before = sorted(path.name for path in (demo.directory / "models").iterdir())
    answer = run_json(["evaluate", "-w", str(demo.directory), "-o", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == answer
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
    assert [task["name"] for task in answer["tasks"]] == [
        "split_halves",
        "split_halves_target_disjoint",
        "groups",
        "risk_first_3",
        "risk_first_5",
        "risk_first_10",
        "risk_first_all",
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
    assert sorted(path.name for path in (demo.directory / "models").iterdir()) == before


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
