"""The demo as a newcomer runs it: one command."""

import json
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import FAILED, WRONG_USAGE, run
from jobs.demo import DemoReport, DemoRow
from store.workspace import Workspace
from tests.integration.demo.conftest import FinishedDemo, run_json

pytestmark = pytest.mark.timeout(900)  # of which the demo itself takes most

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert run(["demo", str(demo.directory), "--port", str(port)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(FIGURES[0])]
    assert f"address http://127.0.0.1:{port}/" in lines
    assert any(re.fullmatch(r"key lk_\S+", line) for line in lines)
    assert served == [{"root": demo.directory, "host": "127.0.0.1", "port": port, "workers": None}]


def test_a_port_in_use_is_told_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run(["demo", str(tmp_path / "demo"), "--port", port]) == FAILED
    assert f"can't listen on 127.0.0.1 port {port}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_too_little_is_said_once_and_in_narrow_lines(demo: FinishedDemo) -> None:
    reason = "not measurable here, because " + "there is too little of everything; " * 6
    rows = [DemoRow(figure, 6, None, None, None, reason) for figure in FIGURES]
    report = DemoReport.from_dict(demo.report)
    lines = replace(report, num_users=1000, workspace="w", rows=tuple(rows)).lines()
    assert max(map(len, lines)) <= 100
    assert " ".join(lines).count("not measurable here") == 1
    assert "--users 5000" in " ".join(lines)
    whole = replace(report, rows=tuple(row for row in report.rows if row.why_not is None)).lines()
    assert "--users" not in " ".join(whole)


def test_fewer_users_than_make_a_platform_are_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", str(tmp_path / "demo"), "--users", "999"]) == WRONG_USAGE
    assert "should be greater than or equal to 1000" in capsys.readouterr().err


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
