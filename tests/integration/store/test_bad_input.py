"""Broken files are refused whole, broken rows are rejected with line and reason."""

import contextlib
import gzip
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from store.config import IngestConfig
from store.errors import ColumnsRefused, FileUnreadable, IngestError, IngestRefused
from store.ingest import ingest_events
from store.lake import EventLake
from store.workspace import Workspace
from tests.integration.store.files import (
    NOW,
    add_labels,
    event,
    ingest,
    labels_as_of,
    read_rows,
    rejects,
    write_csv,
    write_jsonl,
    write_parquet,
)

GOOD_LINE = b"al,1,click\n"
HEADER = b"user_id,ts,event_type\n"
# No time in its head: a test process that starts a second later must find the same name.
CUT_GZIP = gzip.compress(HEADER + GOOD_LINE * 99, mtime=0)[:40]


def is_untouched(workspace: Workspace) -> bool:
    files = [path for path in workspace.lake_dir.rglob("*") if path.is_file()]
    scratch = list(workspace.temporary_dir.iterdir())
    return not files and not scratch and EventLake(workspace).summary(as_of=NOW).num_events == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.parquet", b"", "is empty"),
        ("a.csv", HEADER, "has no rows"),
        ("a.csv", b"\n", "lacks the column user_id; columns found: none"),
        ("a.csv", b"\xff\xfeu\x00s\x00\n" + GOOD_LINE, "no readable header"),
        ("a.csv", b'user_id,"ts\nal,1\n', "broken header line"),
        (
            "a.csv",
            b"user,ts,event_type\nal,1,x\n",
            "lacks the column user_id; columns found: user,",
        ),
        ("a.csv", b"user_id;ts;event_type\n", "columns found: user_id;ts;event_type"),
        ("a.csv", b"user_id,ts,event_type,x,X\n", "two columns x and X"),
        ("a.csv", b"user_id,ts,event_type,\nal,1,x,\n", "column 4 has no name"),
        ("a.csv", b"user_id,ts,event_type,_row\nal,1,x,1\n", "_row is reserved"),
        ("a.csv.gz", CUT_GZIP, "not a whole gzip file"),
        ("a.csv.gz", HEADER + GOOD_LINE, "not a whole gzip file"),
        ("a.jsonl", b"[1, 2]\n", "no row that is a JSON object"),
        ("a.jsonl", b'{"user_id": "al", "ts": 1}\n', "lacks the column event_type"),
        ("a.parquet", b"PAR1 this is none", "not a readable Parquet file"),
        ("a.parquet", HEADER + GOOD_LINE, "not a readable Parquet file"),
        ("a.xlsx", b"PK", "of no known format; accepted are .parquet"),
        ("a.gz", b"PK", "of no known format"),
    ],
)
def test_an_unusable_file_is_named_and_leaves_nothing(
    workspace: Workspace, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises((FileUnreadable, ColumnsRefused)) as caught:
        ingest(workspace, file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert is_untouched(workspace)


def test_a_missing_file_is_named(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable, match=r"absent\.csv does not exist"):
        ingest(workspace, tmp_path / "absent.csv")


def test_too_many_columns_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    wide = event("al", 1, **{f"c{number}": 1 for number in range(20)})
    with pytest.raises(ColumnsRefused, match="more than 10 columns"):
        ingest(
            workspace, write_parquet(tmp_path / "a.parquet", [wide]), IngestConfig(columns_max=10)
        )
    with pytest.raises(ColumnsRefused, match="more than 10 columns"):
        ingest(workspace, write_jsonl(tmp_path / "a.jsonl", [wide]), IngestConfig(columns_max=10))


@pytest.mark.parametrize("values", [[[1]], [True], [1.5]], ids=["list", "boolean", "float"])
def test_ids_of_an_impossible_type_are_refused(
    workspace: Workspace, tmp_path: Path, values: list[object]
) -> None:
    table = pa.table({"user_id": values, "ts": [1], "event_type": ["a"]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ColumnsRefused, match=r"user_id is of type .*; write it as a string"):
        ingest(workspace, tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("write", "name"), [(write_parquet, "a.parquet"), (write_jsonl, "a.jsonl")]
)
def test_who_could_never_be_asked_for_is_rejected(
    workspace: Workspace, tmp_path: Path, write: Callable[..., Path], name: str
) -> None:
    """The database of the audit and of erasures holds no such id."""
    bad = [
        ("a\0b", "user_id has a zero character"),
        ("漢" * 900, "user_id is longer than 2600 bytes"),
    ]
    kept = ["漢" * 866, " spaces stay ", "x" * 1024]
    rows = [event(user_id, 1) for user_id in [*(user_id for user_id, _ in bad), *kept]]
    report = ingest(workspace, write(tmp_path / name, rows))
    assert [line.partition(",")[2] for line in rejects(report)] == [reason for _, reason in bad]
    assert [row["user_id"] for row in read_rows(workspace)] == sorted(kept)
    rows.append({"user_id": "bo", "policy": "a\0b"})
    add_labels(workspace, "labels", [{"policy": "spam", "label": 1} | row for row in rows])
    assert labels_as_of(workspace, NOW).table["user_id"].to_pylist() == sorted(kept)


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"user_id": None}, "user_id is missing"),
    ({"user_id": "  "}, "user_id is missing"),
    ({"user_id": "x" * 1025}, "user_id is longer than 1024 characters"),
    ({"event_type": None}, "event_type is missing"),
    ({"ts": None}, "ts is missing"),
    ({"ts": "yesterday"}, "ts is not a time: yesterday"),
    ({"ts": "2024-02-30T00:00:00Z"}, "ts is not a time: 2024-02-30T00:00:00Z"),
    ({"ts": "2024-01-01 (BC)"}, "ts is not a time: 2024-01-01 (BC)"),
    ({"ts": "infinity"}, "ts is not a time: infinity"),
    ({"ts": "1969-12-31T23:59:59Z"}, "ts is before 1970: 1969-12-31T23:59:59Z"),
    ({"ts": "-1"}, "ts is before 1970: -1"),
    ({"ts": "1704105000000"}, "ts is not a time: 1704105000000"),
    ({"ts": "2999-01-01T00:00:00Z"}, "ts lies in the future: 2999-01-01T00:00:00Z"),
    ({"page": "x" * 16_385}, "page is longer than 16384 characters"),
]


@pytest.mark.parametrize("write", [write_parquet, write_csv, write_jsonl])
def test_every_bad_row_is_rejected_with_its_line(
    workspace: Workspace, tmp_path: Path, write: Callable[..., Path]
) -> None:
    suffixes = {write_parquet: "parquet", write_csv: "csv", write_jsonl: "jsonl"}
    good = event("al", "2024-01-01T00:00:00Z", page="p")
    rows = [good, *(good | change for change, _ in BAD_ROWS), good]
    report = ingest(workspace, write(tmp_path / f"events.{suffixes[write]}", rows))
    first = 3 if write is write_csv else 2
    expected = [f"{line},{reason}" for line, (_, reason) in enumerate(BAD_ROWS, first)]
    assert rejects(report) == expected
    assert (report.num_rows, report.num_rejected) == (len(rows), len(BAD_ROWS))
    assert len(read_rows(workspace)) == report.num_kept == 2


def test_a_day_ahead_is_tolerated_and_no_more(workspace: Workspace, tmp_path: Path) -> None:
    tomorrow = NOW + timedelta(days=1)
    times = [tomorrow, tomorrow + timedelta(microseconds=1)]
    rows = [event("al", time.isoformat()) for time in times]
    report = ingest(workspace, write_jsonl(tmp_path / "events.jsonl", rows))
    assert (report.num_kept, report.num_rejected) == (1, 1)


def test_broken_csv_rows_cost_only_themselves(workspace: Workspace, tmp_path: Path) -> None:
    lines = [
        b"user_id,ts,event_type,note",
        b"al,1,a,fine",
        b"al,2,a",
        b"al,3,a,b,c",
        b'al,4,a,"never closed',
        b"al,5,a,fine",
        b"al,6,a,\xff\xfe",
        b'al,7,a,"closed" too early',
        b'al,8,a,"fine, with a comma"',
        b'al,9,a,5" disk',
        b"",
        b"al,10,a,fine",
    ]
    file = tmp_path / "events.csv"
    file.write_bytes(b"\n".join(lines) + b"\n")
    report = ingest(workspace, file)
    numbers = [int(line.split(",")[0]) for line in rejects(report)]
    assert numbers == [3, 4, 5, 7, 8]
    reasons = " ".join(rejects(report))
    assert "3 columns instead of 4" in reasons
    assert "5 columns instead of 4" in reasons
    assert "not valid UTF-8" in reasons
    assert reasons.count("broken CSV") == 2
    assert [row["ts_us"] for row in read_rows(workspace)] == [
        seconds * 1_000_000 for seconds in (1, 5, 8, 9, 10)
    ]
    assert report.num_rows == 10


def test_broken_json_lines_cost_only_themselves(workspace: Workspace, tmp_path: Path) -> None:
    good = b'{"user_id": "al", "ts": 1, "event_type": "a"}'
    lines = [
        good,
        b"{",
        b"[1]",
        b"",
        good + b" x",
        b"\xff",
        b"null",
        good,
        b'{"user_id": {"a": 1}}',
    ]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines))
    report = ingest(workspace, tmp_path / "events.jsonl")
    assert rejects(report) == [
        "2,not valid JSON",
        "3,not a JSON object",
        "5,not valid JSON",
        "6,not valid UTF-8",
        "7,not a JSON object",
        "9,user_id is missing",
    ]
    assert (report.num_rows, report.num_kept) == (8, 2)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_giant_user_id_is_one_reject(workspace: Workspace, tmp_path: Path, suffix: str) -> None:
    rows = [event(user_id, 1) for user_id in ("al", "x" * 10_000_000, "bo")]
    writers = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}
    report = ingest(workspace, writers[suffix](tmp_path / f"events.{suffix}", rows))
    assert (report.num_kept, report.num_rejected) == (2, 1)
    line = 3 if suffix == "csv" else 2
    (reject,) = rejects(report)
    assert reject.startswith(f"{line},")
    assert "longer than" in reject
    assert [row["user_id"] for row in read_rows(workspace)] == ["al", "bo"]


@pytest.mark.parametrize(
    ("num_bad", "refused"), [(0, False), (10, False), (11, True), (500, True), (1000, True)]
)
def test_a_file_is_refused_above_the_share_of_rejects(
    workspace: Workspace, tmp_path: Path, num_bad: int, refused: bool
) -> None:
    """The default share is 1 %; exactly that much is still accepted."""
    times = ["never"] * num_bad + ["1"] * (1000 - num_bad)
    file = write_jsonl(tmp_path / "events.jsonl", [event("al", time) for time in times])
    if not refused:
        assert ingest(workspace, file, IngestConfig()).num_kept == 1000 - num_bad
        return
    with pytest.raises(IngestRefused) as caught:
        ingest(workspace, file, IngestConfig())
    assert (caught.value.num_rows, caught.value.num_rejected) == (1000, num_bad)
    assert str(num_bad) in str(caught.value)
    assert Path(caught.value.rejects_file).read_text().count("ts is not a time") == num_bad
    assert is_untouched(workspace)


def test_files_before_a_failing_one_stay(workspace: Workspace, tmp_path: Path) -> None:
    good = write_jsonl(tmp_path / "good.jsonl", [event("al", 1)])
    bad = write_jsonl(tmp_path / "bad.jsonl", [event("al", "never")])
    with pytest.raises(IngestRefused, match=r"bad\.jsonl"):
        ingest_events(workspace, [good, bad], IngestConfig(), now=NOW)
    assert len(read_rows(workspace)) == 1


def test_a_damaged_parquet_file_is_an_ingest_error_and_never_half_there(
    workspace: Workspace, tmp_path: Path
) -> None:
    rows = [event(f"u{number % 9}", number, page=f"p{number % 40}") for number in range(500)]
    content = write_parquet(tmp_path / "good.parquet", rows).read_bytes()
    rng = np.random.default_rng(3)
    file = tmp_path / "bad.parquet"
    for _ in range(40):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 4):
            damaged[position] ^= int(rng.integers(1, 256))
        file.write_bytes(damaged)
        with contextlib.suppress(IngestError):
            ingest(workspace, file, IngestConfig(rejects_share_max=0))
    assert EventLake(workspace).summary(as_of=NOW).num_events % 500 == 0


def test_a_full_disk_or_other_failure_leaves_nothing(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_jsonl(tmp_path / "events.jsonl", [event("al", 1)])

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space left"):
            ingest(workspace, file)
    assert is_untouched(workspace)
    assert ingest(workspace, file).num_kept == 1
