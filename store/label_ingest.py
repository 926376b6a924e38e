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
from store.engine import Connection, first_line, query_engine, stream_batches
from store.erasures import erased_as_of
from store.errors import FileUnreadable
from store.label_rows import KNOWN, REQUIRED, judge_labels
from store.labels import Label, LabelStore
from store.refusal import Rejects, check_rejects
from store.reports import FileReport, IngestReport
from store.sources import SourceFile, SourceOptions, open_source
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
    source_file = SourceFile.read(file)
    database = Database(workspace.ops_url)
    try:
        database.migrate()
        if _is_known(database, source_file.sha256):
            known = FileReport(str(file), source_file.sha256, already_ingested=True)
            return IngestReport((known,))
        return IngestReport((_add_file(workspace, database, source_file, config, now),))
    finally:
        database.close()


def _is_known(database: Database, sha256: str) -> bool:
    query = select(label_files.c.sha256).where(label_files.c.sha256 == sha256)
    with database.read() as connection:
        return connection.execute(query).first() is not None


def _add_file(
    workspace: Workspace,
    database: Database,
    file: SourceFile,
    config: IngestConfig,
    now: datetime,
) -> FileReport:
    latest_us = to_us(now) + config.future_seconds_max * 1_000_000
    with query_engine(
        workspace, memory_limit_mb=config.memory_limit_mb, threads=config.threads
    ) as (connection, scratch):
        try:
            source = open_source(
                connection, file.path, scratch, SourceOptions(REQUIRED, KNOWN, config)
            )
            sql = judge_labels(source, config, latest_us=latest_us)
            connection.execute(f"CREATE TEMP VIEW judged AS {sql}")
            rejects = check_rejects(
                connection,
                source,
                file=file.path,
                sha256=file.sha256,
                workspace=workspace,
                share_max=config.rejects_share_max,
            )
            return _store(connection, database, file, rejects, now)
        except (duckdb.OutOfMemoryException, duckdb.IOException):
            raise
        except duckdb.Error as error:
            raise FileUnreadable(f"{file.path} is damaged: {first_line(error)}") from error


def _store(
    engine: Connection,
    database: Database,
    file: SourceFile,
    rejects: Rejects,
    now: datetime,
) -> FileReport:
    """Write all labels and the file's hash in one transaction."""
    with database.begin() as connection:
        database.write_alone(connection, labels)
        kept = _KeptLabels(engine, erased_as_of(connection))  # who is erased from here on waits
        added = LabelStore(database).add_all(connection, kept.read(), now=now)
        num_others = rejects.num_rejected + kept.num_erased + added.num_new
        file.check_unchanged()
        report = FileReport(
            file=str(file.path),
            sha256=file.sha256,
            num_rows=rejects.num_rows,
            num_kept=added.num_new,
            num_rejected=rejects.num_rejected,
            num_duplicates=rejects.num_rows - num_others,
            num_erased=kept.num_erased,
            num_ended=added.num_ended,
            num_kept_revoked=added.num_new_revoked,
            rejects_file=rejects.rejects_file,
        )
        row = {
            "sha256": file.sha256,
            "file": file.path.name,
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
