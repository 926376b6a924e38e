"""Searching a build's collection: its entries by vector, and by vector and filter.

Shape key: `Q` queries, `K` neighbors, `D` dimensions, `M` entries that fulfil an expression, `F`
entries fetched.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from index.answers import EF_SEARCH_MAX, NeighborRequest, SearchMode
from index.approximate import ApproximateKind
from index.errors import CollectionInvalid
from index.exact import ExactIndex
from index.hubness import augment_queries
from index.milvus.client import MilvusServer
from index.milvus.config import RESULTS_MAX
from index.milvus.expressions import expression_of
from index.slices import Slice
from index.vectors import Neighbors, Vectors, check_dim, row_blocks

RESULT_BYTES = 2**19
QUERIES_AT_ONCE = 128


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
    def kind(self) -> ApproximateKind:
        """What it is called in manifests and answers."""
        return "milvus"

    @property
    def refine(self) -> int:
        """1: the server's scores are exact."""
        return 1

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
        found = _nothing(len(query_QD), k)
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
    """The entries of a build that a filter lets through, searched in its collection.

    Attributes:
        index: The collection.
        codes: Number of each policy there.
        exact_candidates: A filter that so many entries pass is searched exactly.
    """

    index: MilvusIndex
    codes: Mapping[str, int]
    exact_candidates: int

    def find(
        self, query_QD: Vectors, request: NeighborRequest, part: Slice | None, *, k: int
    ) -> tuple[Neighbors, SearchMode]:
        """Return about the k best entries who pass for each query, and how they were found.

        Few candidates are searched exactly. With many, the beam is widened by as much as the filter
        narrows, so that it holds as many who pass as it would hold of all.
        """
        expression = expression_of(
            request.filter, known_violators=request.known_violators, codes=self.codes
        )
        num_candidates = self.index.server.count(self.index.name, expression)
        is_exact = num_candidates <= self.exact_candidates
        task = _Task(part, k, request.ef_search, expression, num_candidates)
        found = _nothing(len(query_QD), k)
        search = self._all_of_few if is_exact else self._best_of_many
        if num_candidates:
            # Block by block, so that memory is bounded however many entries are asked for.
            for block in row_blocks(len(query_QD), 32 * min(num_candidates, RESULTS_MAX)):
                near = search(query_QD[block], task)
                found.rows_QK[block], found.score_QK[block] = near.rows_QK, near.score_QK
        if not is_exact:
            return found, "milvus_filtered"
        return found, "exact" if request.filter is None else "exact_filtered"

    def _all_of_few(self, query_QD: Vectors, task: "_Task") -> Neighbors:
        """Rank every candidate: none can be missed.

        A server that is asked for all of them compares them all. Where it gives fewer it walked its
        graph after all, and they are compared here.
        """
        num_candidates = task.num_candidates
        found = self.index.search_entries(query_QD, k=num_candidates, expression=task.expression)
        if not (found.rows_QK >= 0).all():
            found = self.index.score_all(query_QD, task.expression, num_entries=num_candidates)
        return task.best(found)

    def _best_of_many(self, query_QD: Vectors, task: "_Task") -> Neighbors:
        """Ask for more entries until k of each query pass, or there are no more."""
        effort = task.effort or self.index.effort
        effort = min(effort * self.index.num_entries // task.num_candidates, EF_SEARCH_MAX)
        most = min(task.num_candidates, RESULTS_MAX)
        limit = min(task.k, most)
        while True:
            found = task.best(
                self.index.search_entries(
                    query_QD, k=limit, effort=effort, expression=task.expression
                )
            )
            if limit == most or (found.rows_QK[:, -1] >= 0).all():
                return found
            limit = min(4 * limit, most)


@dataclass(frozen=True)
class _Task:
    """What one search is to find, and among how many entries.

    Attributes:
        part: Who passes; None where the expression says all.
        effort: Beam width asked for.
        num_candidates: M.
    """

    part: Slice | None
    k: int
    effort: int | None
    expression: str
    num_candidates: int

    def best(self, found: Neighbors) -> Neighbors:
        """Return the first k of the entries found who have a user who passes.

        An expression knows the bounds of an entry's users, so it may let too many entries pass.
        """
        passes_QF = found.rows_QK >= 0
        if self.part is not None:
            passes_QF &= self.part.holds(found.rows_QK)
        best = _nothing(len(passes_QF), self.k)
        column_QK = np.argsort(~passes_QF, axis=1, kind="stable")[:, : self.k]
        there_QK = np.take_along_axis(passes_QF, column_QK, axis=1)
        width = column_QK.shape[1]
        for into_QK, from_QF in (
            (best.rows_QK, found.rows_QK),
            (best.score_QK, found.score_QK),
        ):
            chosen_QK = np.take_along_axis(from_QF, column_QK, axis=1)
            into_QK[:, :width] = np.where(there_QK, chosen_QK, into_QK[:, :width])
        return best


def _nothing(num_queries: int, k: int) -> Neighbors:
    return Neighbors.none(num_queries, k)
