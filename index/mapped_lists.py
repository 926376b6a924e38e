"""The lists of a fast scan in a file of their own, mapped, so that processes share them.

FAISS reads such lists (`BlockInvertedLists`) into the memory of every process. Its lists on disk
(`OnDiskInvertedLists`) are a mapped file in which each list is its codes and then its ids, and all
that the scan asks of lists is where these begin. So the blocks of codes are written as they are,
and mapped as lists on disk whose capacity is a whole number of blocks.

Shape key: `L` lists.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index.errors import BuildCorrupt
from index.faiss_files import read_faiss, write_faiss
from index.vectors import Rows

LISTS_FILE, SIZES_FILE = "ivf_lists.bin", "ivf_sizes.npy"
ALIGNMENT = 64
ID_BYTES = 8


@dataclass(frozen=True)
class _Layout:
    """Where the lists lie in the file.

    Attributes:
        size_L: Entries of each list.
        capacity_L: Entries that its blocks have room for.
        offset_L: Where its codes begin; its ids follow the last block.
        code_bytes: Bytes of an entry in a block.
        num_bytes: Size of the file.
    """

    size_L: Rows
    capacity_L: Rows
    offset_L: Rows
    code_bytes: int
    num_bytes: int

    @classmethod
    def of(cls, file: Any, size_L: Rows) -> "_Layout":
        """Lay out lists of these sizes, in the blocks that an index of this kind scans."""
        per_block, block_bytes = int(file.bbs), int(file.get_block_stride())
        capacity_L = -(-size_L // per_block) * per_block
        bytes_L = capacity_L // per_block * block_bytes + ID_BYTES * capacity_L
        bytes_L = -(-bytes_L // ALIGNMENT) * ALIGNMENT
        stop_L = np.cumsum(bytes_L)
        num_bytes = int(stop_L[-1]) if len(stop_L) else 0
        return cls(size_L, capacity_L, stop_L - bytes_L, block_bytes // per_block, num_bytes)


def write_lists(index: Any, path: Path) -> None:
    """Write a fast scan to a file, and its lists into files beside it.

    Raises:
        OSError: If the disk does not take them.
    """
    file = scan_of(index)
    lists = faiss.downcast_InvertedLists(file.invlists)
    size_L = np.array([lists.list_size(number) for number in range(file.nlist)], dtype=np.int64)
    layout = _Layout.of(file, size_L)
    np.save(path.with_name(SIZES_FILE), size_L)
    with path.with_name(LISTS_FILE).open("wb") as written:
        for number in np.flatnonzero(size_L).tolist():
            written.seek(int(layout.offset_L[number]))
            num_code_bytes = int(layout.capacity_L[number]) * layout.code_bytes
            written.write(faiss.rev_swig_ptr(lists.get_codes(number), num_code_bytes).data)
            written.write(faiss.rev_swig_ptr(lists.get_ids(number), int(size_L[number])).data)
        written.truncate(layout.num_bytes)
    file.own_invlists = False  # else they would be deleted with the replacement
    try:
        _put(file, faiss.ArrayInvertedLists(file.nlist, layout.code_bytes))
        write_faiss(index, path)
    finally:
        _put(file, lists)


def map_lists(path: Path) -> Any:
    """Return the fast scan that was written to a file, with its lists mapped.

    Builds of format 2 have the lists in the same file; these are copied into memory.

    Raises:
        BuildCorrupt: If files are missing or cut, or don't fit together.
    """
    index = read_faiss(path)
    file = scan_of(index)
    lists: Any = file.invlists
    if index.ntotal and lists.compute_ntotal():
        return index
    sizes_path, lists_path = path.with_name(SIZES_FILE), path.with_name(LISTS_FILE)
    try:
        size_L = np.load(sizes_path, allow_pickle=False)
        num_bytes = lists_path.stat().st_size
    except (OSError, ValueError) as error:
        raise BuildCorrupt(f"the lists of {path} can't be read: {error}") from error
    if size_L.shape != (file.nlist,) or size_L.sum() != index.ntotal or (size_L < 0).any():
        raise BuildCorrupt(f"{sizes_path} does not fit {path.name}")
    layout = _Layout.of(file, size_L.astype(np.int64))
    if num_bytes != layout.num_bytes:
        raise BuildCorrupt(f"{lists_path} has {num_bytes} bytes instead of {layout.num_bytes}")
    if num_bytes:
        _put(file, _on_disk(lists_path, layout))
    return index


def scan_of(index: Any) -> Any:
    """Return the lists' own index, without what stands before it."""
    inner = faiss.downcast_index(index)
    return (
        faiss.downcast_index(inner.index) if isinstance(inner, faiss.IndexPreTransform) else inner
    )


def _on_disk(path: Path, layout: _Layout) -> Any:
    library: Any = faiss  # its stubs lack much of this
    lists = library.OnDiskInvertedLists()
    lists.nlist, lists.code_size = len(layout.size_L), layout.code_bytes
    lists.filename, lists.totsize = str(path), layout.num_bytes
    lists.read_only, lists.prefetch_nthread = True, 0
    lists.lists.resize(lists.nlist)
    place_L3 = np.stack([layout.size_L, layout.capacity_L, layout.offset_L], axis=1)
    place_L3 = np.ascontiguousarray(place_L3, dtype=np.uint64)
    library.memcpy(lists.lists.data(), library.swig_ptr(place_L3), place_L3.nbytes)
    try:
        lists.do_mmap()
    except RuntimeError as error:
        raise BuildCorrupt(f"{path} can't be mapped: {error}") from error
    return lists


def _put(file: Any, lists: Any) -> None:
    """Replace the lists of an index, which owns them from now on."""
    file.replace_invlists(lists, True)
    lists.this.disown()
