"""Parquet files that appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from store.durable import check_writable, fsync_path
from store.errors import FolderUnusable


def check_output(path: Path) -> None:
    """Check that a file can be made here, before any work is done for it.

    Raises:
        FolderUnusable: If the folder is missing or can't be written to, or the path is a folder.
    """
    if path.is_dir():
        raise FolderUnusable(f"{path} is a folder; name a file in it")
    check_writable(path.parent)


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
