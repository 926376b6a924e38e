"""Erasing through the command line: out of everything, and not back."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from index.build import STAGING_PREFIX
from index.builds import list_builds
from index.errors import PublishBusy
from index.gate import GateReport, gate
from index.users import read_users
from jobs.simulator.simulation import SimulationReport
from store.workspace import Workspace
from tests.integration.jobs.conftest import WITH_RISK, invoke
from tests.integration.jobs.test_rebuild import live_build, some_users


def ids_of_builds(workspace: Path) -> dict[str, set[str]]:
    """Return the users of every build."""
    builds = Workspace.open(workspace).builds_dir
    return {
        info.build_id: set(read_users(builds / info.build_id)["user_id"].to_pylist())
        for info in list_builds(Workspace.open(workspace))
    }


def test_an_erased_user_is_gone_from_events_labels_and_builds(
    workspace: Path, platform: SimulationReport
) -> None:
    old = invoke("rebuild", "-w", workspace)["build_id"]
    live = invoke("rebuild", "-w", workspace)["build_id"]
    user, other = some_users(live_build(workspace), 2)
    builds = Workspace.open(workspace).builds_dir
    given_up = builds / f"{STAGING_PREFIX}{old}"
    shutil.copytree(builds / old, given_up)  # as a killed rebuild leaves it
    receipt = invoke("erase", user, "-w", workspace)
    assert receipt["user_ids"] == [user]
    assert receipt["staged_builds"] == [given_up.name]
    assert receipt["num_events"] > 0
    assert receipt["builds_removed"] == [old]
    assert receipt["live_build_holds"] is True
    rebuilt = invoke("rebuild", "-w", workspace)["build_id"]
    users = ids_of_builds(workspace)
    assert live not in users, "a rollback must not bring the user back"
    assert user not in users[rebuilt]
    assert other in users[rebuilt]
    assert "has no user" in invoke("search", user, "-w", workspace, status=1)["error"]


def test_an_erasure_removes_what_a_killed_job_left_of_users(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    invoke("init", "-w", root)
    left = [Workspace.open(root).temporary_dir / name for name in ("vectors-a", "evaluate-b")]
    for folder in left:
        folder.mkdir()
        (folder / "vectors.npy").write_bytes(b"of users")
        (folder / ".lock").touch()
        os.utime(folder / ".lock", (1, 1))
    invoke("erase", "somebody", "-w", root)
    assert not any(folder.exists() for folder in left)


def test_an_erased_user_is_not_answered_about_before_the_next_rebuild(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*WITH_RISK)
    invoke("rebuild", "-w", workspace)
    build = live_build(workspace)
    gone, other = some_users(build, 2)
    k = ("-k", str(build.manifest.num_users - 2))
    before = ids_of(invoke("search", other, *k, "-w", workspace))
    assert gone in before
    assert invoke("erase", gone, "-w", workspace)["live_build_holds"] is True
    after = ids_of(invoke("search", other, *k, "-w", workspace))
    assert len(after) == len(before), "somebody else has taken the place"
    assert gone not in after
    assert "has no user" in invoke("search", gone, "-w", workspace, status=1)["error"]
    num_left = build.manifest.num_users - 1
    for kind in ("vectors", "features"):
        file = tmp_path / f"{kind}.parquet"
        assert invoke("export", kind, "-o", file, "-w", workspace)["num_users"] == num_left
        exported = pq.read_table(file)
        assert exported["user_id"].to_pylist() == build.users.ids.to_pylist()[1:]
    vectors = np.array(pq.read_table(tmp_path / "vectors.parquet")["vector"].to_pylist())
    assert np.array_equal(vectors.astype(np.float32), build.vectors_ND[1:])
    users = tmp_path / "users.txt"
    users.write_text(f"{gone}\n{other}\n")
    file = tmp_path / "two.parquet"
    invoke("export", "features", "--users", users, "-o", file, "-w", workspace)
    assert pq.read_table(file)["found"].to_pylist() == [False, True]


def ids_of(report: dict[str, Any]) -> list[str]:
    return [hit["user_id"] for hit in report["neighbors"]]


def test_an_erased_user_does_not_come_back_with_the_file_they_came_in(
    workspace: Path, platform: SimulationReport, tmp_path: Path
) -> None:
    invoke("rebuild", "-w", workspace)
    (user,) = some_users(live_build(workspace), 1)
    invoke("erase", user, "-w", workspace)
    again = tmp_path / "again.csv"
    again.write_text(f"user_id,ts,event_type\n{user},2025-03-09,login\nnew,2025-03-09,login\n")
    (report,) = invoke("ingest", "events", again, "-w", workspace)["files"]
    assert (report["num_kept"], report["num_erased"]) == (1, 1)


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_who_is_erased_while_the_gate_judges_does_not_go_live(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, force: tuple[str, ...]
) -> None:
    before = invoke("rebuild", "-w", workspace)["build_id"]
    user, another, other = some_users(live_build(workspace), 3)
    asking = iter((user, another))

    def gate_and_erase(*arguments: Any, **named: Any) -> GateReport:
        report = gate(*arguments, **named)
        invoke("erase", next(asking), "-w", workspace)
        return report

    monkeypatch.setattr("jobs.rebuild.gate", gate_and_erase)
    refused = invoke("rebuild", *force, "-w", workspace, status=3)
    assert [check["name"] for check in refused["gate"]["checks"] if not check["passed"]] == [
        "erased_users"
    ]
    assert refused["gate"]["verdict"] == "refused"
    assert [*ids_of_builds(workspace)] == [before], "what was refused holds the user and is gone"
    monkeypatch.undo()
    after = invoke("rebuild", "-w", workspace)["build_id"]
    users = ids_of_builds(workspace)
    assert [*users] == [after]
    assert not {user, another} & users[after]
    assert other in users[after]


def test_a_build_is_made_once_more_without_who_was_erased_meanwhile(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("rebuild", "-w", workspace)
    user, other = some_users(live_build(workspace), 2)

    def gate_and_erase(*arguments: Any, **named: Any) -> GateReport:
        report = gate(*arguments, **named)
        invoke("erase", user, "-w", workspace)
        return report

    monkeypatch.setattr("jobs.rebuild.gate", gate_and_erase)
    after = invoke("rebuild", "-w", workspace)["build_id"]
    users = ids_of_builds(workspace)
    assert [*users] == [after]
    assert user not in users[after]
    assert other in users[after]


def test_an_erasure_cut_short_before_the_builds_is_finished_by_the_next(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = invoke("rebuild", "-w", workspace)["build_id"]
    live = invoke("rebuild", "-w", workspace)["build_id"]
    (user,) = some_users(live_build(workspace), 1)

    def fail(*_: object, **__: object) -> None:
        raise PublishBusy("another process publishes")

    monkeypatch.setattr("jobs.erase.forget_in_builds", fail)
    invoke("erase", user, "-w", workspace, status=1)
    assert [*ids_of_builds(workspace)] == [old, live]
    monkeypatch.undo()
    receipt = invoke("erase", "somebody else", "-w", workspace)
    assert receipt["builds_removed"] == [old]
    assert receipt["live_build_holds"] is True


def test_erasing_twice_and_erasing_nobody_are_safe(workspace: Path) -> None:
    invoke("rebuild", "-w", workspace)
    (user,) = some_users(live_build(workspace), 1)
    invoke("erase", user, "-w", workspace)
    again = invoke("erase", user, "-w", workspace)
    assert again["num_events"] == 0
    unknown = invoke("erase", "nobody-ever-seen", "-w", workspace)
    assert unknown["num_events"] == 0
    assert unknown["builds_removed"] == []
