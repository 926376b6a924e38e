"""Rows that are only ever added: what a reader holds never changes, and adding copies no others.

Shape key: `S` rows, `D` numbers each.
"""

import threading
from dataclasses import dataclass

import numpy as np

from index.vectors import Vectors

CAPACITY_MIN = 1_024


class _Storage:
    """Room for rows; those below `num_used` are written and stay as they are."""

    def __init__(self, rows_SD: Vectors, capacity: int) -> None:
        self.rows = np.empty((capacity, rows_SD.shape[1]), dtype=np.float32)
        self.rows[: len(rows_SD)] = rows_SD
        self.num_used = len(rows_SD)
        self.lock = threading.Lock()


@dataclass(frozen=True)
class GrownRows:
    """The first rows of a storage that others may have grown further."""

    storage: _Storage
    num_rows: int

    @classmethod
    def none(cls, dim: int) -> "GrownRows":
        """Hold nothing yet, nor take any room."""
        return cls(_Storage(np.empty((0, dim), dtype=np.float32), 0), 0)

    @property
    def rows_SD(self) -> Vectors:
        """The rows, not copied; never to be written to."""
        return self.storage.rows[: self.num_rows]

    def adding(self, added_SD: Vectors) -> "GrownRows":
        """Return these and more.

        Whoever holds the last row writes behind it. Who holds fewer rows than were written, or has
        no room left, goes on in a storage of twice the size; so a row is copied twice at most, on
        average.
        """
        num_rows = self.num_rows + len(added_SD)
        storage = self.storage
        with storage.lock:
            if storage.num_used == self.num_rows and num_rows <= len(storage.rows):
                storage.rows[self.num_rows : num_rows] = added_SD
                storage.num_used = num_rows
                return GrownRows(storage, num_rows)
        grown = _Storage(self.rows_SD, max(CAPACITY_MIN, 2 * num_rows))
        grown.rows[self.num_rows : num_rows] = added_SD
        grown.num_used = num_rows
        return GrownRows(grown, num_rows)

    def taking(self, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> "GrownRows":
        """Return some of the rows, copied."""
        return GrownRows(_Storage(self.rows_SD[rows], max(CAPACITY_MIN, 2 * len(rows))), len(rows))
