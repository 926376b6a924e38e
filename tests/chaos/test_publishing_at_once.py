"""Two publishers at once, and a reader between them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from index.build import load_build
from index.builds import build_dir, list_builds
from index.gate import GateReport
from index.publish import publish, read_live
from store.workspace import Workspace
from tests.chaos.dying import stage
from tests.index_fakes import NOW

pytestmark = pytest.mark.chaos

NUM_BUILDS = 15
REPOSITORY = Path(__file__).parents[2]


def start_publisher(workspace: Workspace, first_seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.chaos.publishing", str(workspace.root)]
    return subprocess.Popen(
        [*command, str(first_seed), str(NUM_BUILDS)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_publishers_at_once_lose_no_build_and_a_reader_never_misses_one(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "workspace")
    first = publish(workspace, stage(workspace, 0), GateReport(()), now=NOW).build_id
    publishers = [start_publisher(workspace, first_seed) for first_seed in (100, 200)]
    seen = {first}
    while any(publisher.poll() is None for publisher in publishers):
        pointer = read_live(workspace)
        assert pointer is not None
        load_build(build_dir(workspace, pointer.live))
        seen.add(pointer.live)
    outputs = [publisher.communicate()[0].split() for publisher in publishers]
    assert [publisher.returncode for publisher in publishers] == [0, 0]
    published = [*outputs[0], *outputs[1]]
    assert len(published) == 2 * NUM_BUILDS
    assert {build.build_id for build in list_builds(workspace)} == {first, *published}
    pointer = read_live(workspace)
    assert pointer is not None
    assert pointer.live in {outputs[0][-1], outputs[1][-1]}
    assert pointer.previous in published
    assert seen <= {first, *published}
