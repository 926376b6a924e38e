"""Searching a build's collection: its entries by vector, and its users by vector and filter.

Shape key: `N` users, `E` entries, `Q` queries, `K` neighbors, `D` dimensions, `M` entries found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from index.answers import EF_SEARCH_MAX, Filter, NeighborRequest, SearchMode
from index.approximate import ApproximateIndex, IndexKind
from index.errors import CollectionInvalid
from index.exact import ExactIndex
from index.filters import rows_passing
from index.hubness import augment_queries
from index.milvus.client import MilvusServer
from index.milvus.config import RESULTS_MAX
from index.milvus.expressions import expression_of
from index.tombstones import Tombstones
from index.users import UserTable
from index.vectors import Neighbors, Rows, Vectors, check_dim, row_blocks

RESULT_BYTES = 4 * 2**20
QUERIES_AT_ONCE = 1_024


@dataclass(frozen=True)
class MilvusIndex:
    """The entries of a collection by inner product, hub-corrected if loaded with penalties.

    Attributes:
        name: Of the collection itself: rows mean users of one build, and an alias may swing.
        dim: D of the queries.
        is_corrected: Whether the stored vectors have the extra dimensions of the hub correction.
        effort: Beam width where a search names none.
    """

    server: MilvusServer
    name: str
    num_entries: int
    dim: int
    is_corrected: bool
    effort: int

    @property
    def kind(self) -> IndexKind:
        """What it is called in manifests and answers."""
        return "milvus"

    def with_effort(self, effort: int) -> "MilvusIndex":
        """Return the same collection, searched with another beam."""
        return replace(self, effort=effort)

    def save(self, directory: Path) -> None:
        """Write nothing: the server keeps the collection."""

    def search_entries(
        self, query_QD: Vectors, *, k: int, effort: int | None = None, expression: str = ""
    ) -> Neighbors:
        """Return about the k entries with the largest (corrected) inner product for each query.

        Args:
            query_QD: Unit vectors, float32.
            k: Entries per query; the server gives `RESULTS_MAX` at most.
            effort: Beam width; at least k is used.
            expression: What the entries must fulfil; all do if empty.

        Raises:
            DimensionMismatch: If D is not the dimension of this index.
            MilvusError: If the server does not answer, or not with what was asked.
        """
        check_dim(query_QD, self.dim)
        found = Neighbors(
            np.full((len(query_QD), k), -1, dtype=np.int64),
            np.full((len(query_QD), k), -np.inf, dtype=np.float32),
        )
        limit = min(k, self.num_entries, RESULTS_MAX)
        if limit == 0:
            return found
        row_bytes = max(16 * limit + 4 * self.dim, RESULT_BYTES // QUERIES_AT_ONCE)
        for block in row_blocks(len(query_QD), row_bytes, block_bytes=RESULT_BYTES):
            part = self.server.search(
                self.name,
                self._as_stored(query_QD[block]),
                k=limit,
                effort=effort or self.effort,
                expression=expression,
            )
            found.rows_QK[block, :limit] = part.rows_QK
            found.score_QK[block, :limit] = part.score_QK
        return found

    def score_all(self, query_QD: Vectors, expression: str, *, num_entries: int) -> Neighbors:
        """Score every entry that fulfils an expression, here; costs their vectors over the network.

        Raises:
            CollectionInvalid: If there are not as many as was counted.
        """
        keys, vectors_MD = self.server.vectors(self.name, expression, limit=num_entries)
        if len(keys) != num_entries:
            raise CollectionInvalid(
                f"{self.name} has {num_entries:,} entries with {expression} and gives {len(keys):,}"
            )
        found = ExactIndex(vectors_MD).search(self._as_stored(query_QD), k=num_entries)
        return Neighbors(keys[found.rows_QK], found.score_QK)

    def _as_stored(self, query_QD: Vectors) -> Vectors:
        return augment_queries(query_QD) if self.is_corrected else np.ascontiguousarray(query_QD)


@dataclass(frozen=True)
class MilvusView:
    """The users of a build, searched in its collection.

    Attributes:
        approximate: Everyone, by a `MilvusIndex`.
        index: That index.
        codes: Number of each policy in the collection.
        exact_candidates: A filter that so many entries pass is searched exactly.
    """

    users: UserTable
    approximate: ApproximateIndex
    index: MilvusIndex
    codes: Mapping[str, int]
    exact_candidates: int

    def find(
        self, query_QD: Vectors, request: NeighborRequest, tombstones: Tombstones, *, k: int
    ) -> tuple[Neighbors, SearchMode]:
        """Return about the k best rows for each query, and how they were found.

        Few candidates are searched exactly. With many, the beam is widened by as much as the filter
        narrows, so that it holds as many who pass as it would hold of all.
        """
        if request.filter is None and not request.known_violators:
            if not tombstones.num_hidden:
                return self.approximate.search(query_QD, k=k, effort=request.ef_search), "milvus"
            everyone = _Task(request, tombstones, k, "", self.index.num_entries, is_exact=False)
            return self._find_passing(query_QD, everyone), "milvus"
        expression = expression_of(
            request.filter, known_violators=request.known_violators, codes=self.codes
        )
        num_candidates = self.index.server.count(self.index.name, expression)
        is_exact = num_candidates <= self.exact_candidates
        task = _Task(request, tombstones, k, expression, num_candidates, is_exact)
        found = self._find_passing(query_QD, task)
        if not is_exact:
            return found, "milvus_filtered"
        return found, "exact" if request.filter is None else "exact_filtered"

    def _find_passing(self, query_QD: Vectors, task: "_Task") -> Neighbors:
        """Search block by block, so that memory is bounded however many entries are asked for."""
        found = Neighbors(
            np.full((len(query_QD), task.k), -1, dtype=np.int64),
            np.full((len(query_QD), task.k), -np.inf, dtype=np.float32),
        )
        if task.num_candidates == 0:
            return found
        search = self._all_of_few if task.is_exact else self._best_of_many
        for block in row_blocks(len(query_QD), 32 * min(task.num_candidates, RESULTS_MAX)):
            part = search(query_QD[block], task)
            found.rows_QK[block], found.score_QK[block] = part.rows_QK, part.score_QK
        return found

    def _all_of_few(self, query_QD: Vectors, task: "_Task") -> Neighbors:
        """Rank every candidate: none can be missed.

        A server that is asked for all of them compares them all. Where it gives fewer it walked its
        graph after all, and they are compared here.
        """
        num_candidates = task.num_candidates
        found = self.index.search_entries(query_QD, k=num_candidates, expression=task.expression)
        if not (found.rows_QK >= 0).all():
            found = self.index.score_all(query_QD, task.expression, num_entries=num_candidates)
        return self._users_of(found, task)

    def _best_of_many(self, query_QD: Vectors, task: "_Task") -> Neighbors:
        """Ask for more entries until each query has k users who pass, or there are no more."""
        effort = task.request.ef_search or self.index.effort
        effort = min(effort * self.index.num_entries // task.num_candidates, EF_SEARCH_MAX)
        most = min(task.num_candidates, RESULTS_MAX)
        limit = min(task.k, most)
        while True:
            entries = self.index.search_entries(
                query_QD, k=limit, effort=effort, expression=task.expression
            )
            found = self._users_of(entries, task)
            if limit == most or (found.rows_QK[:, -1] >= 0).all():
                return found
            limit = min(4 * limit, most)

    def _users_of(self, found: Neighbors, task: "_Task") -> Neighbors:
        """Return the first k users of the entries found who pass themselves and are not hidden."""
        entry_M = np.unique(found.rows_QK[found.rows_QK >= 0])
        start_M = self.approximate.entries.offsets_E[entry_M]
        sizes_M = self.approximate.entries.offsets_E[entry_M + 1] - start_M
        place = np.arange(sizes_M.sum()) - np.repeat(np.cumsum(sizes_M) - sizes_M, sizes_M)
        rows = self.approximate.entries.rows_N[np.repeat(start_M, sizes_M) + place]
        passes = self._passes(rows, task.request) & ~task.tombstones.hidden_N[rows]
        rows = rows[passes]
        kept_M = np.bincount(
            np.repeat(np.arange(len(entry_M)), sizes_M)[passes], minlength=len(entry_M)
        )
        first_M = np.cumsum(kept_M) - kept_M
        return _spread(found, entry_M, first_M, kept_M, rows, task.k)

    def _passes(self, rows_M: Rows, request: NeighborRequest) -> np.typing.NDArray[np.bool_]:
        """Tell which users pass the filter, and are known violators where those are asked for."""
        users = UserTable.of(self.users.table.take(pa.array(rows_M)))
        passes = np.zeros(len(rows_M), dtype=np.bool_)
        passes[rows_passing(users, request.filter or Filter())] = True
        return passes & (users.label_N == 1) if request.known_violators else passes


@dataclass(frozen=True)
class _Task:
    """What one search is to find, and among how many entries."""

    request: NeighborRequest
    tombstones: Tombstones
    k: int
    expression: str
    num_candidates: int
    is_exact: bool


def _spread(
    found: Neighbors, entry_M: Rows, first_M: Rows, kept_M: Rows, rows: Rows, k: int
) -> Neighbors:
    """Replace entries by their rows that are kept, k for each query, equal scores by row.

    Args:
        found: Entries of each query, best first.
        entry_M: The entries that occur, ascending.
        first_M: Where in `rows` those of each entry begin.
        kept_M: How many each entry has there.
        rows: Rows that are kept, entry after entry.
        k: Rows per query.
    """
    num_queries = len(found.rows_QK)
    found_QK = found.rows_QK >= 0
    place_QK = np.where(found_QK, np.searchsorted(entry_M, found.rows_QK), 0)
    size_QK = np.where(found_QK, kept_M[place_QK], 0)
    before_QK = np.cumsum(size_QK, axis=1) - size_QK
    taken_QK = np.clip(k - before_QK, 0, size_QK)
    taken = taken_QK.ravel()
    within = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
    query = np.repeat(np.arange(num_queries), taken_QK.sum(axis=1))
    row = rows[np.repeat(first_M[place_QK].ravel(), taken) + within]
    score = np.repeat(found.score_QK.ravel(), taken)
    order = np.lexsort((row, -score, query))
    num_Q = taken_QK.sum(axis=1)
    column = np.arange(len(order)) - np.repeat(np.cumsum(num_Q) - num_Q, num_Q)
    rows_QK = np.full((num_queries, k), -1, dtype=np.int64)
    score_QK = np.full((num_queries, k), -np.inf, dtype=np.float32)
    rows_QK[query, column] = row[order]
    score_QK[query, column] = score[order]
    return Neighbors(rows_QK, score_QK)
