"""Rejected rows on their way to the rejects file."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from store.text_lines import Reject

_SCHEMA = pa.schema([("line", pa.int64()), ("reason", pa.string())])


class RejectsWriter:
    """Collects malformed rows in a scratch file, however many there are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_rejects = 0
        self._writer = pq.ParquetWriter(path, _SCHEMA)

    def add(self, rejects: Sequence[Reject]) -> None:
        """Write some rejects."""
        if rejects:
            lines = [reject.line for reject in rejects]
            reasons = [reject.reason for reject in rejects]
            self._writer.write_table(pa.table([lines, reasons], schema=_SCHEMA))
            self.num_rejects += len(rejects)

    def __enter__(self) -> "RejectsWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()
