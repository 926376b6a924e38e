"""An erased user is gone from events and labels, and a file sent again brings nobody back."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from store.database import Database
from store.erasures import ErasedUsers, erase_users, erased_users
from store.errors import WorkspaceBusy
from store.lake import EventLake
from store.locks import exclusive_lock
from store.manifests import Manifest, read_manifests, write_manifest
from store.workspace import Workspace
from tests.integration.store.files import (
    NOW,
    add_events,
    add_labels,
    event,
    labels_as_of,
    read_rows,
)


@pytest.fixture
def database(workspace: Workspace) -> Iterator[Database]:
    database = Database(workspace.ops_url)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    add_events(workspace, "a", [event(user, n) for n in range(20) for user in ("al", "bo", "cy")])
    add_events(workspace, "b", [event("al", 100), event("di", 101)])
    add_events(workspace, "c", [event("al", 200)])
    add_events(workspace, "d", [event("bo", 300)])
    add_labels(workspace, "labels", [{"user_id": user, "label": 1} for user in ("al", "bo")])
    return workspace


def users(workspace: Workspace) -> list[str]:
    ids: list[str] = EventLake(workspace).users(as_of=NOW).column("user_id").to_pylist()
    return ids


def test_an_erased_user_is_nowhere(filled: Workspace, database: Database) -> None:
    receipt = erase_users(filled, database, ["al", "never seen"], now=NOW)
    assert receipt.to_dict() == {
        "user_ids": ("al", "never seen"),
        "num_events": 22,
        "num_labels": 1,
        "num_files_rewritten": 3,
        "completed_at": NOW.isoformat(),
    }
    assert users(filled) == ["bo", "cy", "di"]
    assert labels_as_of(filled, NOW).table.column("user_id").to_pylist() == ["bo"]
    assert erased_users(database) == {"al", "never seen"}
    for part in filled.lake_dir.rglob("*.parquet"):
        assert "al" not in pq.read_table(part).column("user_id").to_pylist()


def test_erased_users_are_read_again_only_when_there_are_more(
    filled: Workspace, database: Database
) -> None:
    watched = ErasedUsers(database)
    assert watched.read() == set()
    erase_users(filled, database, ["al"], now=NOW)
    first = watched.read()
    assert first == {"al"}
    assert watched.read() is first
    erase_users(filled, database, ["al"], now=NOW)
    assert watched.read() is first
    erase_users(filled, database, ["bo", "cy"], now=NOW)
    assert watched.read() == {"al", "bo", "cy"}


def test_other_users_keep_every_event_in_order(filled: Workspace, database: Database) -> None:
    others = [row for row in read_rows(filled) if row["user_id"] != "al"]
    erase_users(filled, database, ["al"], now=NOW)
    assert read_rows(filled) == others
    untouched = [part for manifest in read_manifests(filled) for part in manifest.parts]
    assert [part.num_rows for part in untouched] == [40, 1, 1]
    assert untouched[1].first_ts_us == 101_000_000


def test_erasing_twice_is_safe(filled: Workspace, database: Database) -> None:
    erase_users(filled, database, ["al"], now=NOW)
    again = erase_users(filled, database, ["al"], now=NOW)
    assert (again.num_events, again.num_labels, again.num_files_rewritten) == (0, 0, 0)
    nothing = erase_users(filled, database, [], now=NOW)
    assert nothing.user_ids == ()


def test_a_part_is_rewritten_as_often_as_users_ask(
    workspace: Workspace, database: Database
) -> None:
    names = [f"user {number}" for number in range(20)]
    add_events(workspace, "all", [event(name, n) for n, name in enumerate([*names, "stays"])])
    for name in names:
        assert erase_users(workspace, database, [name], now=NOW).num_events == 1
    assert users(workspace) == ["stays"]
    (part,) = workspace.lake_dir.rglob("*.parquet")
    assert len(part.name) < 60


def test_a_part_whose_name_grew_is_rewritten_under_a_short_one(
    workspace: Workspace, database: Database
) -> None:
    add_events(workspace, "all", [event("al", 0), event("bo", 1)])
    (manifest,) = read_manifests(workspace)
    (part,) = manifest.parts
    file = workspace.lake_dir / part.path
    grown = file.with_name(file.stem + "-e1764547200000000" * 12 + ".parquet")
    file.rename(grown)
    moved = replace(part, path=str(grown.relative_to(workspace.lake_dir)))
    write_manifest(workspace, replace(manifest, parts=(moved,)))
    assert erase_users(workspace, database, ["al"], now=NOW).num_events == 1
    assert users(workspace) == ["bo"]


def test_a_file_sent_again_brings_nobody_back(filled: Workspace, database: Database) -> None:
    erase_users(filled, database, ["al"], now=NOW)
    report = add_events(filled, "e", [event("al", 1), event("al", 2), event("bo", 3)])
    assert (report.num_kept, report.num_erased, report.num_rejected) == (1, 2, 0)
    labels = [{"user_id": "al", "label": 1}, {"user_id": "cy", "label": 1}]
    report = add_labels(filled, "more", labels)
    assert (report.num_kept, report.num_erased, report.num_duplicates) == (1, 1, 0)
    assert "al" not in users(filled)
    assert labels_as_of(filled, NOW).table.column("user_id").to_pylist() == ["bo", "cy"]


def test_an_erasure_cut_short_is_finished_by_the_next(
    filled: Workspace, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer dies after the first of three manifests; the lake is readable all the time."""
    written: list[Manifest] = []

    def die_at_second(workspace: Workspace, manifest: Manifest) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(manifest)
        write_manifest(workspace, manifest)

    with monkeypatch.context() as patched:
        patched.setattr("store.erasures.write_manifest", die_at_second)
        with pytest.raises(KeyboardInterrupt):
            erase_users(filled, database, ["al"], now=NOW)
    assert "al" in users(filled)
    assert erased_users(database) == {"al"}
    receipt = erase_users(filled, database, ["di"], now=NOW)
    assert receipt.user_ids == ("al", "di")
    assert users(filled) == ["bo", "cy"]


def test_an_erasure_waits_for_no_other_writer(filled: Workspace, database: Database) -> None:
    with (
        exclusive_lock(filled.lake_lock_file, purpose="ingest"),
        pytest.raises(WorkspaceBusy, match="erase again"),
    ):
        erase_users(filled, database, ["al"], now=NOW)
    assert erased_users(database) == set()


def test_part_files_of_the_erased_are_removed(
    filled: Workspace, database: Database, tmp_path: Path
) -> None:
    erase_users(filled, database, ["al", "bo", "cy", "di"], now=NOW)
    assert list(filled.lake_dir.rglob("*")) == []
    assert read_rows(filled) == []
