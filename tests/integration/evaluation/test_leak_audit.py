"""The leak audit through the real command, on honest platforms and on broken or betrayed ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyarrow.csv import read_csv

from embedder.config import PLANS
from embedder.evaluation.leak_checks import RISK_TASKS
from jobs.cli import FAILED, REFUSED, run
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import simulate
from store.labels import LabelStore, LabelView
from tests.integration.evaluation.conftest import NOW, Platform

TINY_PLAN = {"steps": 8, "batch_users": 32, "labelled_users": 32, "evaluate_every": 4}
CHECKS = [
    "events_after_violation",
    "labels_known_later",
    "label_times",
    "leak_columns",
    "identity_fields",
    "label_fields",
    "length_shortcut",
    "same_person_pairs",
    "immature_benign",
]
Capture = pytest.CaptureFixture[str]


def audit(workspace: Path, capsys: Capture, *options: str, status: int = 0) -> dict[str, Any]:
    """Run `lookalike --json audit`, check the exit status, return the findings by name."""
    capsys.readouterr()
    assert run(["--json", "audit", "-w", str(workspace), *options]) == status
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert [finding["name"] for finding in report["findings"]] == CHECKS
    failed = [one["name"] for one in report["findings"] if one["verdict"] == "fail"]
    assert bool(failed) == (status == FAILED)
    line = f"error: the leak audit failed: {', '.join(failed)}\n"
    assert captured.err == (line if failed else "")
    return {finding["name"]: finding for finding in report["findings"]}


def fill(root: Path, events: Path, labels: Path) -> Path:
    """Make a workspace as an operator would."""
    for command in (["init"], ["ingest", "events", str(events)], ["ingest", "labels", str(labels)]):
        assert run([*command, "-w", str(root)]) == 0
    return root


@pytest.fixture(scope="module")
def betrayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose events say, in one column, what came of most violators in the end."""
    folder = tmp_path_factory.mktemp("betrayed")
    files = folder / "files"
    config = SimulatorConfig(num_users=600, events_per_user=15.0, share_loners=0.2, seed=4)
    simulate(config, files)
    events = pq.read_table(files / "events.parquet")
    violators = violators_of(files / "labels.csv")
    guilty = pc.is_in(events["user_id"].cast(pa.string()), value_set=violators)
    drawn = np.random.default_rng(0).random(events.num_rows)
    note = np.where(drawn < 0.35, "watched", "warned")
    is_silent = ~guilty.to_numpy() | (drawn > 0.7)
    events = events.append_column("staff_note", pa.array(note, pa.string(), mask=is_silent))
    events = events.append_column("leak_label", guilty)
    pq.write_table(events, folder / "events.parquet")
    return fill(folder / "workspace", folder / "events.parquet", files / "labels.csv")


def violators_of(labels: Path) -> pa.Array:
    table = read_csv(labels)
    return table.filter(pc.equal(table["label"], 1))["user_id"].combine_chunks()


def test_a_simulated_platform_passes_every_check(platform: Platform, capsys: Capture) -> None:
    found = audit(platform.workspace.root, capsys)
    assert {name for name, one in found.items() if one["verdict"] not in ("pass", "warn")} == set()
    assert found["label_fields"]["verdict"] == "pass"
    assert found["label_fields"]["counts"]["columns"] == 8
    hidden = found["events_after_violation"]["counts"]["in_the_lake_after_violation"]
    assert 0 < hidden < found["events_after_violation"]["counts"]["in_the_lake_of_violators"]
    assert found["labels_known_later"]["counts"]["hidden"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2, 3])
def test_honest_platforms_of_other_seeds_pass(seed: int, tmp_path: Path, capsys: Capture) -> None:
    simulated = simulate(SimulatorConfig(num_users=5000, seed=seed), tmp_path / "files")
    events, labels = Path(simulated.events_file), Path(simulated.labels_file)
    audit(fill(tmp_path / "workspace", events, labels), capsys)


def test_the_table_is_written_for_people(
    platform: Platform, tmp_path: Path, capsys: Capture
) -> None:
    output = tmp_path / "out"
    root = str(platform.workspace.root)
    assert run(["audit", "-w", root, "-o", str(output), "--cut", "2025-05-01"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("cut 2025-05-01T00:00:00+00:00")
    assert lines[2].split() == ["check", "verdict", "figure", "threshold"]
    assert [line.split()[0] for line in lines[3:12]] == CHECKS
    written = json.loads((output / "audit.json").read_text())
    assert written["html_file"] == str(output / "audit.html")
    page = (output / "audit.html").read_text()
    assert "<h2>Leak audit: " in page
    assert all(name.replace("_", " ") in page for name in CHECKS)


def test_a_view_that_goes_on_after_the_violation_is_found(
    platform: Platform, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit does not ask the view what it hides."""

    def hide_nothing(view: LabelView) -> pa.Table:
        empty: pa.Table = cutoffs(view).slice(0, 0)
        return empty

    cutoffs = LabelView.cutoffs
    monkeypatch.setattr(LabelView, "cutoffs", hide_nothing)
    found = audit(platform.workspace.root, capsys, status=FAILED)
    counts = found["events_after_violation"]["counts"]
    assert counts["read_after_violation"] >= counts["in_the_lake_after_violation"] > 0


def test_labels_of_today_in_a_view_of_the_past_are_found(
    platform: Platform, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_of = LabelStore.as_of
    monkeypatch.setattr(LabelStore, "as_of", lambda store, time: as_of(store, NOW))
    found = audit(platform.workspace.root, capsys, status=FAILED)
    counts = found["labels_known_later"]["counts"]
    assert 0 < counts["learned_before_known"] <= counts["hidden"]


def test_a_column_that_tells_the_label_is_found_and_leak_columns_are_not_read(
    betrayed: Path, capsys: Capture
) -> None:
    found = audit(betrayed, capsys, status=FAILED)
    details = found["label_fields"]["details"]
    assert details[0] == "staff_note betray the label"
    assert details[1].startswith("staff_note ever has a value: ")
    assert found["leak_columns"]["verdict"] == "pass"
    assert found["leak_columns"]["counts"]["leaks_withheld"] == 1
    assert all(row["name"] != "leak_label" for row in found["label_fields"]["rows"])


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ('[evaluate]\nacknowledged_leaks = ["staff_note"]\n', "warn"),
        ('[schema.roles]\nstaff_note = "ignore"\n', "pass"),
    ],
)
def test_a_leak_that_is_meant_or_not_read_fails_nothing(
    betrayed: Path, tmp_path: Path, capsys: Capture, settings: str, verdict: str
) -> None:
    root = Path(shutil.copytree(betrayed, tmp_path / "workspace"))
    (root / "lookalike.toml").write_text(settings)
    assert audit(root, capsys)["label_fields"]["verdict"] == verdict


def evaluate(
    root: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, dict[str, Any]]:
    """Evaluate with a model that is only good for testing; return the status and the report."""
    monkeypatch.setitem(PLANS, "fast", PLANS["fast"].model_copy(update=TINY_PLAN))
    monkeypatch.setenv("LOOKALIKE_RISK__LABELS_MIN", "10")
    monkeypatch.setenv("LOOKALIKE_EMBEDDER__HOLDOUT_SHARE", "0.5")
    monkeypatch.setenv("LOOKALIKE_EVALUATE__MIN_POSITIVES", "5")
    monkeypatch.setenv("LOOKALIKE_EVALUATE__NUM_RESAMPLES", "50")
    monkeypatch.setenv("LOOKALIKE_EVALUATE__PREFIXES", "[3]")
    status = run(["evaluate", "-w", str(root), "-o", str(output), "--cut", "2025-04-15"])
    return status, json.loads((output / "report.json").read_text())


def test_an_evaluation_refuses_the_figures_that_a_failed_check_is_about(
    betrayed: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, report = evaluate(betrayed, tmp_path, monkeypatch)
    assert status == REFUSED
    captured = capsys.readouterr()
    assert report["audit"]["verdict"] == "fail"
    risks = [task for task in report["tasks"] if task["name"].startswith(RISK_TASKS)]
    others = [task for task in report["tasks"] if task not in risks]
    assert [task["name"] for task in risks] == ["risk_first_3", "risk_first_all", "early_detection"]
    for task in risks:
        assert not task["measured"]
        assert task["metrics"] == {}
        assert "label_fields (staff_note betray the label)" in task["why_not"]
        assert "early_detection" not in task
    *first, detection = (task["refused"] for task in risks)
    assert all(task["metrics"]["lookalike"]["auc"]["value"] > 0.5 for task in first)
    assert detection["early_detection"]
    assert any(task["measured"] for task in others)
    assert all(task["refused"] is None for task in others)
    page = (tmp_path / "report.html").read_text()
    for text in (captured.out, page):
        assert "staff_note ever has a value" in text
        assert "average_precision" not in text
        assert "refused, because the leak audit failed: label_fields" in text
    names = ", ".join(task["name"] for task in risks)
    assert captured.err == f"error: the leak audit failed; no figures for {names}\n"


@pytest.fixture(scope="module")
def wikipedia(wiki_vandals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("wikipedia") / "workspace"
    return fill(root, wiki_vandals / "events.parquet", wiki_vandals / "labels.csv")


@pytest.mark.slow
def test_how_wikipedias_benign_users_were_drawn_is_found(wikipedia: Path, capsys: Capture) -> None:
    """They were drawn among editors of a page of their own: 98.7 % are, and 18.5 % of vandals."""
    found = audit(wikipedia, capsys, status=FAILED)
    rows = {row["name"]: row for row in found["label_fields"]["rows"]}
    assert {name for name, row in rows.items() if row["betrays"]} == {
        *("event_type", "ns", "self_page"),
    }
    sign = rows["self_page"]["sign"]
    assert (sign["value"], sign["is_absence"], sign["of"]) == ("= 1", True, "violators")
    assert sign["wrong"]["high"] < 0.02
    assert sign["shown"]["low"] > 0.75
    assert found["events_after_violation"]["counts"]["in_the_lake_after_violation"] == 1671
    assert found["label_times"]["counts"]["known_from_the_start"] == 9973


@pytest.mark.slow
def test_wikipedia_without_the_columns_that_betray_passes(
    wiki_vandals: Path, tmp_path: Path, capsys: Capture
) -> None:
    """The strict track of the data: main-page edits, times and pages alone."""
    events = pq.read_table(wiki_vandals / "events.parquet")
    events = events.filter(pc.equal(events["event_type"].cast(pa.string()), "edit_main"))
    pq.write_table(
        events.select(["user_id", "ts", "event_type", "page"]), tmp_path / "strict.parquet"
    )
    root = fill(tmp_path / "workspace", tmp_path / "strict.parquet", wiki_vandals / "labels.csv")
    assert audit(root, capsys)["label_fields"]["verdict"] == "pass"
