"""Sorted events cut into part files at day borders.

A file spans many days where days are small, and a big day has several files: the number of files
follows the number of rows, not of days. Row group statistics do the pruning within a file.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from store.clock import from_us
from store.config import IngestConfig
from store.durable import fsync_path
from store.manifests import Part
from store.sequences import Int64s

_DAY_US = 86_400_000_000
_ROW_GROUP_ROWS = 122_880


class PartWriter:
    """Writes batches that arrive in time order; `parts` lists the files that are finished."""

    def __init__(
        self, lake_dir: Path, ingest: int, schema: pa.Schema, config: IngestConfig
    ) -> None:
        self.parts: list[Part] = []
        self._lake_dir = lake_dir
        self._ingest = ingest
        self._schema = schema
        self._config = config
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.RecordBatch] = []
        self._num_pending = 0
        self._num_rows = 0
        self._first_us = 0
        self._last_us = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; a file ends at the first day border after enough rows, or when full."""
        while batch.num_rows:
            ts_us = _microseconds(batch)
            num_rows = self._rows_before_cut(ts_us)
            if num_rows:
                self._append(batch.slice(0, num_rows), ts_us[:num_rows])
            batch = batch.slice(num_rows)
            if batch.num_rows:
                self._finish_file()

    def close(self) -> None:
        """Finish the last file and make its folder entry durable."""
        self._finish_file()
        for folder in {(self._lake_dir / part.path).parent for part in self.parts}:
            fsync_path(folder)
        fsync_path(self._lake_dir)

    def _rows_before_cut(self, ts_us: Int64s) -> int:
        room = self._config.part_rows_max - self._num_rows
        days = ts_us // _DAY_US
        previous = self._last_us // _DAY_US if self._num_rows else days[0]
        borders = np.flatnonzero(np.diff(days, prepend=previous))
        wanted = max(self._config.part_rows_min - self._num_rows, 0)
        after = borders[np.searchsorted(borders, wanted) :]
        cut = int(after[0]) if len(after) else len(ts_us)
        return min(cut, room, len(ts_us))

    def _append(self, batch: pa.RecordBatch, ts_us: Int64s) -> None:
        if self._num_rows == 0:
            self._first_us = int(ts_us[0])
        self._last_us = int(ts_us[-1])
        self._num_rows += batch.num_rows
        self._pending.append(batch)
        self._num_pending += batch.num_rows
        if self._num_pending >= _ROW_GROUP_ROWS:
            self._write_pending()

    def _path(self) -> str:
        day = from_us(self._first_us).date().isoformat()
        return f"day={day}/part-{self._ingest:09d}-{len(self.parts):05d}.parquet"

    def _write_pending(self) -> None:
        if self._writer is None:
            file = self._lake_dir / self._path()
            file.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        table = pa.Table.from_batches(self._pending, self._schema)
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._pending, self._num_pending = [], 0

    def _finish_file(self) -> None:
        if self._pending:
            self._write_pending()
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        file = self._lake_dir / self._path()
        fsync_path(file)
        size = file.stat().st_size
        self.parts.append(Part(self._path(), self._num_rows, size, self._first_us, self._last_us))
        self._num_rows = 0


def write_parts(
    batches: Iterable[pa.RecordBatch],
    *,
    lake_dir: Path,
    ingest: int,
    schema: pa.Schema,
    config: IngestConfig,
) -> tuple[Part, ...]:
    """Write batches in time order as durable part files and return these."""
    writer = PartWriter(lake_dir, ingest, schema, config)
    for batch in batches:
        writer.write(batch)
    writer.close()
    return tuple(writer.parts)


def _microseconds(batch: pa.RecordBatch) -> Int64s:
    ts_us: Int64s = batch.column("ts").cast(pa.int64()).to_numpy()
    return ts_us
