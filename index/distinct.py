"""Identical vectors, found once: bots behave alike to the last bit, and break graph indexes.

Shape key: `N` stored vectors, `E` distinct ones (entries), `D` dimensions.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from index.errors import BuildCorrupt
from index.vectors import Rows, Vectors, row_blocks

OFFSETS_FILE = "entry_offsets.npy"
ROWS_FILE = "entry_rows.npy"
HASH_SEED = 20_240_229


@dataclass(frozen=True)
class Entries:
    """Rows grouped by equal vector; entry e holds `rows_N[offsets_E[e]:offsets_E[e + 1]]`.

    Attributes:
        offsets_E: int64 of length E + 1.
        rows_N: int64, ascending within an entry; entries are ordered by their first row.
    """

    offsets_E: Rows
    rows_N: Rows

    def save(self, directory: Path) -> None:
        """Write what `load` reads."""
        np.save(directory / OFFSETS_FILE, self.offsets_E)
        np.save(directory / ROWS_FILE, self.rows_N)

    @classmethod
    def load(cls, directory: Path) -> "Entries":
        """Map what `save` wrote into memory, so that processes share it.

        Raises:
            BuildCorrupt: If it can't be read.
        """
        try:
            return cls(
                np.load(directory / OFFSETS_FILE, mmap_mode="r", allow_pickle=False),
                np.load(directory / ROWS_FILE, mmap_mode="r", allow_pickle=False),
            )
        except (OSError, ValueError) as error:
            raise BuildCorrupt(f"the entries in {directory} can't be read: {error}") from error

    @property
    def num_entries(self) -> int:
        """E."""
        return len(self.offsets_E) - 1

    @property
    def first_rows_E(self) -> Rows:
        """One row of each entry, the first."""
        rows: Rows = self.rows_N[self.offsets_E[:-1]]
        return rows

    def spread(self, value_E: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the value of each entry for every row, length N."""
        value_N = np.empty(len(self.rows_N), dtype=value_E.dtype)
        value_N[self.rows_N] = np.repeat(value_E, np.diff(self.offsets_E))
        return value_N


def group_identical(vectors_ND: Vectors) -> Entries:
    """Group rows that are equal in every number."""
    first_N = _first_equal_row(vectors_ND, _hashes(vectors_ND))
    rows_N = np.argsort(first_N, kind="stable").astype(np.int64)
    _, sizes_E = np.unique(first_N, return_counts=True)
    offsets_E = np.concatenate([[0], np.cumsum(sizes_E)]).astype(np.int64)
    return Entries(offsets_E, rows_N)


def _hashes(vectors_ND: Vectors) -> npt.NDArray[np.uint64]:
    """Return a 64-bit multilinear hash of each row's bits."""
    num_rows, dim = vectors_ND.shape
    multiplier_D = np.random.default_rng(HASH_SEED).integers(
        1, 2**63, size=dim, dtype=np.uint64
    ) | np.uint64(1)
    hash_N = np.empty(num_rows, dtype=np.uint64)
    for block in row_blocks(num_rows, dim * 8):
        bits = (vectors_ND[block] + np.float32(0)).view(np.uint32)  # + 0 makes -0 and 0 the same
        hash_N[block] = np.einsum("nd,d->n", bits.astype(np.uint64), multiplier_D)
    return hash_N


def _first_equal_row(vectors_ND: Vectors, hash_N: npt.NDArray[np.uint64]) -> Rows:
    """Return, for each row, the first row with the same vector; hashes are never trusted alone."""
    _, first, inverse = np.unique(hash_N, return_index=True, return_inverse=True)
    first_N = first[inverse].astype(np.int64)
    rows = np.flatnonzero(first_N != np.arange(len(first_N)))
    for block in row_blocks(len(rows), vectors_ND.shape[1] * 8):
        part = rows[block]
        differs = (vectors_ND[part] != vectors_ND[first_N[part]]).any(axis=1)
        first_N[part[differs]] = part[differs]
    return first_N
