"""Twice is once: by content, by event id, and across a writer that died."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from store.config import IngestConfig
from store.errors import FileUnreadable, LakeCorrupt, WorkspaceBusy
from store.ingest import ingest_events
from store.locks import exclusive_lock
from store.manifests import read_manifests
from store.workspace import Workspace
from tests.integration.store.files import (
    LENIENT,
    NOW,
    add_events,
    event,
    ingest,
    read_rows,
    write_csv,
    write_jsonl,
)


def test_the_same_content_counts_once_under_any_name(workspace: Workspace, tmp_path: Path) -> None:
    rows = [event("al", 1), event("al", 1)]
    first = ingest(workspace, write_jsonl(tmp_path / "a.jsonl", rows))
    again = ingest(workspace, write_jsonl(tmp_path / "b.jsonl", rows))
    assert (first.num_kept, first.already_ingested) == (2, False)
    assert (again.num_kept, again.num_rows, again.already_ingested) == (0, 0, True)
    assert again.sha256 == first.sha256
    assert len(read_rows(workspace)) == 2


def test_equal_rows_without_an_event_id_are_all_kept(workspace: Workspace, tmp_path: Path) -> None:
    add_events(workspace, "a", [event("al", 1)] * 3)
    add_events(workspace, "b", [event("al", 1)] * 2)
    assert len(read_rows(workspace)) == 5


def test_the_first_row_of_an_event_id_wins(workspace: Workspace, tmp_path: Path) -> None:
    first = add_events(
        workspace,
        "a",
        [
            event("al", 5, event_id="x", page="kept"),
            event("al", 1, event_id="x", page="later in the file"),
            event("al", 2, event_id="y", page="kept"),
            event("al", "never", event_id="z", page="rejected"),
            event("al", 3, event_id=None, page="no id"),
            event("al", 3, event_id=None, page="no id"),
        ],
    )
    assert (first.num_kept, first.num_duplicates, first.num_rejected) == (4, 1, 1)
    second = add_events(
        workspace,
        "b",
        [
            event("bo", 9, event_id="y", page="known"),
            event("bo", 9, event_id="z", page="kept"),
            event("bo", 9, event_id="z", page="later in the file"),
            event("bo", 9, event_id=None, page="no id"),
        ],
    )
    assert (second.num_kept, second.num_duplicates) == (2, 2)
    pages = [row["page"] for row in read_rows(workspace)]
    assert sorted(pages) == ["kept", "kept", "kept", "no id", "no id", "no id"]


def test_event_ids_are_compared_as_text(workspace: Workspace, tmp_path: Path) -> None:
    """A number in one file is the same id as the string in another."""
    add_events(workspace, "plain", [event("al", 1)])
    add_events(workspace, "numbers", [event("al", 1, event_id=17)])
    report = ingest(workspace, write_csv(tmp_path / "c.csv", [event("al", 1, event_id="17")]))
    assert (report.num_kept, report.num_duplicates) == (0, 1)
    assert len(read_rows(workspace)) == 2
    again = add_events(
        workspace, "more", [event("al", 2, event_id=17), event("al", 3, event_id=18)]
    )
    assert (again.num_kept, again.num_duplicates) == (1, 1)


def test_one_writer_at_a_time(workspace: Workspace, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", [event("al", 1)])
    with (
        exclusive_lock(workspace.lake_lock_file, purpose="ingest"),
        pytest.raises(WorkspaceBusy, match="ingest again when it has finished"),
    ):
        ingest(workspace, file)
    assert ingest(workspace, file).num_kept == 1


def test_a_file_that_changes_while_it_is_read_is_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", [event("al", 1)])

    def append(*_: object) -> None:
        with file.open("a") as out:
            out.write("\n")

    with pytest.raises(FileUnreadable, match="was written to while it was read"):
        ingest_events(workspace, [file], LENIENT, now=NOW, progress=append)
    assert read_rows(workspace) == []


def die_while_writing(workspace: Workspace, file: Path) -> None:
    """Ingest in a child that is killed after the part files and before the manifest."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("store.ingest.write_manifest", die)
        ingest_events(workspace, [file], LENIENT, now=NOW)


def test_a_killed_ingest_leaves_no_event_and_the_next_one_cleans_up(
    workspace: Workspace, tmp_path: Path
) -> None:
    add_events(workspace, "before", [event("al", 1)])
    file = write_jsonl(tmp_path / "a.jsonl", [event("bo", 2)])
    child = multiprocessing.get_context("spawn").Process(
        target=die_while_writing, args=(workspace, file)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert len(list(workspace.lake_dir.glob("day=*/*.parquet"))) == 2
    assert [row["user_id"] for row in read_rows(workspace)] == ["al"]
    assert ingest(workspace, file).num_kept == 1
    assert [row["user_id"] for row in read_rows(workspace)] == ["al", "bo"]
    assert len(list(workspace.lake_dir.glob("day=*/*.parquet"))) == 2


def test_a_cut_part_file_is_noticed(workspace: Workspace) -> None:
    add_events(workspace, "a", [event("al", 1)])
    (part,) = workspace.lake_dir.glob("day=*/*.parquet")
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(LakeCorrupt, match="bytes instead of"):
        read_rows(workspace)
    part.unlink()
    with pytest.raises(LakeCorrupt, match="is gone"):
        read_rows(workspace)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"format_version": 99}', b"\xff"])
def test_a_damaged_manifest_is_noticed(workspace: Workspace, content: bytes) -> None:
    add_events(workspace, "a", [event("al", 1)])
    (manifest,) = workspace.manifests_dir.iterdir()
    manifest.write_bytes(content)
    with pytest.raises(LakeCorrupt, match=str(manifest)):
        read_rows(workspace)


def test_files_are_cut_at_day_borders_and_sparse_days_share_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Ten years with an event every day are a few files, and no file begins inside a day."""
    day = 86_400
    rows = [event(f"u{number % 7}", number * day // 2 + 60) for number in range(7300)][::-1]
    config = IngestConfig(part_rows_min=1000, part_rows_max=3000)
    ingest(workspace, write_csv(tmp_path / "a.csv", rows), config)
    (manifest,) = read_manifests(workspace)
    assert [part.num_rows for part in manifest.parts] == [1000] * 7 + [300]
    days = [part.first_ts_us // (day * 1_000_000) for part in manifest.parts]
    last_days = [part.last_ts_us // (day * 1_000_000) for part in manifest.parts]
    assert all(first > last for first, last in zip(days[1:], last_days, strict=False))
    assert manifest.parts[0].path.startswith("day=1970-01-01/part-000000001-00000")
    assert len(read_rows(workspace)) == 7300


def test_a_dense_day_has_several_files(workspace: Workspace, tmp_path: Path) -> None:
    rows = [event("al", number) for number in range(2500)]
    config = IngestConfig(part_rows_min=500, part_rows_max=1000)
    ingest(workspace, write_csv(tmp_path / "a.csv", rows), config)
    folders = [part.parent.name for part in workspace.lake_dir.glob("day=*/*.parquet")]
    assert folders == ["day=1970-01-01"] * 3
    assert [row["ts_us"] for row in read_rows(workspace)] == [n * 1_000_000 for n in range(2500)]
