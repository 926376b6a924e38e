"""Indexes of FAISS on disk: written whole or told, and mapped where FAISS can."""

from pathlib import Path
from typing import Any

import faiss

from index.errors import BuildCorrupt


def write_faiss(index: Any, path: Path) -> None:
    """Write an index.

    Raises:
        OSError: If the disk does not take it.
    """
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        raise OSError(f"{path} can't be written: {error}") from error


def read_faiss(path: Path) -> Any:
    """Map an index into memory, so that processes share it.

    Raises:
        BuildCorrupt: If it is missing or cut.
    """
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise BuildCorrupt(f"{path} can't be read: {error}") from error
