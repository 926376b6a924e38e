"""DuckDB as the query engine over files: connections that spill, and safe quoting.

There is never a DuckDB database file: a connection lives as long as one read or one ingest.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from store.durable import remove_folder
from store.errors import EngineFailed, WorkspaceBusy
from store.locks import exclusive_lock
from store.workspace import Workspace

_LOCK_NAME = ".lock"
_YOUNG_SECONDS = 600

Connection = duckdb.DuckDBPyConnection


@contextmanager
def query_engine(
    workspace: Workspace, *, memory_limit_mb: int, threads: int
) -> Iterator[tuple[Connection, Path]]:
    """Open a connection with a scratch folder of its own, removed at the end.

    Raises:
        EngineFailed: If a query runs out of memory or disk, or fails in another way that the
            block does not handle itself.
    """
    with scratch_folder(workspace, prefix="query-") as scratch:
        connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{memory_limit_mb}MB",
                "threads": threads,
                "temp_directory": str(scratch / "spill"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET enable_progress_bar = false")
            yield connection, scratch
        except duckdb.OutOfMemoryException as error:
            raise EngineFailed(
                f"{memory_limit_mb} MB of memory are not enough ({first_line(error)}); "
                "raise memory_limit_mb, or write Parquet files with smaller row groups"
            ) from error
        except duckdb.Error as error:
            raise EngineFailed(first_line(error)) from error
        finally:
            connection.close()


@contextmanager
def scratch_folder(workspace: Workspace, *, prefix: str) -> Iterator[Path]:
    """Make a folder, locked as long as it is in use, so that abandoned ones can be told."""
    workspace.temporary_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace.temporary_dir, prefix=prefix) as name:
        scratch = Path(name)
        with exclusive_lock(scratch / _LOCK_NAME, purpose="compute"):
            yield scratch


def remove_abandoned_scratch(workspace: Workspace) -> None:
    """Remove the scratch folders of processes that died; young ones may be just being made."""
    for lock in workspace.temporary_dir.glob(f"*/{_LOCK_NAME}"):
        if time.time() - lock.stat().st_mtime < _YOUNG_SECONDS:
            continue
        try:
            with exclusive_lock(lock, purpose="clean"):
                remove_folder(lock.parent)
        except WorkspaceBusy:
            continue


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, shortened."""
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__


def fetch_all(connection: Connection, sql: str) -> list[tuple[Any, ...]]:
    """Run a query and return all of its rows; for small answers."""
    rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
    return rows


def fetch_table(connection: Connection, sql: str) -> pa.Table:
    """Run a query and return all of its rows as Arrow columns."""
    relation = connection.sql(sql)
    assert relation is not None, "a query, not a statement"
    table: pa.Table = relation.to_arrow_table()
    return table


def stream_batches(connection: Connection, sql: str, *, num_rows: int) -> Iterator[pa.RecordBatch]:
    """Run a query and yield its rows piece by piece, without holding all of them."""
    relation = connection.sql(sql)
    assert relation is not None, "a query, not a statement"
    yield from relation.to_arrow_reader(num_rows)


def identifier(name: str) -> str:
    """Quote a column name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str | Path) -> str:
    """Quote a string for SQL."""
    return "'" + str(text).replace("'", "''") + "'"


def file_list(paths: list[Path]) -> str:
    """Write paths as a SQL list; DuckDB expands no wildcard that a name contains."""
    return "[" + ", ".join(literal(glob_escaped(path)) for path in paths) + "]"


def glob_escaped(path: Path) -> str:
    """Return a path in which DuckDB finds no wildcard."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))
