"""Runs a change of a workspace in processes each of which is killed some lines later than the last.

    python -m tests.chaos.dying ACTION PRISTINE_WORKSPACE SCRATCH_DIR STEP

Prints one JSON list: for each line at which a process was killed, what was live afterwards and
whether it could be loaded. The modules are imported once; each victim is a fork.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from index.build import load_build, write_build
from index.builds import build_dir, list_builds, promote, prune, rollback
from index.config import IndexConfig
from index.errors import IndexingError
from index.gate import GateReport
from index.publish import publish, publish_lock, read_live
from store.workspace import Workspace
from tests.index_fakes import NOW, build_input, unit_vectors, write_rings_and_risk

FATAL_FILES = (
    "index/build.py",
    "index/builds.py",
    "index/manifest.py",
    "index/publish.py",
    "store/durable.py",
    "store/locks.py",
)
CONFIG = IndexConfig(kind="hnsw")


def stage(workspace: Workspace, seed: int) -> Path:
    """Write a build of all kinds of files."""
    given = build_input(unit_vectors(8, seed=seed), violators=[2])
    now = NOW + timedelta(minutes=seed)  # ids sort by time
    return write_build(workspace, given, CONFIG, now=now, write_extra=write_rings_and_risk)


def publish_staged(workspace: Workspace) -> None:
    """Publish what is staged."""
    (staged,) = workspace.builds_dir.glob(".staging-*")
    publish(workspace, staged, GateReport(()), now=NOW)


ACTIONS: dict[str, Callable[[Workspace], Any]] = {
    "write": lambda workspace: stage(workspace, 9),
    "publish": publish_staged,
    "rollback": lambda workspace: rollback(workspace, now=NOW),
    "promote": lambda workspace: promote(workspace, list_builds(workspace)[0].build_id, now=NOW),
    "prune": lambda workspace: prune(workspace, keep=0, now=NOW),
}


def kill_at_line(line: int) -> None:
    """Kill this process when it is about to run its n-th line of our code."""
    num_lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal num_lines
        if not frame.f_code.co_filename.endswith(FATAL_FILES):
            return None
        if event == "line":
            num_lines += 1
            if num_lines == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def run_victim(action: Callable[[Workspace], Any], workspace: Workspace, line: int) -> bool:
    """Run the action in a fork that dies at a line; return whether it died."""
    victim = os.fork()
    if victim == 0:
        kill_at_line(line)
        action(workspace)
        os._exit(0)
    _, status = os.waitpid(victim, 0)
    return os.WIFSIGNALED(status)


def outcome(workspace: Workspace, line: int) -> dict[str, Any]:
    """Tell what is live, whether that and the previous build load, and whether the lock is free."""
    result: dict[str, Any] = {"line": line, "live": None, "previous": None, "fault": None}
    try:
        pointer = read_live(workspace)
        if pointer is not None:
            result["live"], result["previous"] = pointer.live, pointer.previous
            for build_id in filter(None, (pointer.live, pointer.previous)):
                load_build(build_dir(workspace, build_id))
        for build in list_builds(workspace):
            load_build(build_dir(workspace, build.build_id))
        with publish_lock(workspace):
            pass
    except IndexingError as error:
        result["fault"] = str(error)
    return result


def main(action_name: str, pristine: Path, scratch: Path, step: int) -> None:
    """Kill at every `step`-th line, each time in a fresh copy, until one run ends alive."""
    outcomes = []
    line, died = 1 - step, True
    while died:
        line += step
        shutil.copytree(pristine, scratch)
        workspace = Workspace(scratch)
        died = run_victim(ACTIONS[action_name], workspace, line)
        outcomes.append(outcome(workspace, line))
        shutil.rmtree(scratch)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
