import os
from pathlib import Path

import pytest

from store.engine import query_engine, remove_abandoned_scratch, scratch_folder
from store.errors import SettingsInvalid, WorkspaceMissing
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


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("", "sqlite:///ROOT/ops.sqlite"),
        ("sqlite:///other.sqlite", "sqlite:///ROOT/other.sqlite"),
        ("sqlite:////srv/ops.sqlite", "sqlite:////srv/ops.sqlite"),
        ("sqlite+pysqlite:///deep/a.db?timeout=5", "sqlite+pysqlite:///ROOT/deep/a.db?timeout=5"),
        ("postgresql+psycopg://me:secret@host/db", "postgresql+psycopg://me:secret@host/db"),
        ("sqlite://host/ops.sqlite", "sqlite://host/ops.sqlite"),
    ],
)
def test_the_settings_name_the_database(tmp_path: Path, named: str, meant: str) -> None:
    """A relative path starts in the workspace: jobs and service have folders of their own."""
    workspace = Workspace(tmp_path)
    workspace.config_file.write_text(f'database_url = "{named}"\n[nonsense]\n')
    assert workspace.ops_url == meant.replace("ROOT", str(tmp_path))


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    workspace.config_file.write_text('database_url = "sqlite:///one.sqlite"\n')
    monkeypatch.setenv("LOOKALIKE_DATABASE_URL", "sqlite:///two.sqlite")
    assert workspace.ops_url.endswith("/two.sqlite")
    monkeypatch.setenv("LOOKALIKE_DATABASE_URL", "")
    assert workspace.ops_url.endswith("/ops.sqlite")


@pytest.mark.parametrize(
    "line",
    [
        "database_url = 3",
        "database_url = ",
        'database_url = "sqlite://"',
        'database_url = "sqlite:///:memory:"',
        'database_url = "sqlite:///file:ops?mode=memory&uri=true"',
    ],
)
def test_a_database_that_makes_no_sense_is_refused_in_one_line(tmp_path: Path, line: str) -> None:
    workspace = Workspace(tmp_path)
    workspace.config_file.write_text(line)
    with pytest.raises(SettingsInvalid) as refused:
        _ = workspace.ops_url
    assert "\n" not in str(refused.value)


def test_scratch_of_the_dead_is_removed_and_of_the_living_kept(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    dead = [workspace.temporary_dir / f"{kind}-dead" for kind in ("query", "vectors", "evaluate")]
    young = workspace.temporary_dir / "query-young"
    for folder in (*dead, young):
        folder.mkdir()
        (folder / ".lock").touch()
    for folder in dead:
        os.utime(folder / ".lock", (1, 1))
    with (
        query_engine(workspace, memory_limit_mb=128, threads=1) as (_, living),
        scratch_folder(workspace, prefix="vectors-") as also_living,
    ):
        for folder in (living, also_living):
            os.utime(folder / ".lock", (1, 1))
        remove_abandoned_scratch(workspace)
        assert living.is_dir()
        assert also_living.is_dir()
    assert list(workspace.temporary_dir.iterdir()) == [young]
