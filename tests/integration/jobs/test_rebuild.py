"""Rebuilding through the command line: incremental, gated, honest about time."""

import csv
import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from index.answers import RiskAnswer
from index.build import Build, load_build
from index.config import IndexConfig
from index.gate import GateReport, gate
from index.service import LookalikeService
from index.symqg import graph_class
from jobs.cli import run
from jobs.simulator.simulation import SimulationReport
from store.database import Database
from store.labels import LabelStore
from store.workspace import Workspace
from tests.integration.jobs.conftest import WITH_RISK, invoke

CUT = "2025-05-01T00:00:00Z"


def live_build(workspace: Path) -> Build:
    live = json.loads((workspace / "live.json").read_text())["live"]
    return load_build(workspace / "builds" / live)


def live_policies(workspace: Path) -> set[str | None]:
    """Return what the labels of a workspace say that violators did."""
    view = LabelStore(Database(Workspace.open(workspace).ops_url)).as_of(datetime.now(UTC))
    return set(view.table["policy"].to_pylist())


def write_events(file: Path, rows: list[tuple[str, str, str]]) -> Path:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([("user_id", "ts", "event_type"), *rows])
    return file


def some_users(build: Build, count: int) -> list[str]:
    return build.users.ids_of(np.arange(count))


def test_the_first_rebuild_embeds_everyone_and_is_live(workspace: Path) -> None:
    report = invoke("rebuild", "-w", workspace)
    assert report["is_live"] is True
    assert report["gate"]["verdict"] == "passed"
    assert report["num_embedded"] == report["num_users"] > 300
    assert "a risk model needs 100000 violators" in report["why_no_risk"]
    assert live_build(workspace).manifest.build_id == report["build_id"]


def test_policies_with_a_precision_of_their_own_are_told_of_and_answered_with(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So small a platform can prove nothing by policy: everyone's threshold, and it is said."""
    monkeypatch.setenv(*WITH_RISK)
    settings = workspace / "lookalike.toml"
    table = "[risk.likely_precision_by_policy]"
    assert table in settings.read_text()
    policies = {policy for policy in live_policies(workspace) if policy}
    demanded = "".join(f"{json.dumps(policy)} = 0.97\n" for policy in sorted(policies))
    settings.write_text(settings.read_text().replace(table, f"{table}\n{demanded}"))
    report = invoke("rebuild", "-w", workspace)
    assert report["why_no_risk"] is None
    assert {band["policy"] for band in report["policy_bands"]} == policies
    assert {band["precision"] for band in report["policy_bands"]} == {0.97}
    assert all(band["note"] for band in report["policy_bands"])
    service = LookalikeService.open(Workspace.open(workspace), config=IndexConfig())
    answers = service.risk_of_users(service.user_ids(0, 60))
    rules = [one.band_rule for one in answers if isinstance(one, RiskAnswer) and one.band_rule]
    assert {rule.policy for rule in rules} & policies
    assert {rule.precision for rule in rules if rule.policy} == {0.97}
    assert {rule.fitted_on for rule in rules} == {"everyone"}


def test_a_rebuild_embeds_only_users_whose_events_changed(workspace: Path, tmp_path: Path) -> None:
    invoke("rebuild", "-w", workspace)
    before = live_build(workspace)
    # A known violator's later events do not count, so they would not change the vector.
    changed = before.users.ids_of(np.flatnonzero(before.users.label_N != 1)[:3])
    rows = [(user, "2025-06-20T10:00:00Z", "login") for user in [*changed, "brand-new"]]
    invoke("ingest", "events", write_events(tmp_path / "more.csv", rows), "-w", workspace)
    assert invoke("rebuild", "-w", workspace)["num_embedded"] == 4
    after = live_build(workspace)
    same = [user for user in before.users.ids.to_pylist() if user not in changed]
    old, new = before.users.rows_of(same), after.users.rows_of(same)
    assert np.array_equal(before.vectors_ND[old], after.vectors_ND[new])
    old, new = before.users.rows_of(changed), after.users.rows_of(changed)
    assert (before.vectors_ND[old] != after.vectors_ND[new]).any(axis=1).all()


def test_vectors_taken_over_are_those_of_a_rebuild_from_nothing(workspace: Path) -> None:
    invoke("rebuild", "--as-of", CUT, "-w", workspace)
    invoke("rebuild", "-w", workspace)
    incremental = np.array(live_build(workspace).vectors_ND)
    (workspace / "live.json").unlink()
    report = invoke("rebuild", "-w", workspace)
    assert report["num_embedded"] == report["num_users"]
    np.testing.assert_allclose(incremental, live_build(workspace).vectors_ND, atol=1e-6)


def test_a_refused_build_is_kept_and_not_live_unless_forced(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = invoke("rebuild", "-w", workspace)["build_id"]
    monkeypatch.setenv("LOOKALIKE_GATE__SHRINK_MAX", "0")
    refused = invoke("rebuild", "--as-of", CUT, "-w", workspace, status=3)
    failed = [check["name"] for check in refused["gate"]["checks"] if not check["passed"]]
    assert failed == ["older_than_live", "users_lost_share"]
    assert live_build(workspace).manifest.build_id == first
    listed = {b["build_id"]: b for b in invoke("builds", "list", "-w", workspace)["builds"]}
    assert listed[refused["build_id"]]["gate"] == "refused"
    invoke("builds", "promote", refused["build_id"], "-w", workspace, status=1)
    forced = invoke("rebuild", "--as-of", CUT, "--force", "-w", workspace)
    assert forced["gate"]["verdict"] == "forced"
    assert live_build(workspace).manifest.build_id == forced["build_id"]
    assert invoke("builds", "rollback", "-w", workspace)["live"] == first


def test_a_rebuild_during_which_the_live_build_was_taken_back_is_refused_unless_forced(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = (invoke("rebuild", "-w", workspace)["build_id"] for _ in range(2))

    def gate_while_taking_back(*arguments: Any, **options: Any) -> GateReport:
        report = gate(*arguments, **options)
        invoke("builds", "rollback", "-w", workspace)
        return report

    monkeypatch.setattr("jobs.rebuild.gate", gate_while_taking_back)
    refused = invoke("rebuild", "-w", workspace, status=3)
    assert refused["is_live"] is False
    assert [check["name"] for check in refused["gate"]["checks"] if not check["passed"]] == [
        "live_build_moved"
    ]
    assert live_build(workspace).manifest.build_id == first
    forced = invoke("rebuild", "--force", "-w", workspace)
    assert forced["gate"]["verdict"] == "forced"
    assert live_build(workspace).manifest.build_id == forced["build_id"]


def test_a_rebuild_of_a_past_time_does_not_replace_a_later_build_unless_forced(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = invoke("rebuild", "--as-of", "2025-05-20", "-w", workspace)["build_id"]
    arguments = ["rebuild", "--as-of", "2025-05-19T23:59:00Z", "-w", str(workspace)]
    assert run(arguments) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("was refused (gate: refused, not passed: older_than_live)")
    assert re.search(r"^older_than_live +no +60 +0 +data as of 2025-05-19", "\n".join(lines), re.M)
    assert re.search(r"^users_lost_share +yes +0\.\d{3} +0\.100 ", "\n".join(lines), re.M)
    assert live_build(workspace).manifest.build_id == live
    assert invoke(*arguments, "--force")["is_live"] is True
    assert invoke("rebuild", "-w", workspace)["gate"]["verdict"] == "passed"


def build_files(workspace: Path) -> dict[str, bytes]:
    """Return the files of the live build whose bytes depend on data alone."""
    directory = live_build(workspace).directory
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def test_what_comes_later_changes_no_byte_of_a_past_build(
    workspace: Path, platform: SimulationReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events after T, events after a violation, and labels known after T must all be unseen."""
    monkeypatch.setenv(*WITH_RISK)
    invoke("rebuild", "--as-of", CUT, "-w", workspace)
    before = build_files(workspace)
    assert any(name.startswith("risk/") for name in before)
    users = live_build(workspace).users.table
    violator = users.filter(pa.compute.is_valid(users["occurred_at_us"])).to_pylist()[0]
    after_block = np.datetime64(violator["occurred_at_us"] + 1_000_000, "us")
    rows = [(user, "2025-05-01T00:00:00Z", "chat") for user in users["user_id"].to_pylist()[::3]]
    rows.append((violator["user_id"], f"{after_block}Z", "chat"))
    invoke("ingest", "events", write_events(tmp_path / "later.csv", rows), "-w", workspace)
    invoke("ingest", "labels", shuffled_later_labels(platform, tmp_path), "-w", workspace)
    (workspace / "live.json").unlink()
    invoke("rebuild", "--as-of", CUT, "-w", workspace)
    assert build_files(workspace) == before


def shuffled_later_labels(platform: SimulationReport, folder: Path) -> Path:
    """Write every user under a wrong label that was known only after the cut."""
    users = sorted(set(pq.read_table(platform.truth_file)["user_id"].to_pylist()))
    flipped = np.random.default_rng(0).permutation(np.arange(len(users)) % 2)
    file = folder / "later-labels.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("user_id", "label", "policy", "occurred_at", "known_at"))
        for user, label in zip(users, flipped.tolist(), strict=True):
            writer.writerow((user, label, "spam", "2025-03-05T00:00:00Z", "2025-05-01T00:00:00Z"))
    return file


def test_a_damaged_live_build_is_replaced_by_a_rebuild(workspace: Path) -> None:
    invoke("rebuild", "-w", workspace)
    vectors = live_build(workspace).directory / "vectors.npy"
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1
    vectors.write_bytes(content)
    report = invoke("rebuild", "-w", workspace)
    assert report["is_live"] is True
    assert report["num_embedded"] == report["num_users"]


def test_nothing_to_build_from_is_said_with_the_remedy(tmp_path: Path, workspace: Path) -> None:
    invoke("init", "-w", tmp_path / "new")
    error = invoke("rebuild", "-w", tmp_path / "new", status=1)["error"]
    assert 'run "lookalike train' in error
    error = invoke("rebuild", "--as-of", "2025-04-30", "-w", workspace, status=1)["error"]
    assert "every model saw later data" in error
    for folder in (workspace / "models").iterdir():
        (folder / "weights.safetensors").write_bytes(b"cut")
    assert "weights.safetensors" in invoke("rebuild", "-w", workspace, status=1)["error"]


def test_a_failed_rebuild_leaves_nothing_behind(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where the traceback is kept
    monkeypatch.setattr("jobs.rebuild.gate", lambda *_, **__: 1 / 0)
    invoke("rebuild", "-w", workspace, status=1)
    assert [path for path in (workspace / "builds").iterdir() if path.is_dir()] == []
    assert list((workspace / "tmp").iterdir()) == []


@pytest.fixture
def without_rabitqlib(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Takes the library away when it is called."""

    def take_away() -> None:
        monkeypatch.setitem(sys.modules, "rabitqlib", None)
        graph_class.cache_clear()

    yield take_away
    graph_class.cache_clear()


def test_where_the_extra_is_missing_a_rebuild_names_it_or_makes_another_index(
    workspace: Path, without_rabitqlib: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_INDEX__KIND", "symqg")
    invoke("rebuild", "--force", "-w", workspace)
    assert live_build(workspace).manifest.index == "symqg"
    without_rabitqlib()
    error = invoke("rebuild", "-w", workspace, status=1)["error"]
    assert "pip install --constraint constraints.txt '.[symqg]'" in error
    monkeypatch.setenv("LOOKALIKE_INDEX__KIND", "auto")
    assert invoke("rebuild", "--force", "-w", workspace)["is_live"]
