"""Parquet files that appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from store.durable import fsync_path


@contextmanager
def parquet_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Yield a writer; the file gets its name when the block ends well, else nothing stays."""
    staged = path.with_name(f".{path.name}.tmp")
    try:
        with pq.ParquetWriter(staged, schema) as writer:
            yield writer
        fsync_path(staged)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
