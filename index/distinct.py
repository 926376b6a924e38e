"""Distinct vectors and their users: bots behave alike to the last bit, and break graph indexes.

Rows whose vectors are equal, or differ by float noise alone (`index.noise`), are one entry. An
entry is found and ranked by one vector, that of its first row, so its users are never told apart
by noise; the vectors themselves stay as they are.

Shape key: `N` stored vectors, `E` distinct ones (entries), `M` bit-different ones, `D` dimensions.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from index.errors import BuildCorrupt
from index.noise import components_of_noise
from index.vectors import Rows, Vectors, row_blocks

OFFSETS_FILE = "entry_offsets.npy"
ROWS_FILE = "entry_rows.npy"
FIRST_ROWS_FILE = "entry_first_rows.npy"
OF_ROW_FILE = "entry_of_row.npy"
HASH_SEED = 20_240_229


@dataclass(frozen=True)
class Entries:
    """Rows grouped by vector; entry e holds `rows_N[offsets_E[e]:offsets_E[e + 1]]`.

    Attributes:
        offsets_E: int64 of length E + 1.
        rows_N: int64, within an entry ascending or, after `preferring`, who is to be shown first.
        first_rows_E: The least row of each entry, int64, ascending; its vector stands for all.
        entry_N: The entry of each row, int64.
    """

    offsets_E: Rows
    rows_N: Rows
    first_rows_E: Rows
    entry_N: Rows

    @classmethod
    def of_first_rows(cls, first_N: Rows) -> "Entries":
        """Group rows by the least row that each is alike to."""
        first_rows_E, entry_N, sizes_E = np.unique(first_N, return_inverse=True, return_counts=True)
        rows_N = np.argsort(first_N, kind="stable").astype(np.int64)
        offsets_E = np.concatenate([[0], np.cumsum(sizes_E)]).astype(np.int64)
        return cls(offsets_E, rows_N, first_rows_E.astype(np.int64), entry_N.astype(np.int64))

    @cached_property
    def is_shared_E(self) -> npt.NDArray[np.bool_]:
        """Which entries have several rows."""
        return np.diff(self.offsets_E) > 1

    def preferring(self, is_violator_N: npt.NDArray[np.bool_], num_events_N: Rows) -> "Entries":
        """Return the same entries with known violators first, then whoever did most, then by row.

        The first of an entry stands for it where only one is shown: evidence comes first, and of
        many events more is known than of few.
        """
        if self.num_entries == len(self.rows_N):
            return self
        keys = (-num_events_N[self.rows_N], ~is_violator_N[self.rows_N], self.entry_N[self.rows_N])
        return replace(self, rows_N=self.rows_N[np.lexsort(keys)])

    def only(self, rows_M: Rows) -> "Entries":
        """Return as many entries as there are rows, of one row each; other rows are in none (-1).

        Args:
            rows_M: Ascending.
        """
        entry_N = np.full(len(self.entry_N), -1, dtype=np.int64)
        entry_N[rows_M] = np.arange(len(rows_M))
        return Entries(np.arange(len(rows_M) + 1), rows_M, rows_M, entry_N)

    def save(self, directory: Path) -> None:
        """Write what `load` reads."""
        np.save(directory / OFFSETS_FILE, self.offsets_E)
        np.save(directory / ROWS_FILE, self.rows_N)
        np.save(directory / FIRST_ROWS_FILE, self.first_rows_E)
        np.save(directory / OF_ROW_FILE, self.entry_N)

    @classmethod
    def load(cls, directory: Path) -> "Entries":
        """Map what `save` wrote into memory, so that processes share it.

        Raises:
            BuildCorrupt: If it can't be read.
        """
        try:
            return cls(
                *(
                    np.asarray(np.load(directory / name, mmap_mode="r", allow_pickle=False))
                    for name in (OFFSETS_FILE, ROWS_FILE, FIRST_ROWS_FILE, OF_ROW_FILE)
                )
            )
        except (OSError, ValueError) as error:
            raise BuildCorrupt(f"the entries in {directory} can't be read: {error}") from error

    @property
    def num_entries(self) -> int:
        """E."""
        return len(self.offsets_E) - 1

    def fit(self, num_users: int, num_entries: int) -> bool:
        """Tell whether these are so many entries of so many users, and name none beyond.

        Rows are read as they are by what multiplies vectors where they lie.
        """
        wanted = (
            (self.rows_N, num_users, num_users),
            (self.first_rows_E, num_entries, num_users),
            (self.entry_N, num_users, num_entries),
            (self.offsets_E, num_entries + 1, num_users + 1),
        )
        return all(
            named.dtype == np.int64
            and len(named) == length
            and (length == 0 or 0 <= named.min() <= named.max() < limit)
            for named, length, limit in wanted
        )

    def spread(self, value_E: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the value of each entry for every row, length N."""
        value_N: npt.NDArray[np.float32] = value_E[self.entry_N]
        return value_N


def group_identical(vectors_ND: Vectors) -> Entries:
    """Group rows that are equal but for float noise; see `components_of_noise` for the law.

    Bit-equal rows are always together, and rows more than 1e-4 apart never are. Which rows are
    together does not depend on their order.
    """
    hash_N = _hashes(vectors_ND)
    equal_N = _first_equal_row(vectors_ND, hash_N)
    rows_M = np.flatnonzero(equal_N == np.arange(len(equal_N)))
    rows_M = rows_M[np.argsort(hash_N[rows_M], kind="stable")]
    group_M = components_of_noise(vectors_ND, rows_M)
    first_of_group = np.full(len(rows_M), len(equal_N), dtype=np.int64)
    np.minimum.at(first_of_group, group_M, rows_M)
    first_N = np.empty(len(equal_N), dtype=np.int64)
    first_N[rows_M] = first_of_group[group_M]
    return Entries.of_first_rows(first_N[equal_N])


def first_equal_rows(vectors_ND: Vectors) -> Rows:
    """Return, for each row, the first row that is equal to the last bit."""
    return _first_equal_row(vectors_ND, _hashes(vectors_ND))


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
    """Return, for each row, the first row with the same vector; hashes are never trusted alone.

    Of different vectors with one hash only those equal to the first are recognized here; the
    others are found equal by their distance.
    """
    _, first, inverse = np.unique(hash_N, return_index=True, return_inverse=True)
    first_N = first[inverse].astype(np.int64)
    rows = np.flatnonzero(first_N != np.arange(len(first_N)))
    for block in row_blocks(len(rows), vectors_ND.shape[1] * 8):
        part = rows[block]
        differs = (vectors_ND[part] != vectors_ND[first_N[part]]).any(axis=1)
        first_N[part[differs]] = part[differs]
    return first_N
