"""Every accepted format and form of time gives the same events."""

import gzip
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from store.lake import EventLake
from store.workspace import Workspace
from tests.integration.store.files import (
    NOW,
    event,
    ingest,
    read_rows,
    rejects,
    write_csv,
    write_jsonl,
    write_parquet,
)

ROWS = [
    event("bo", "2024-01-02T03:04:05Z", page='Ünï, "quoted"\nsecond line', n=3, ok=True, x=1.5),
    event("al", "2024-01-01T00:00:00+02:00", page=None, n=-7, ok=False, x=2.0),
    event("al", "2023-12-31 22:00:00", page="007", n=0, ok=True, x=-0.25),
]
EXPECTED = [
    {"user_id": "al", "ts_us": 1704060000000000, "page": None, "n": -7, "ok": False, "x": 2.0},
    {"user_id": "al", "ts_us": 1704060000000000, "page": "007", "n": 0, "ok": True, "x": -0.25},
    {
        "user_id": "bo",
        "ts_us": 1704164645000000,
        "page": 'Ünï, "quoted"\nsecond line',
        "n": 3,
        "ok": True,
        "x": 1.5,
    },
]


def gzipped(file: Path) -> Path:
    compressed = file.with_name(file.name + ".gz")
    compressed.write_bytes(gzip.compress(file.read_bytes()))
    return compressed


def make_file(folder: Path, suffix: str) -> Path:
    plain = folder / f"events{suffix.removesuffix('.gz')}"
    writers = {".csv": write_csv, ".jsonl": write_jsonl, ".ndjson": write_jsonl}
    file = writers.get(plain.suffix, write_parquet)(plain, ROWS)
    return gzipped(file) if suffix.endswith(".gz") else file


@pytest.mark.parametrize(
    "suffix", [".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson"]
)
def test_all_formats_give_the_same_events(
    workspace: Workspace, tmp_path: Path, suffix: str
) -> None:
    report = ingest(workspace, make_file(tmp_path, suffix))
    assert (report.num_rows, report.num_kept, report.num_rejected) == (3, 3, 0)
    assert report.rejects_file is None
    expected = [row | {"event_type": "click"} for row in EXPECTED]
    assert read_rows(workspace) == expected
    types = {"n": "BIGINT", "ok": "BOOLEAN", "page": "VARCHAR", "x": "DOUBLE"}
    assert EventLake(workspace).columns() == types


@pytest.mark.parametrize(
    "time",
    [
        "2024-01-01T10:30:00Z",
        "2024-01-01 10:30:00",
        "2024-01-01T10:30",
        "2024-01-01T12:30:00+02:00",
        "2024-01-01T12:30:00+0200",
        "2024-01-01T12:30:00+02",
        "2024-01-01T10:30:00.000000000Z",
        "1704105000",
        "1704105000.0",
        "1.704105e9",
        1704105000,
        1704105000.0,
    ],
    ids=repr,
)
def test_a_time_has_many_forms(workspace: Workspace, tmp_path: Path, time: str | float) -> None:
    ingest(workspace, write_jsonl(tmp_path / "events.jsonl", [event("al", time)]))
    assert [row["ts_us"] for row in read_rows(workspace)] == [1704105000000000]


TEN_THIRTY = datetime(2024, 1, 1, 10, 30, tzinfo=UTC).replace(tzinfo=None)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([TEN_THIRTY], pa.timestamp("s")),
        pa.array([TEN_THIRTY], pa.timestamp("ms", "UTC")),
        pa.array([TEN_THIRTY.replace(tzinfo=UTC)], pa.timestamp("us", "Asia/Tokyo")),
        pa.array([TEN_THIRTY], pa.timestamp("ns")),
        pa.array([1704105000], pa.int32()),
        pa.array([1704105000], pa.uint64()),
        pa.array([1704105000.0], pa.float64()),
        pa.array(["2024-01-01T10:30:00Z"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_parquet_times_of_every_type_are_understood(
    workspace: Workspace, tmp_path: Path, column: pa.Array
) -> None:
    file = tmp_path / "events.parquet"
    pq.write_table(pa.table({"user_id": ["al"], "ts": column, "event_type": ["click"]}), file)
    ingest(workspace, file)
    assert [row["ts_us"] for row in read_rows(workspace)] == [1704105000000000]


def test_fractions_of_a_second_are_kept(workspace: Workspace, tmp_path: Path) -> None:
    rows = [event("al", "2024-01-01T00:00:00.123456Z"), event("bo", 1704067200.5)]
    ingest(workspace, write_jsonl(tmp_path / "events.jsonl", rows))
    assert [row["ts_us"] % 1_000_000 for row in read_rows(workspace)] == [123456, 500000]


def test_wide_and_nested_values_become_text(workspace: Workspace, tmp_path: Path) -> None:
    big = 2**63 + 1
    table = pa.table(
        {
            "user_id": pa.array([1, 2], pa.int32()),
            "ts": pa.array([date(2024, 1, 1)] * 2),
            "event_type": ["click"] * 2,
            "snowflake": pa.array([big, None], pa.uint64()),
            "tags": [["a", "b"], []],
            "place": [{"lat": 1.5}, None],
            "nothing": pa.nulls(2),
        }
    )
    pq.write_table(table, tmp_path / "events.parquet")
    ingest(workspace, tmp_path / "events.parquet")
    first, second = read_rows(workspace)
    assert (first["user_id"], first["snowflake"], first["tags"]) == ("1", str(big), '["a","b"]')
    assert (first["place"], second["place"]) == ('{"lat":1.5}', None)
    assert "nothing" not in first


def test_json_values_keep_their_type(workspace: Workspace, tmp_path: Path) -> None:
    """A number in quotes is a string, mixed types are text, nested values are JSON text."""
    rows = [
        event("al", 1, zip="01", mixed=1, nested={"a": [1]}, late=None, wide=2**70),
        event("al", 2, zip="12", mixed="x", nested=None, late=4, wide=1),
    ]
    ingest(workspace, write_jsonl(tmp_path / "events.jsonl", rows))
    first, second = read_rows(workspace)
    assert (first["zip"], first["mixed"], first["nested"]) == ("01", "1", '{"a":[1]}')
    assert (first["late"], second["late"], second["mixed"]) == (None, 4, "x")
    assert (first["wide"], second["wide"]) == (str(2**70), "1")


def test_csv_numbers_with_leading_zeros_stay_text(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(
        "user_id,ts,event_type,code,id19\n0042,1,a,007,1234567890123456789\n0042,2,a,12,1\n"
    )
    ingest(workspace, tmp_path / "events.csv")
    first, _ = read_rows(workspace)
    assert (first["user_id"], first["code"]) == ("0042", "007")
    assert first["id19"] == "1234567890123456789"


def test_a_byte_order_mark_and_crlf_are_no_content(workspace: Workspace, tmp_path: Path) -> None:
    content = "user_id,ts,event_type\r\nal,1,click\r\n\r\nbo,2,click"
    (tmp_path / "events.csv").write_bytes(b"\xef\xbb\xbf" + content.encode())
    report = ingest(workspace, tmp_path / "events.csv")
    assert (report.num_kept, report.num_rows) == (2, 2)
    assert [row["event_type"] for row in read_rows(workspace)] == ["click", "click"]


def test_reject_lines_are_physical_lines(workspace: Workspace, tmp_path: Path) -> None:
    """The second row spans two lines, so the broken third one is on line 5, not 4."""
    (tmp_path / "events.csv").write_text(
        'user_id,ts,event_type,note\nal,1,a,x\nal,2,a,"two\nlines"\nal,never,a,x\nal,4,a,x\n'
    )
    report = ingest(workspace, tmp_path / "events.csv")
    assert rejects(report) == ["5,ts is not a time: never"]
    assert (report.num_rows, report.num_kept) == (4, 3)


def test_odd_column_names_survive(workspace: Workspace, tmp_path: Path) -> None:
    names = ['a"b', "select", "Größe (m²)", "x'y", "a.b", "back\\slash", "$", "filename", "rowid"]
    names += ["event", "visible", "line", "reason", "n", "value", "num_rows", "shared", "ts_us"]
    names += ["cutoff_us", "user", "group", "day", "fields", "file_index", "columns", "first"]
    values: dict[str, Any] = {name: number for number, name in enumerate(names)}
    ingest(workspace, write_jsonl(tmp_path / "e.jsonl", [event("al", 1, **values)]))
    ingest(workspace, write_parquet(tmp_path / "e.parquet", [event("al", 2, **values)]))
    ingest(workspace, write_csv(tmp_path / "e.csv", [event("al", 3, **values)]))
    rows = read_rows(workspace)
    assert [{name: row[name] for name in names} for row in rows] == [values] * 3
    assert EventLake(workspace).users(as_of=NOW).column("num_events").to_pylist() == [3]
    profile = EventLake(workspace).profile(as_of=NOW, sample_events_max=1000)
    assert {column.name: column.num_distinct for column in profile.columns} == dict.fromkeys(
        names, 1
    )
