"""What is visible of the lake: the one place that decides which events a reader sees.

A view is `ts < as_of` and, per user, `ts < cutoff`. Its columns and their types come from files
with a visible event alone, so that appending other events changes no byte of what a view returns.
They are those of everybody's events also where only some users' are asked for, so that a user is
read alike alone and with all others.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa

from store.columns import unify_columns
from store.engine import Connection, fetch_all, file_list, first_line, identifier, query_engine
from store.errors import LakeCorrupt
from store.manifests import Manifest
from store.workspace import Workspace

Cutoffs: TypeAlias = pa.Table

CUTOFF_SCHEMA = pa.schema([("user_id", pa.string()), ("cutoff_us", pa.int64())])
LEAK_PREFIX = "leak_"


@dataclass(frozen=True)
class ViewRequest:
    """Which events to see.

    Attributes:
        as_of_us: Only events before this time.
        cutoffs: Only a user's events before the user's `cutoff_us`. Where not everybody's are
            given, a kind of file whose events are all cut off may still widen a column's type.
        users: Only these users' events; None is everybody's.
    """

    as_of_us: int
    cutoffs: Cutoffs | None = None
    users: Collection[str] | None = None


@dataclass(frozen=True)
class View:
    """An open view.

    Attributes:
        connection: Has the view `visible` with the visible events and all their columns.
        columns: The attributes that may be inputs, and their types.
    """

    connection: Connection
    columns: dict[str, str]


@contextmanager
def open_view(
    workspace: Workspace,
    manifests: Sequence[Manifest],
    request: ViewRequest,
    *,
    memory_limit_mb: int,
    threads: int,
) -> Iterator[View]:
    """Open a view on the files of these manifests.

    Raises:
        LakeCorrupt: If a file is damaged, or was rewritten by an erasure meanwhile.
    """
    in_time = [
        manifest
        for manifest in manifests
        if any(part.first_ts_us < request.as_of_us for part in manifest.parts)
    ]
    with query_engine(workspace, memory_limit_mb=memory_limit_mb, threads=threads) as (engine, _):
        try:
            yield _create_view(engine, workspace, request, in_time)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise LakeCorrupt(
                f"{workspace.lake_dir} could not be read ({first_line(error)}); "
                "if users were erased meanwhile, run it again"
            ) from error


def _create_view(
    engine: Connection, workspace: Workspace, request: ViewRequest, manifests: list[Manifest]
) -> View:
    conditions = _register_times(engine, request)
    if request.cutoffs is not None:
        manifests = _alike_visible(engine, workspace, manifests, conditions, request.as_of_us)
    columns = unify_columns(manifest.columns for manifest in manifests)
    relation = _relation(workspace, manifests, columns, request.as_of_us)
    conditions += _register_users(engine, request)
    engine.execute(f"CREATE TEMP VIEW visible AS SELECT * FROM {relation} AS event {conditions}")
    return View(engine, {name: kind for name, kind in columns.items() if is_input(name)})


def _alike_visible(
    engine: Connection,
    workspace: Workspace,
    manifests: Sequence[Manifest],
    conditions: str,
    as_of_us: int,
) -> list[Manifest]:
    """Return the files whose columns are those of a file with a visible event.

    They come in the order of these files, which decides how columns are spelled. Files are looked
    into only until one of the same columns shows an event, which mostly is the first.
    """
    alike: dict[tuple[tuple[str, str], ...], list[Manifest]] = {}
    for manifest in manifests:
        alike.setdefault(tuple(manifest.columns.items()), []).append(manifest)
    first_visible: list[tuple[int, list[Manifest]]] = []
    for files in alike.values():
        for manifest in files:
            relation = _relation(workspace, [manifest], {}, as_of_us)
            if fetch_all(engine, f"SELECT 1 FROM {relation} AS event {conditions} LIMIT 1"):
                first_visible.append((manifest.ingest, files))
                break
    return [file for _, files in sorted(first_visible, key=itemgetter(0)) for file in files]


def _register_users(engine: Connection, request: ViewRequest) -> str:
    """Hand the chosen users to the engine; return the SQL that adds them to the conditions."""
    if request.users is None:
        return ""
    chosen = pa.table({"user_id": pa.array(sorted(set(request.users)), pa.string())})
    engine.register("chosen", chosen)
    return " AND event.user_id IN (SELECT user_id FROM chosen)"


def _register_times(engine: Connection, request: ViewRequest) -> str:
    """Hand the cutoffs to the engine; return the SQL that applies all times to `event`."""
    condition = f"WHERE event.ts < make_timestamptz({request.as_of_us})"
    if request.cutoffs is None:
        return condition
    cutoffs = request.cutoffs.select(CUTOFF_SCHEMA.names).cast(CUTOFF_SCHEMA)
    engine.register("given_cutoffs", cutoffs)
    return (
        "ANTI JOIN (SELECT user_id, min(cutoff_us) AS cutoff_us FROM given_cutoffs "
        "GROUP BY user_id) AS cut ON event.user_id = cut.user_id "
        f"AND epoch_us(event.ts) >= cut.cutoff_us {condition}"
    )


def _relation(
    workspace: Workspace, manifests: Sequence[Manifest], columns: dict[str, str], as_of_us: int
) -> str:
    """Return the SQL of all files' events with the same columns and types."""
    files: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for manifest in manifests:
        paths = files.setdefault(tuple(sorted(manifest.columns.items())), [])
        for part in manifest.parts:
            if part.first_ts_us < as_of_us:
                paths.append(workspace.lake_dir / part.path)
    selects = [
        f"SELECT user_id, ts, event_type, {_cast_columns(dict(found), columns)}_ingest, _row "
        f"FROM read_parquet({file_list(paths)}, hive_partitioning=false)"
        for found, paths in files.items()
    ]
    return f"({' UNION ALL '.join(selects or [_no_events()])})"


def is_input(name: str) -> bool:
    """Say whether a column of the lake may be an input; those named `leak_*` never are."""
    return not name.lower().startswith(LEAK_PREFIX)


def _cast_columns(found: dict[str, str], wanted: dict[str, str]) -> str:
    """Return one file group's columns in the view's order and types, missing ones as nulls."""
    spelled = {name.lower(): name for name in found}
    values = [
        f"CAST({identifier(spelled[name.lower()]) if name.lower() in spelled else 'NULL'} "
        f"AS {kind}) AS {identifier(name)}, "
        for name, kind in wanted.items()
    ]
    return "".join(values)


def _no_events() -> str:
    return (
        "SELECT CAST(NULL AS VARCHAR) AS user_id, make_timestamptz(0) AS ts, "
        "CAST(NULL AS VARCHAR) AS event_type, 0 AS _ingest, 0 AS _row WHERE false"
    )
