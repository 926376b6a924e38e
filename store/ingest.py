"""Files of events into the lake: each one whole or not at all, and only once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from store.clock import to_us
from store.columns import BIGINT, BOOLEAN, DOUBLE, TIMESTAMP, VARCHAR
from store.config import IngestConfig
from store.dropped import CREATE_DROPPED, drop_duplicates, drop_erased
from store.engine import (
    Connection,
    first_line,
    identifier,
    query_engine,
    remove_abandoned_scratch,
    stream_batches,
)
from store.erasures import read_erased
from store.errors import FileUnreadable
from store.event_rows import EVENT_ID, KNOWN, REQUIRED, EventRows, judge_events
from store.locks import exclusive_lock
from store.manifests import (
    Manifest,
    next_ingest,
    read_manifests,
    remove_leftovers,
    write_manifest,
)
from store.parts import write_parts
from store.refusal import check_rejects
from store.reports import FileReport, IngestReport
from store.sources import SourceFile, SourceOptions, open_source
from store.workspace import Workspace

Progress = Callable[[str, int, int], None]

_STREAM_ROWS = 122_880
_ARROW_TYPES = {
    VARCHAR: pa.string(),
    BIGINT: pa.int64(),
    DOUBLE: pa.float64(),
    BOOLEAN: pa.bool_(),
    TIMESTAMP: pa.timestamp("us", "UTC"),
}


def ingest_events(
    workspace: Workspace,
    files: Sequence[Path],
    config: IngestConfig,
    *,
    now: datetime,
    progress: Progress | None = None,
) -> IngestReport:
    """Append files of events to the lake, in the order given.

    A file that fails leaves nothing behind; the files before it stay ingested, and the same
    command again passes over them.

    Args:
        workspace: Where the lake is.
        files: Parquet, CSV or JSON Lines, the latter two plain or gzipped.
        config: Limits.
        now: Times too far after it are rejects.
        progress: Called with a file's name, the rows written so far, and the rows it has.

    Raises:
        WorkspaceBusy: If another process is writing to the lake.
        FileUnreadable: If a file is missing, empty, or not of its format.
        ColumnsRefused: If its columns can't be used.
        IngestRefused: If too large a share of its rows was rejected.
    """
    workspace.make_folders()
    with exclusive_lock(workspace.lake_lock_file, purpose="ingest"):
        remove_leftovers(workspace, read_manifests(workspace))
        remove_abandoned_scratch(workspace)
        erased = frozenset(read_erased(workspace))
        ingest = _EventIngest(workspace, config, now, erased, progress or _silent)
        return IngestReport(tuple(ingest.add(file) for file in files))


def _silent(file: str, num_done: int, num_rows: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class _EventIngest:
    workspace: Workspace
    config: IngestConfig
    now: datetime
    erased: frozenset[str]
    progress: Progress

    def add(self, path: Path) -> FileReport:
        """Ingest one file unless its content is there already."""
        file = SourceFile.read(path)
        manifests = read_manifests(self.workspace)
        if any(manifest.sha256 == file.sha256 for manifest in manifests):
            return FileReport(str(path), file.sha256, already_ingested=True)
        try:
            return self._add_new(file, manifests)
        except BaseException:
            remove_leftovers(self.workspace, read_manifests(self.workspace))
            raise

    def _add_new(self, file: SourceFile, manifests: list[Manifest]) -> FileReport:
        with query_engine(
            self.workspace,
            memory_limit_mb=self.config.memory_limit_mb,
            threads=self.config.threads,
        ) as (connection, scratch):
            try:
                return self._load(connection, scratch, file, manifests)
            except (duckdb.OutOfMemoryException, duckdb.IOException):
                raise
            except duckdb.Error as error:
                raise FileUnreadable(f"{file.path} is damaged: {first_line(error)}") from error

    def _load(
        self,
        connection: Connection,
        scratch: Path,
        file: SourceFile,
        manifests: list[Manifest],
    ) -> FileReport:
        options = SourceOptions(REQUIRED, KNOWN, self.config)
        source = open_source(connection, file.path, scratch, options)
        latest_us = to_us(self.now) + self.config.future_seconds_max * 1_000_000
        rows = judge_events(source, self.config, latest_us=latest_us)
        connection.execute(f"CREATE TEMP VIEW judged AS {rows.sql}")
        rejects = check_rejects(
            connection,
            source,
            file=file.path,
            sha256=file.sha256,
            workspace=self.workspace,
            share_max=self.config.rejects_share_max,
        )
        where = "_reason IS NULL" if rejects.num_judged else "true"
        num_duplicates, num_erased = self._drop(connection, rows, manifests, where)
        if num_duplicates or num_erased:
            where += " AND _row NOT IN (SELECT _row FROM dropped)"
        num_kept = rejects.num_rows - rejects.num_rejected - num_duplicates - num_erased
        report = FileReport(
            file=str(file.path),
            sha256=file.sha256,
            num_rows=rejects.num_rows,
            num_kept=num_kept,
            num_rejected=rejects.num_rejected,
            num_duplicates=num_duplicates,
            num_erased=num_erased,
            rejects_file=rejects.rejects_file,
        )
        manifest = self._write(connection, rows, where, report, next_ingest(manifests))
        file.check_unchanged()
        write_manifest(self.workspace, manifest)
        return report

    def _write(
        self, connection: Connection, rows: EventRows, where: str, report: FileReport, ingest: int
    ) -> Manifest:
        """Write the kept rows by time; return the manifest that will make them visible."""
        names = ["user_id", "ts", "event_type", *rows.columns]
        sql = (
            f"SELECT {', '.join(map(identifier, names))}, CAST({ingest} AS BIGINT) AS _ingest, "
            f"_row FROM judged WHERE {where} ORDER BY ts, _row"
        )
        batches = stream_batches(connection, sql, num_rows=_STREAM_ROWS)
        parts = write_parts(
            self._counted(batches, report),
            lake_dir=self.workspace.lake_dir,
            ingest=ingest,
            schema=_part_schema(rows.columns),
            config=self.config,
        )
        manifest = Manifest(
            ingest=ingest,
            file=Path(report.file).name,
            sha256=report.sha256,
            created_at=self.now.isoformat(),
            columns=rows.columns,
            counts=report.counts(),
            config=self.config.model_dump(mode="json"),
            parts=parts,
        )
        assert manifest.num_rows == report.num_kept, "every kept row is in a part"
        return manifest

    def _counted(
        self, batches: Iterator[pa.RecordBatch], report: FileReport
    ) -> Iterator[pa.RecordBatch]:
        num_done = 0
        for batch in batches:
            yield batch
            num_done += batch.num_rows
            self.progress(report.file, num_done, report.num_kept)

    def _drop(
        self, connection: Connection, rows: EventRows, manifests: list[Manifest], where: str
    ) -> tuple[int, int]:
        """Note rows not to keep; return how many are duplicates and how many of the erased."""
        connection.execute(CREATE_DROPPED)
        num_duplicates = num_erased = 0
        if EVENT_ID in rows.columns:
            parts = [
                self.workspace.lake_dir / part.path
                for manifest in manifests
                if EVENT_ID in manifest.columns
                for part in manifest.parts
            ]
            num_duplicates = drop_duplicates(connection, where=where, parts=parts)
        if self.erased:
            num_erased = drop_erased(connection, where=where, erased=self.erased)
        return num_duplicates, num_erased


def _part_schema(columns: dict[str, str]) -> pa.Schema:
    return pa.schema(
        [
            ("user_id", pa.string()),
            ("ts", pa.timestamp("us", "UTC")),
            ("event_type", pa.string()),
            *((name, _ARROW_TYPES[kind]) for name, kind in columns.items()),
            ("_ingest", pa.int64()),
            ("_row", pa.int64()),
        ]
    )
