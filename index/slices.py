"""Slices: the users that a filter lets through, kept ready for the next search with it.

A build never changes, so what a filter lets through is found once. The vectors of a slice are
collected, too, while they fit: a search of the slice then reads them one after the other instead
of here and there in a mapped file. A large slice that is asked for again gets an approximate index
of its own. What was used longest ago makes room for what is asked for now.

What is searched are entries (distinct vectors): those of which at least one user passes.

Shape key: `N` users, `M` entries of a slice, `P` its users, `D` dimensions.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import numpy.typing as npt

from index.answers import Filter
from index.cells import CellIndex
from index.distinct import Entries
from index.exact import ExactIndex
from index.filters import FilterTable
from index.recall import sample_rows
from index.vectors import Neighbors, Rows, Vectors

SLICES_BYTES = 256 * 2**20
SLICE_SHARE = 0.25
"""Of the memory for all slices: what one may take for its vectors."""
SLICES_MAX = 1_024
TUNING_QUERIES = 100

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
        cells: Searches them approximately, where a scan costs more and they are asked for again.
    """

    users_P: Rows
    entries_M: Rows
    rows_M: Rows
    everyone: ExactIndex
    collected: ExactIndex | None
    cells: CellIndex | None = None

    @property
    def size_bytes(self) -> int:
        """Memory taken."""
        parts = {id(part): part.nbytes for part in (self.users_P, self.entries_M, self.rows_M)}
        size = sum(parts.values())
        if self.collected is not None:
            copies = 1 if self.cells is None else 2
            size += copies * (self.collected.vectors_ND.nbytes + 4 * len(self.rows_M))
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

    def search_cells(self, query_QD: Vectors, *, k: int) -> Neighbors | None:
        """Return about the k best entries of these users, None if that can't be."""
        if self.cells is None or not self.cells.suits(k):
            return None
        return renamed(self.cells.search(query_QD, k=k), self.entries_M)

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
        max_bytes: Memory for all slices together.
        scanned_up_to: Entries of a slice that gets no index of its own, since a scan is quick.
        seed: Of what is drawn to make such an index.
        collects: Collect the vectors of slices; not where another machine searches them.
    """

    def __init__(
        self,
        table: FilterTable,
        everyone: ExactIndex,
        entries: Entries,
        *,
        max_bytes: int,
        scanned_up_to: float,
        seed: int,
        collects: bool = True,
    ) -> None:
        self._table = table
        self._everyone = everyone
        self._entries = entries
        self._max_bytes = max_bytes
        self._scanned_up_to = scanned_up_to
        self._seed = seed
        self._collects = collects
        self._slices: OrderedDict[_Sieve, Slice] = OrderedDict()
        self._size_bytes = 0
        self._lock = Lock()

    def get(self, condition: Filter, *, known_violators: bool) -> Slice:
        """Return the slice of a filter, among known violators alone or everyone."""
        sieve = (condition, known_violators)
        with self._lock:
            found = self._slices.get(sieve)
            if found is not None:
                self._slices.move_to_end(sieve)
        if found is None:
            found = self._make(condition, known_violators)
        elif self._wants_cells(found):
            found = self._with_cells(found)
        else:
            return found
        with self._lock:
            self._keep(sieve, found)
        return found

    @property
    def size_bytes(self) -> int:
        """Memory that the slices take."""
        return self._size_bytes

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

    def _wants_cells(self, found: Slice) -> bool:
        return (
            found.cells is None
            and found.collected is not None
            and len(found.rows_M) > self._scanned_up_to
        )

    def _with_cells(self, found: Slice) -> Slice:
        """Return the slice with an index, tuned by queries of its own users and of others."""
        assert found.collected is not None
        generator = np.random.default_rng([self._seed, TUNING_QUERIES])
        inside = sample_rows(len(found.rows_M), num=TUNING_QUERIES, generator=generator)
        anywhere = sample_rows(self._everyone.num_vectors, num=TUNING_QUERIES, generator=generator)
        samples = [
            np.ascontiguousarray(self._everyone.vectors_ND[rows_Q])
            for rows_Q in (found.rows_M[inside], anywhere)
        ]
        cells = CellIndex.build(found.collected, samples, seed=self._seed)
        return replace(found, cells=cells)

    def _keep(self, sieve: _Sieve, found: Slice) -> None:
        """Add a slice, and let go of those used longest ago until all fit."""
        if found.size_bytes > self._max_bytes:
            return
        if sieve in self._slices:
            self._size_bytes -= self._slices[sieve].size_bytes
        self._slices[sieve] = found
        self._size_bytes += found.size_bytes
        while self._size_bytes > self._max_bytes or len(self._slices) > SLICES_MAX:
            _, dropped = self._slices.popitem(last=False)
            self._size_bytes -= dropped.size_bytes


def renamed(found: Neighbors, rows_M: Rows) -> Neighbors:
    """Return rows of the build instead of rows of a view."""
    if len(rows_M) == 0:
        return found
    return Neighbors(np.where(found.rows_QK >= 0, rows_M[found.rows_QK], -1), found.score_QK)
