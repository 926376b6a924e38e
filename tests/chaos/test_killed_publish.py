"""A process that changes which build is live may die at any line: old or new, never half."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from index.builds import list_builds
from index.gate import GateReport
from index.publish import publish, read_live
from store.workspace import Workspace
from tests.chaos.dying import stage
from tests.index_fakes import NOW

pytestmark = pytest.mark.chaos

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
State = tuple[str | None, str | None]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with two published builds."""
    workspace = Workspace.create(tmp_path / "pristine")
    for seed in range(2):
        publish(workspace, stage(workspace, seed), GateReport(()), now=NOW)
    return workspace


def kill_everywhere(
    action: str, workspace: Workspace, tmp_path: Path, *, step: int = 3
) -> list[dict[str, Any]]:
    """Run an action again and again, killed `step` lines later each time; return what was left."""
    command = [sys.executable, "-m", "tests.chaos.dying", action]
    command += [str(workspace.root), str(tmp_path / "scratch"), str(step)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=ONE_THREAD, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    outcomes: list[dict[str, Any]] = json.loads(done.stdout)
    faults = [outcome for outcome in outcomes if outcome["fault"] is not None]
    assert faults == []
    return outcomes


def pointers(outcomes: list[dict[str, Any]]) -> list[State]:
    return [(outcome["live"], outcome["previous"]) for outcome in outcomes]


def assert_swings_once(states: list[State], old: State, new: State) -> None:
    """The later the death, the newer the state; there is no third one, and no way back."""
    assert set(states) == {old, new}
    swing = states.index(new)
    assert states == [old] * swing + [new] * (len(states) - swing)


def test_publish_leaves_the_old_build_live_or_the_new_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    first, second = (build.build_id for build in list_builds(workspace))
    third = stage(workspace, 2).name.removeprefix(".staging-")
    states = pointers(kill_everywhere("publish", workspace, tmp_path, step=1))
    assert len(states) > 100
    assert_swings_once(states, (second, first), (third, second))


def test_first_publish_leaves_nothing_live_or_the_build(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "pristine")
    build_id = stage(workspace, 0).name.removeprefix(".staging-")
    states = pointers(kill_everywhere("publish", workspace, tmp_path))
    assert set(states) == {(None, None), (build_id, None)}


def test_writing_a_build_touches_nothing_that_is_live(workspace: Workspace, tmp_path: Path) -> None:
    before = read_live(workspace)
    assert before is not None
    states = pointers(kill_everywhere("write", workspace, tmp_path))
    assert set(states) == {(before.live, before.previous)}


def test_rollback_leaves_the_old_build_live_or_the_new_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    first, second = (build.build_id for build in list_builds(workspace))
    states = pointers(kill_everywhere("rollback", workspace, tmp_path))
    assert_swings_once(states, (second, first), (first, second))


def test_promote_leaves_the_old_build_live_or_the_new_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    publish(workspace, stage(workspace, 2), GateReport(()), now=NOW)
    first, second, third = (build.build_id for build in list_builds(workspace))
    states = pointers(kill_everywhere("promote", workspace, tmp_path))
    assert_swings_once(states, (third, second), (first, third))


def test_prune_never_touches_the_live_and_the_previous_build(
    workspace: Workspace, tmp_path: Path
) -> None:
    for seed in (2, 3):
        publish(workspace, stage(workspace, seed), GateReport(()), now=NOW)
    before = read_live(workspace)
    assert before is not None
    states = pointers(kill_everywhere("prune", workspace, tmp_path))
    assert set(states) == {(before.live, before.previous)}
