"""A build with any byte changed, cut off, or missing is refused, whatever reads it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from index.build import load_build
from index.builds import build_dir, promote
from index.config import IndexConfig
from index.errors import BuildCorrupt
from index.gate import GateReport
from index.live import LiveService
from index.publish import publish, read_live
from store.workspace import Workspace
from tests.chaos.dying import stage
from tests.index_fakes import NOW, open_fake_service

pytestmark = pytest.mark.chaos

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "workspace")


@pytest.fixture
def directory(workspace: Workspace) -> Path:
    """Folder of the live build."""
    published = publish(workspace, stage(workspace, 0), GateReport(()), now=NOW)
    return build_dir(workspace, published.build_id)


def files_of(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_there_are_files_of_every_kind(directory: Path) -> None:
    names = {path.relative_to(directory).as_posix() for path in files_of(directory)}
    assert names == {
        "entry_first_rows.npy",
        "entry_of_row.npy",
        "entry_offsets.npy",
        "entry_rows.npy",
        "hnsw.faiss",
        "manifest.json",
        "penalties.npy",
        "penalties_same_kind.npy",
        "report.json",
        "rings.parquet",
        "risk/model.json",
        "users.arrow",
        "vectors.npy",
        "violators.npy",
    }


def test_flipped_byte_in_any_file_is_refused(directory: Path) -> None:
    generator = np.random.default_rng(0)
    for path in files_of(directory):
        content = path.read_bytes()
        places = {0, len(content) // 2, len(content) - 1, *generator.integers(0, len(content), 10)}
        for place in places:
            damaged = bytearray(content)
            damaged[place] ^= 1 << int(generator.integers(8))
            path.write_bytes(bytes(damaged))
            with pytest.raises(BuildCorrupt, match=path.name):
                load_build(directory)
        path.write_bytes(content)
    load_build(directory)


def test_file_that_is_cut_longer_or_missing_is_refused(directory: Path) -> None:
    for path in files_of(directory):
        content = path.read_bytes()
        for damaged in (content[:-1], content[: len(content) // 2], b"", content + b"\0"):
            path.write_bytes(damaged)
            with pytest.raises(BuildCorrupt, match=path.name):
                load_build(directory)
        path.unlink()
        with pytest.raises(BuildCorrupt, match=path.name):
            load_build(directory)
        path.write_bytes(content)
    load_build(directory)


def test_damaged_build_is_neither_served_nor_promoted(
    workspace: Workspace, directory: Path
) -> None:
    second = publish(workspace, stage(workspace, 1), GateReport(()), now=NOW)
    path = directory / "hnsw.faiss"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BuildCorrupt):
        open_fake_service(workspace, directory.name)
    with pytest.raises(BuildCorrupt):
        promote(workspace, directory.name, now=NOW)
    pointer = read_live(workspace)
    assert pointer is not None
    assert pointer.live == second.build_id


def test_service_that_starts_on_a_damaged_build_says_so(
    workspace: Workspace, directory: Path
) -> None:
    path = directory / "users.arrow"
    path.write_bytes(path.read_bytes()[:-8])
    live = LiveService(
        workspace,
        IndexConfig(),
        open_service=lambda where, build_id, config: open_fake_service(where, build_id, config),
    )
    assert not live.refresh()
    assert live.status().build_id is None
    assert "users.arrow" in (live.status().error or "")


@pytest.mark.parametrize("limit_bytes", [100, 300, 700, 1_500, 2_000])
def test_full_disk_leaves_the_old_build_live(
    workspace: Workspace, directory: Path, limit_bytes: int
) -> None:
    """No file may grow beyond a limit: writing fails midway, as on a full disk."""
    script = (
        "import resource, sys\n"
        "from tests.chaos.publishing import main, Workspace, Path\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))\n"
        f"main(Workspace(Path({str(workspace.root)!r})), 5, 1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Error" in done.stderr.splitlines()[-1]
    pointer = read_live(workspace)
    assert pointer is not None
    assert pointer.live == directory.name
    load_build(directory)
    assert [path.name for path in workspace.builds_dir.glob("b*")] == [directory.name]
