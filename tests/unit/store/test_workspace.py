import os
from pathlib import Path

import pytest

from store.engine import query_engine, remove_abandoned_scratch
from store.errors import WorkspaceMissing
from store.workspace import Workspace


def test_a_folder_without_settings_is_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceMissing, match="lookalike init -w"):
        Workspace.open(tmp_path)


def test_a_created_workspace_opens_and_may_be_created_again(tmp_path: Path) -> None:
    created = Workspace.create(tmp_path / "w")
    created.config_file.write_text("")
    assert Workspace.create(tmp_path / "w") == Workspace.open(tmp_path / "w") == created
    assert created.lake_dir.is_dir()


def test_another_database_can_be_named(tmp_path: Path) -> None:
    assert Workspace(tmp_path).ops_url == f"sqlite:///{tmp_path}/ops.sqlite"
    assert Workspace(tmp_path, "postgresql://host/db").ops_url == "postgresql://host/db"


def test_scratch_of_the_dead_is_removed_and_of_the_living_kept(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    dead, young = (workspace.temporary_dir / f"query-{name}" for name in ("dead", "young"))
    for folder in (dead, young):
        folder.mkdir()
        (folder / ".lock").touch()
    os.utime(dead / ".lock", (1, 1))
    with query_engine(workspace, memory_limit_mb=128, threads=1) as (_, living):
        os.utime(living / ".lock", (1, 1))
        remove_abandoned_scratch(workspace)
        assert living.is_dir()
    assert list(workspace.temporary_dir.iterdir()) == [young]
