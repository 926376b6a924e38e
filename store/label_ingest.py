"""Files of labels into the operational database: whole or not at all, and only once."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import duckdb
from sqlalchemy import select

from store.clock import to_us
from store.config import IngestConfig
from store.database import Database
from store.durable import sha256_file
from store.engine import Connection, first_line, query_engine, stream_batches
from store.erasures import erased_as_of
from store.errors import FileUnreadable
from store.label_rows import KNOWN, REQUIRED, judge_labels
from store.labels import Label, LabelStore
from store.refusal import Rejects, check_rejects
from store.reports import FileReport, IngestReport
from store.sources import SourceOptions, open_source
from store.tables import label_files, labels
from store.workspace import Workspace

_STREAM_ROWS = 20_000
_COLUMNS = (
    'user_id, label, policy, "group", occurred_at_us, known_at_us, revoked_at_us, source, reason, '
    "extra"
)


def ingest_labels(
    workspace: Workspace, file: Path, config: IngestConfig, *, now: datetime
) -> IngestReport:
    """Add a file of labels; a row that is there already counts as a duplicate.

    A later file may add labels, and may revoke: the same row with a `revoked_at` ends the label.

    Raises:
        FileUnreadable: If the file is missing, empty, or not of its format.
        ColumnsRefused: If its columns can't be used.
        IngestRefused: If too large a share of its rows was rejected.
    """
    if not file.is_file():
        raise FileUnreadable(f"{file} does not exist or is not a file")
    database = Database(workspace.ops_url)
    try:
        database.migrate()
        sha256 = sha256_file(file)
        if _is_known(database, sha256):
            return IngestReport((FileReport(str(file), sha256, already_ingested=True),))
        return IngestReport((_add_file(workspace, database, file, sha256, config, now),))
    finally:
        database.close()


def _is_known(database: Database, sha256: str) -> bool:
    query = select(label_files.c.sha256).where(label_files.c.sha256 == sha256)
    with database.read() as connection:
        return connection.execute(query).first() is not None


def _add_file(
    workspace: Workspace,
    database: Database,
    file: Path,
    sha256: str,
    config: IngestConfig,
    now: datetime,
) -> FileReport:
    latest_us = to_us(now) + config.future_seconds_max * 1_000_000
    with query_engine(
        workspace, memory_limit_mb=config.memory_limit_mb, threads=config.threads
    ) as (connection, scratch):
        try:
            source = open_source(connection, file, scratch, SourceOptions(REQUIRED, KNOWN, config))
            sql = judge_labels(source, config, latest_us=latest_us)
            connection.execute(f"CREATE TEMP VIEW judged AS {sql}")
            rejects = check_rejects(
                connection,
                source,
                file=file,
                sha256=sha256,
                workspace=workspace,
                share_max=config.rejects_share_max,
            )
            return _store(connection, database, file, sha256, rejects, now)
        except (duckdb.OutOfMemoryException, duckdb.IOException):
            raise
        except duckdb.Error as error:
            raise FileUnreadable(f"{file} is damaged: {first_line(error)}") from error


def _store(
    engine: Connection,
    database: Database,
    file: Path,
    sha256: str,
    rejects: Rejects,
    now: datetime,
) -> FileReport:
    """Write all labels and the file's hash in one transaction."""
    with database.begin() as connection:
        database.write_alone(connection, labels)
        kept = _KeptLabels(engine, erased_as_of(connection))  # who is erased from here on waits
        num_added = LabelStore(database).add_all(connection, kept.read(), now=now)
        report = FileReport(
            file=str(file),
            sha256=sha256,
            num_rows=rejects.num_rows,
            num_kept=num_added,
            num_rejected=rejects.num_rejected,
            num_duplicates=rejects.num_rows - rejects.num_rejected - kept.num_erased - num_added,
            num_erased=kept.num_erased,
            rejects_file=rejects.rejects_file,
        )
        row = {
            "sha256": sha256,
            "file": file.name,
            "counts": json.dumps(report.counts()),
            "ingested_at_us": to_us(now),
        }
        connection.execute(database.insert(label_files).on_conflict_do_nothing(), row)
    return report


class _KeptLabels:
    """The rows that were not rejected, as labels; counts those of erased users it leaves out."""

    def __init__(self, engine: Connection, erased: set[str]) -> None:
        self.num_erased = 0
        self._engine = engine
        self._erased = erased

    def read(self) -> Iterator[Label]:
        """Yield labels in the order of the file."""
        sql = f"SELECT {_COLUMNS} FROM judged WHERE _reason IS NULL ORDER BY _row"
        for batch in stream_batches(self._engine, sql, num_rows=_STREAM_ROWS):
            for row in batch.to_pylist():
                if row["user_id"] in self._erased:
                    self.num_erased += 1
                else:
                    yield Label(**row)
