"""Small event files and workspaces for the tests of the store."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from store.config import IngestConfig
from store.database import Database
from store.ingest import ingest_events
from store.label_ingest import ingest_labels
from store.labels import LabelStore, LabelView
from store.lake import EventLake
from store.reports import FileReport
from store.workspace import Workspace

NOW = datetime(2024, 6, 1, tzinfo=UTC)
LENIENT = IngestConfig(rejects_share_max=1)

Row = Mapping[str, Any]


def event(user_id: str, ts: str | float, **attributes: Any) -> dict[str, Any]:
    """Return one event; a click, if not said otherwise."""
    return {"user_id": user_id, "ts": ts, "event_type": "click"} | attributes


def write_jsonl(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_parquet(path: Path, rows: Sequence[Row]) -> Path:
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def write_csv(path: Path, rows: Sequence[Row]) -> Path:
    pa_csv.write_csv(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def ingest(workspace: Workspace, file: Path, config: IngestConfig = LENIENT) -> FileReport:
    (report,) = ingest_events(workspace, [file], config, now=NOW).files
    return report


def add_events(workspace: Workspace, name: str, rows: Sequence[Row]) -> FileReport:
    return ingest(workspace, write_jsonl(workspace.root.parent / f"{name}.jsonl", rows))


def add_labels(workspace: Workspace, name: str, rows: Sequence[Row]) -> FileReport:
    file = write_jsonl(workspace.root.parent / f"{name}.jsonl", rows)
    (report,) = ingest_labels(workspace, file, LENIENT, now=NOW).files
    return report


def labels_as_of(workspace: Workspace, as_of: datetime) -> LabelView:
    database = Database(workspace.ops_url)
    try:
        database.migrate()
        return LabelStore(database).as_of(as_of)
    finally:
        database.close()


def read_rows(
    workspace: Workspace, as_of: datetime = NOW, **arguments: Any
) -> list[dict[str, Any]]:
    """Return all visible events as dicts with `user_id` and `ts_us`, in the lake's order."""
    rows = []
    for batch in EventLake(workspace).batches(as_of=as_of, **arguments):
        events = batch.events.to_pylist()
        for number, user_id in enumerate(batch.user_ids):
            for position in range(batch.offsets[number], batch.offsets[number + 1]):
                time = int(batch.ts_us[position])
                rows.append({"user_id": user_id, "ts_us": time} | events[position])
    return rows


def rejects(report: FileReport) -> list[str]:
    """Return the lines of a rejects file without its header."""
    assert report.rejects_file is not None
    header, *lines = Path(report.rejects_file).read_text().splitlines()
    assert header == "line,reason"
    return lines
