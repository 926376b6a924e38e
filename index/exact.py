"""Exact search: the oracle of every other index, and itself fast enough for small galleries.

Blocks of the gallery are multiplied with all queries (BLAS, float32). Rows that could still be
among the best within the rounding error of that product are pooled and scored again in float64.
So the answer depends neither on the block size nor on how many queries are asked together, and
identical vectors get identical scores, ordered by row.

Shape key: `N` stored vectors, `M` rows searched, `Q` queries, `K` neighbors, `D` dimensions,
`P` rows pooled.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.vectors import (
    BLOCK_BYTES,
    Floats,
    Neighbors,
    Rows,
    Vectors,
    check_dim,
    row_blocks,
)

QUERIES_AT_ONCE = 256
POOL_MAX = 2_000_000
SPARSE_SHARE = 0.25
"""Below this share of the gallery it is faster to collect the rows than to multiply all of it."""


@dataclass(frozen=True)
class ExactIndex:
    """Searches a matrix, which may be memory-mapped, in bounded memory.

    Attributes:
        vectors_ND: Gallery, float32.
        penalty_N: Subtracted from each row's inner product: the hub correction as an extra
            dimension `-penalty` of the gallery against 1 of the query, without a second copy.
    """

    vectors_ND: Vectors
    penalty_N: Floats | None = None
    block_bytes: int = BLOCK_BYTES

    @property
    def num_vectors(self) -> int:
        """N."""
        return len(self.vectors_ND)

    @property
    def dim(self) -> int:
        """D."""
        return int(self.vectors_ND.shape[1])

    def search(self, query_QD: Vectors, *, k: int) -> Neighbors:
        """Return the k rows with the largest inner product (less the penalty) for each query."""
        return self._search(query_QD, None, k)

    def search_rows(self, query_QD: Vectors, rows_M: Rows, *, k: int) -> Neighbors:
        """Search only these rows, which must ascend."""
        return self._search(query_QD, rows_M, k)

    def score(self, query_D: Vectors, rows_M: Rows) -> Floats:
        """Return the score of each row, rounded once from float64; memory is bounded."""
        score_M = np.empty(len(rows_M), dtype=np.float32)
        query = query_D.astype(np.float64)
        for block in row_blocks(len(rows_M), self.dim * 8, block_bytes=self.block_bytes):
            rows = rows_M[block]
            product = np.einsum("md,d->m", self.vectors_ND[rows].astype(np.float64), query)
            if self.penalty_N is not None:
                product -= self.penalty_N[rows]
            score_M[block] = product
        return score_M

    def _search(self, query_QD: Vectors, rows_M: Rows | None, k: int) -> Neighbors:
        check_dim(query_QD, self.dim)
        num_queries = len(query_QD)
        found = Neighbors(
            np.full((num_queries, k), -1, dtype=np.int64),
            np.full((num_queries, k), -np.inf, dtype=np.float32),
        )
        for start in range(0, num_queries, QUERIES_AT_ONCE):
            part_QD = np.ascontiguousarray(query_QD[start : start + QUERIES_AT_ONCE])
            pool = _Pool(len(part_QD), k, self._rounding())
            for rows, score_QM in self._products(part_QD, rows_M):
                pool.offer(rows, score_QM)
                if pool.is_full:  # only where very many rows are as good as equal
                    pool.restart(self._best(part_QD, pool, k))
            for query, (rows_K, score_K) in enumerate(self._best(part_QD, pool, k), start):
                found.rows_QK[query, : len(rows_K)] = rows_K
                found.score_QK[query, : len(rows_K)] = score_K
        return found

    def _best(self, query_QD: Vectors, pool: "_Pool", k: int) -> list[tuple[Rows, Floats]]:
        """Score the pool again, and return the k best rows of each query."""
        best = []
        for query_D, rows_P in zip(query_QD, pool.rows_by_query(), strict=True):
            score_P = self.score(query_D, rows_P)
            order = np.lexsort((rows_P, -score_P))[:k]
            best.append((rows_P[order], score_P[order]))
        return best

    def _products(self, query_QD: Vectors, rows_M: Rows | None) -> Iterator[tuple[Rows, Floats]]:
        """Yield the rows of each block with their approximate scores, Q by M."""
        for rows, part_MD, columns in self._parts(len(query_QD), rows_M):
            score_QM = query_QD @ part_MD.T
            if columns is not None:
                score_QM = score_QM[:, columns]
            if self.penalty_N is not None:
                score_QM -= self.penalty_N[rows]
            yield rows, score_QM

    def _parts(
        self, num_queries: int, rows_M: Rows | None
    ) -> Iterator[tuple[Rows, Vectors, Rows | None]]:
        """Yield rows, vectors that hold theirs, and where among these theirs are (None: all)."""
        num_vectors = self.num_vectors
        if rows_M is not None and len(rows_M) < SPARSE_SHARE * num_vectors:
            row_bytes = 4 * max(num_queries, self.dim)
            for block in row_blocks(len(rows_M), row_bytes, block_bytes=self.block_bytes):
                yield rows_M[block], self.vectors_ND[rows_M[block]], None
            return
        for block in row_blocks(num_vectors, 4 * num_queries, block_bytes=self.block_bytes):
            part_MD = self.vectors_ND[block]
            if rows_M is None:
                yield np.arange(block.start, block.stop, dtype=np.int64), part_MD, None
            else:
                first, last = np.searchsorted(rows_M, [block.start, block.stop])
                rows = rows_M[first:last]
                yield rows, part_MD, rows - block.start

    def _rounding(self) -> float:
        """Twice the worst rounding error of a float32 inner product of about unit vectors."""
        return (self.dim + 4) * float(np.finfo(np.float32).eps)


class _Pool:
    """Rows that may still be among the k best of their query, over the blocks seen so far."""

    def __init__(self, num_queries: int, k: int, rounding: float) -> None:
        self._k = k
        self._rounding = rounding
        self._floor_Q = np.full(num_queries, -np.inf, dtype=np.float32)
        self._query_P = np.empty(0, dtype=np.int64)
        self._rows_P = np.empty(0, dtype=np.int64)
        self._score_P = np.empty(0, dtype=np.float32)
        self._waiting: list[tuple[Rows, Rows, Floats]] = []
        self._num_waiting = 0

    def offer(self, rows_M: Rows, score_QM: Floats) -> None:
        """Keep the rows of a block that reach their query's floor."""
        num_rows = score_QM.shape[1]
        if num_rows > self._k and not np.isfinite(self._floor_Q).all():
            place = num_rows - self._k
            kth_Q = np.partition(score_QM, place, axis=1)[:, place]
            self._floor_Q = np.maximum(self._floor_Q, kth_Q - np.float32(self._rounding))
        query_P, column_P = np.nonzero(score_QM >= self._floor_Q[:, None])
        self._waiting.append((query_P, rows_M[column_P], score_QM[query_P, column_P]))
        self._num_waiting += len(query_P)
        if self._num_waiting > POOL_MAX:
            self._prune()

    @property
    def is_full(self) -> bool:
        """True when even the rows that can't be told apart are too many to keep."""
        return len(self._rows_P) > POOL_MAX

    def restart(self, best: list[tuple[Rows, Floats]]) -> None:
        """Keep only these rows and scores of each query."""
        self._query_P = np.repeat(np.arange(len(best)), [len(rows) for rows, _ in best])
        self._rows_P = np.concatenate([rows for rows, _ in best])
        self._score_P = np.concatenate([score for _, score in best])

    def rows_by_query(self) -> list[Rows]:
        """Return the rows that are left for each query, ascending."""
        self._prune()
        starts = np.searchsorted(self._query_P, np.arange(1, len(self._floor_Q)))
        return [np.sort(rows) for rows in np.split(self._rows_P, starts)]

    def _prune(self) -> None:
        """Raise the floors to what was seen, and drop what lies below."""
        parts = [(self._query_P, self._rows_P, self._score_P), *self._waiting]
        query_P, rows_P, score_P = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((-score_P, query_P))
        query_P, rows_P, score_P = query_P[order], rows_P[order], score_P[order]
        start_Q = np.searchsorted(query_P, np.arange(len(self._floor_Q)))
        stop_Q = np.append(start_Q[1:], len(query_P))
        kth_Q = start_Q + self._k - 1
        full = kth_Q < stop_Q
        reached = score_P[kth_Q[full]] - np.float32(self._rounding)
        self._floor_Q[full] = np.maximum(self._floor_Q[full], reached)
        keep = score_P >= self._floor_Q[query_P]
        self._query_P, self._rows_P, self._score_P = query_P[keep], rows_P[keep], score_P[keep]
        self._waiting, self._num_waiting = [], 0


def cosines(vectors_ND: Vectors, query_D: Vectors, rows_K: Rows) -> npt.NDArray[np.float64]:
    """Return the inner product of one query with some rows, float64."""
    product: npt.NDArray[np.float64] = np.einsum(
        "kd,d->k", vectors_ND[rows_K], query_D, dtype=np.float64
    )
    return product
