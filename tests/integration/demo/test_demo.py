"""The demo as a newcomer runs it: one command."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import FAILED, run
from jobs.demo import DemoReport
from store.workspace import Workspace
from tests.integration.demo.conftest import FinishedDemo, run_json

FIGURES = [
    "evader found first",
    "evader found among ten",
    "ring purity",
    "risk AUC, first 3 events",
    "risk AUC, first 5 events",
    "risk AUC, first 10 events",
    "risk AUC, all events",
]
WITH_INTERVAL = re.compile(r"-?\d\.\d{3}( \[-?\d\.\d{3}, -?\d\.\d{3}\])?")


def test_every_figure_stands_beside_its_floor_or_says_why_not(demo: FinishedDemo) -> None:
    rows = demo.report["rows"]
    assert [row["figure"] for row in rows] == FIGURES
    assert sum(row["why_not"] is None for row in rows) >= 4
    for row in rows:
        if row["why_not"] is not None:
            assert row["why_not"].startswith("not measurable here, because ")
            continue
        for method in ("lookalike", "tfidf", "difference"):
            assert WITH_INTERVAL.fullmatch(row[method])


def test_its_build_is_live(demo: FinishedDemo) -> None:
    builds = run_json(["builds", "list", "-w", str(demo.directory)])
    live = json.loads((demo.directory / "live.json").read_text())["live"]
    assert live == demo.report["build_id"]
    assert live in json.dumps(builds)


def test_a_finished_demo_is_shown_again_and_served_with_a_new_key(
    demo: FinishedDemo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[dict[str, Any]] = []

    def serve(workspace: Workspace, **options: Any) -> None:
        served.append({"root": workspace.root, **options})

    monkeypatch.setattr("jobs.serve.run", serve)
    assert run(["demo", str(demo.directory), "--port", "18080"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(FIGURES[0])]
    assert "address http://127.0.0.1:18080/" in lines
    assert any(re.fullmatch(r"key lk_\S+", line) for line in lines)
    assert served == [{"root": demo.directory, "host": "127.0.0.1", "port": 18080, "workers": None}]


def test_report_survives_its_file(demo: FinishedDemo) -> None:
    report = DemoReport.from_dict(demo.report)
    assert report.to_dict() == demo.report | {"rows": tuple(demo.report["rows"])}


def test_a_folder_with_other_things_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    assert run(["demo", str(tmp_path), "--no-serve"]) == FAILED
    assert "has other things in it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
