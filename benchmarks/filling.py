"""Workspaces filled from files as an operator would fill them, and who is learned from."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs import init
from jobs.people import FROM_THE_START, Flags, People, read_people
from jobs.settings import Settings
from store.database import Database
from store.engine import literal
from store.ingest import ingest_events
from store.label_ingest import ingest_labels
from store.labels import LabelStore
from store.lake import EventLake
from store.workspace import Workspace


@dataclass(frozen=True)
class Filled:
    """A workspace with events and labels, and who is in it."""

    workspace: Workspace
    settings: Settings
    lake: EventLake
    people: People


def fill(root: Path, events: Path, labels: Path, now: datetime) -> Filled:
    """Make a workspace and fill it as an operator would."""
    init.run(root)
    workspace = Workspace.open(root)
    settings = Settings.read(workspace.config_file)
    ingest_events(workspace, [events], settings.ingest, now=now)
    ingest_labels(workspace, labels, settings.ingest, now=now)
    lake = EventLake(workspace)
    people = read_people(lake, LabelStore(Database(workspace.ops_url)).as_of(now), as_of=now)
    return Filled(workspace, settings, lake, people)


def fill_with_some(
    root: Path, events: Path, labels: Path, now: datetime, *, users: list[str]
) -> Filled:
    """Make a workspace of some of the users of two files."""
    root.parent.mkdir(parents=True, exist_ok=True)
    chosen, some = root.with_suffix(".users.parquet"), root.with_suffix(".events.parquet")
    some_labels = root.with_suffix(".labels.parquet")
    pq.write_table(pa.table({"user_id": pa.array(users, pa.string())}), chosen)
    copy_rows(events, some, users=chosen)
    copy_rows(labels, some_labels, users=chosen)
    filled = fill(root, some, some_labels, now)
    for path in (chosen, some, some_labels):
        path.unlink()
    return filled


def copy_rows(
    source: Path,
    target: Path,
    *,
    columns: str | None = None,
    event_type: str | None = None,
    users: Path | None = None,
) -> None:
    """Copy a file, or some columns, one type of event, or the rows of some users of it."""
    with duckdb.connect() as engine:
        rows = engine.from_query(f"FROM {literal(source)}")
        if users is not None:
            rows = engine.from_query(
                f"FROM {literal(source)} SEMI JOIN {literal(users)} USING (user_id)"
            )
        if event_type is not None:
            rows = rows.filter(
                duckdb.ColumnExpression("event_type") == duckdb.ConstantExpression(event_type)
            )
        if columns is not None:
            rows = rows.project(*(duckdb.ColumnExpression(name) for name in columns.split(",")))
        rows.write_parquet(str(target))


def seen_or_known_before(people: People, cut_us: int) -> Flags:
    """Return who was first seen, or known to be a violator, before the cut."""
    known = people.is_violator_N & (people.known_us_N != FROM_THE_START)
    return np.asarray((people.first_us_N < cut_us) | (known & (people.known_us_N < cut_us)))
