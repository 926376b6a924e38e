"""Slices: the users that a filter lets through, kept ready for the next search with it.

A build never changes, so what a filter lets through is found once. The vectors of a slice are
collected, too, while they fit: a search of the slice then reads them one after the other instead
of here and there in a mapped file. A large slice that is asked for again gets an approximate index
of its own instead, made beside the requests, which are answered without it until it is there. What
was used longest ago makes room for what is asked for now.

What is searched are entries (distinct vectors): those of which at least one user passes.

Shape key: `N` users, `M` entries of a slice, `P` its users, `D` dimensions.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock

import numpy as np
import numpy.typing as npt

from index.answers import Filter
from index.approximate import EntryIndex
from index.background import Background
from index.distinct import Entries
from index.exact import ExactIndex
from index.filters import FilterTable
from index.slice_indexes import K_MAX, SliceIndexes
from index.vectors import Neighbors, Rows, Vectors

SLICES_BYTES = 256 * 2**20
SLICE_SHARE = 0.25
"""Of the memory for all slices: what one may take for its vectors, or for its index."""
SLICES_MAX = 1_024
MAKINGS_MAX = 3
"""How often an index is made of one slice that others push out again."""
MAKINGS_WAITING_MAX = 4

_Sieve = tuple[Filter, bool]


@dataclass(frozen=True)
class Slice:
    """Some of the users of a build.

    Attributes:
        users_P: Their rows, ascending.
        entries_M: Their entries, ascending.
        rows_M: The rows whose vectors stand for these entries, ascending.
        everyone: Searches all users.
        collected: Searches the vectors of these entries, where they were collected.
        index: Searches them approximately, where a scan costs more and they are asked for again.
        index_bytes: Memory that it takes.
    """

    users_P: Rows
    entries_M: Rows
    rows_M: Rows
    everyone: ExactIndex
    collected: ExactIndex | None
    index: EntryIndex | None = None
    index_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """Memory taken."""
        parts = {id(part): part.nbytes for part in (self.users_P, self.entries_M, self.rows_M)}
        size = sum(parts.values()) + self.index_bytes
        if self.collected is not None:
            size += self.collected.vectors_ND.nbytes + 4 * len(self.rows_M)
        return size

    def search(self, query_QD: Vectors, *, k: int) -> Neighbors:
        """Return the k best entries of these users, exactly."""
        if self.collected is not None:
            return renamed(self.collected.search(query_QD, k=k), self.entries_M)
        found = self.everyone.search_rows(query_QD, self.rows_M, k=k)
        if len(self.rows_M) == 0:
            return found
        place_QK = np.searchsorted(self.rows_M, np.maximum(found.rows_QK, self.rows_M[0]))
        return renamed(
            Neighbors(np.where(found.rows_QK < 0, -1, place_QK), found.score_QK), self.entries_M
        )

    def search_rows(self, query_QD: Vectors, *, k: int) -> Neighbors:
        """Return the k best of the rows that stand for entries, exactly."""
        if self.collected is not None:
            return renamed(self.collected.search(query_QD, k=k), self.rows_M)
        return self.everyone.search_rows(query_QD, self.rows_M, k=k)

    def search_index(self, query_QD: Vectors, *, k: int) -> Neighbors | None:
        """Return about the k best entries of these users, None if that can't be."""
        if self.index is None or k > K_MAX:
            return None
        return renamed(self.index.search_entries(query_QD, k=k), self.entries_M)

    def holds(self, entries: Rows) -> npt.NDArray[np.bool_]:
        """Tell which entries have a user in it, in an array of any shape that may hold -1."""
        return _among(self.entries_M, entries)

    def holds_users(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Tell which rows are of its users, in an array of any shape that may hold -1."""
        return _among(self.users_P, rows)


def _among(chosen: Rows, rows: Rows) -> npt.NDArray[np.bool_]:
    """Tell which rows are among some that ascend."""
    if len(chosen) == 0:
        return np.zeros(rows.shape, dtype=np.bool_)
    place = np.searchsorted(chosen, rows)
    held: npt.NDArray[np.bool_] = chosen[np.minimum(place, len(chosen) - 1)] == rows
    return held


class SliceCache:
    """Slices by filter, in bounded memory; threads may share it.

    Args:
        table: Tells which rows pass.
        everyone: Searches all users.
        entries: Which of them share a vector.
        max_bytes: Memory for all slices together; an index that is being made comes on top.
        indexes: Makes indexes of large slices; None where a scan costs no more.
        collects: Collect the vectors of slices; not where another machine searches them.
    """

    def __init__(
        self,
        table: FilterTable,
        everyone: ExactIndex,
        entries: Entries,
        *,
        max_bytes: int,
        indexes: SliceIndexes | None = None,
        collects: bool = True,
    ) -> None:
        self._table = table
        self._everyone = everyone
        self._entries = entries
        self._max_bytes = max_bytes
        self._indexes = indexes
        self._collects = collects
        self._slices: OrderedDict[_Sieve, Slice] = OrderedDict()
        self._size_bytes = 0
        self._lock = Lock()
        self._makings: OrderedDict[_Sieve, int] = OrderedDict()
        self._background = Background("slice-indexes", waiting_max=MAKINGS_WAITING_MAX)

    def get(self, condition: Filter, *, known_violators: bool) -> Slice:
        """Return the slice of a filter, among known violators alone or everyone."""
        sieve = (condition, known_violators)
        with self._lock:
            found = self._slices.get(sieve)
            if found is not None:
                self._slices.move_to_end(sieve)
        if found is None:
            found = self._make(condition, known_violators)
            with self._lock:
                if sieve not in self._slices:
                    self._keep(sieve, found)
        elif self._wants_index(sieve, found):
            self._background.offer(sieve, partial(self._make_index, sieve, found))
        return found

    @property
    def size_bytes(self) -> int:
        """Memory that the slices take."""
        return self._size_bytes

    def settle(self, timeout_seconds: float) -> bool:
        """Wait for the indexes that are being made; return whether they are there in time."""
        return self._background.wait(timeout_seconds)

    def close(self) -> None:
        """Make no more indexes, as another build is served; what is there is searched as ever.

        The one that is being made is made.
        """
        self._background.close()

    def _make(self, condition: Filter, known_violators: bool) -> Slice:
        users_P = self._table.rows_passing(condition, known_violators=known_violators)
        whole, entries = self._everyone, self._entries
        entries_M = rows_M = users_P
        if entries.num_entries < whole.num_vectors:
            is_there_E = np.zeros(entries.num_entries, dtype=np.bool_)
            is_there_E[entries.entry_N[users_P]] = True
            entries_M = np.flatnonzero(is_there_E)
            rows_M = entries.first_rows_E[entries_M]
        row_bytes = 3 * rows_M.itemsize + 4 * (whole.dim + 1)
        if (
            not self._collects
            or len(users_P) == whole.num_vectors
            or len(rows_M) * row_bytes > SLICE_SHARE * self._max_bytes
        ):
            return Slice(users_P, entries_M, rows_M, whole, None)
        penalty_M = None if whole.penalty_N is None else whole.penalty_N[rows_M]
        collected = replace(whole, vectors_ND=whole.vectors_ND[rows_M], penalty_N=penalty_M)
        return Slice(users_P, entries_M, rows_M, whole, collected)

    def _wants_index(self, sieve: _Sieve, found: Slice) -> bool:
        return (
            self._indexes is not None
            and found.index is None
            and len(found.users_P) < self._everyone.num_vectors
            and self._indexes.pays_for(len(found.rows_M))
            and self._makings.get(sieve, 0) < MAKINGS_MAX
        )

    def _make_index(self, sieve: _Sieve, found: Slice) -> None:
        """Keep the slice with an index instead of its vectors.

        One that can't be made, or proven, won't be the next time either: the build stays the same.
        """
        assert self._indexes is not None
        with self._lock:
            num_before = self._makings.get(sieve, 0)
            self._makings[sieve] = MAKINGS_MAX  # should this raise
            while len(self._makings) > SLICES_MAX:
                self._makings.popitem(last=False)
        bare = replace(found, collected=None)
        max_bytes = min(SLICE_SHARE * self._max_bytes, self._max_bytes - bare.size_bytes)
        fitting = self._indexes.kind_within(len(found.rows_M), max_bytes)
        if fitting is None:
            return
        index = self._indexes.make(found.rows_M, found.search_rows, fitting.kind)
        if index is not None:
            with self._lock:
                self._makings[sieve] = num_before + 1
                self._keep(sieve, replace(bare, index=index, index_bytes=fitting.size_bytes))

    def _keep(self, sieve: _Sieve, found: Slice) -> None:
        """Add a slice, and let go of those used longest ago until all fit."""
        if found.size_bytes > self._max_bytes:
            return
        if sieve in self._slices:
            self._size_bytes -= self._slices[sieve].size_bytes
        self._slices[sieve] = found
        self._slices.move_to_end(sieve)
        self._size_bytes += found.size_bytes
        while self._size_bytes > self._max_bytes or len(self._slices) > SLICES_MAX:
            _, dropped = self._slices.popitem(last=False)
            self._size_bytes -= dropped.size_bytes


def renamed(found: Neighbors, rows_M: Rows) -> Neighbors:
    """Return rows of the build instead of rows of a view."""
    if len(rows_M) == 0:
        return found
    return Neighbors(np.where(found.rows_QK >= 0, rows_M[found.rows_QK], -1), found.score_QK)
