"""Exact search: the oracle of every other index, and itself fast enough for small galleries.

Blocks of the gallery are multiplied with all queries (float32: one query by FAISS, several by BLAS;
many in bfloat16 where the CPU has it). Rows that could still be among the best within the rounding
error of that product are pooled (`index.shortlist`) and scored again in float64. So the answer
depends neither on the block size, nor on the threads, nor on the CPU, nor on how many queries are
asked together, and identical vectors get identical scores, ordered by row.

Shape key: `N` stored vectors, `M` rows searched, `Q` queries, `K` neighbors, `D` dimensions,
`P` pairs of query and row.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt

from index.products import products_of_one
from index.rough import RoughProducts, rough_products
from index.shortlist import GROUP_SIZE, Shortlist
from index.vectors import NORM_TOLERANCE, Floats, Neighbors, Rows, Vectors, check_dim, row_blocks

QUERIES_AT_ONCE = 256
SCORES_BYTES = 4 * 2**20
"""Scores of one block: few enough to be read again from the cache, enough for the product."""
SPARSE_SHARE = 0.25
"""Below this share of the gallery it is faster to collect the rows than to multiply all of it."""
FEW_GROUPS = 2
"""Groups of rows for each neighbor from which their best rows alone tell what is too low."""
SHARED_MULTIPLICATIONS = 50_000_000
"""Some milliseconds of one core: a smaller search is done before threads have started."""
ROUGH_MULTIPLICATIONS, ROUGH_QUERIES, ROUGH_ROWS_PER_PLACE = 50_000_000, 32, 64
"""Below these a search is done before torch is there, its queries take longer to read than to
multiply, or most of its rows are scored again."""
DENSE = 8
"""Rows kept for each place from which scoring them again costs more than rough products save."""

_Block = tuple[slice, Rows | None]
_Multiply = Callable[[Vectors], Floats]


@dataclass(frozen=True)
class ExactIndex:
    """Searches a matrix, which may be memory-mapped, in bounded memory.

    Attributes:
        vectors_ND: Gallery, float32.
        penalty_N: Subtracted from each row's inner product: the hub correction as an extra
            dimension `-penalty` of the gallery against 1 of the query, without a second copy.
        num_threads: Threads that share the blocks of a large search. BLAS and torch have threads of
            their own: more than one here is faster only where `OPENBLAS_NUM_THREADS` and
            `OMP_NUM_THREADS` are 1, as in the service.
    """

    vectors_ND: Vectors
    penalty_N: Floats | None = None
    block_bytes: int = SCORES_BYTES
    num_threads: int = 1

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
        return self._score_pairs(query_D[None], np.zeros(len(rows_M), dtype=np.int64), rows_M)

    def _search(self, query_QD: Vectors, rows_M: Rows | None, k: int) -> Neighbors:
        check_dim(query_QD, self.dim)
        num_queries = len(query_QD)
        if num_queries == 1:
            alone = self._search_one(query_QD, rows_M, k)
            if alone is not None:
                return alone
        found = Neighbors.none(num_queries, k)
        for start in range(0, num_queries, QUERIES_AT_ONCE):
            part_QD = np.ascontiguousarray(query_QD[start : start + QUERIES_AT_ONCE])
            best = self._best(part_QD, self._shortlist(part_QD, rows_M, k), k)
            for query, (rows_K, score_K) in enumerate(best, start):
                found.rows_QK[query, : len(rows_K)] = rows_K
                found.score_QK[query, : len(rows_K)] = score_K
        return found

    def _search_one(self, query_QD: Vectors, rows_M: Rows | None, k: int) -> Neighbors | None:
        """Return what one query finds in one block, None where the rows take several.

        Keeping a shortlist for the next block would take two thirds of the time.
        """
        num_rows = self.num_vectors if rows_M is None else len(rows_M)
        row_bytes = 4 if rows_M is None else 4 * self.dim  # they are collected
        if num_rows * row_bytes > self.block_bytes or self._shares(num_rows):
            return None
        whole = slice(0, self.num_vectors)
        score_M = self._products(_in_float32(query_QD), whole, rows_M)[:, 0]
        near = np.flatnonzero(score_M >= _floor(score_M, k) - self._rounding())
        rows_P = near if rows_M is None else rows_M[near]
        score_P = self._score_pairs(query_QD, np.zeros(len(near), dtype=np.int64), rows_P)
        order = np.lexsort((rows_P, -score_P))[:k]
        if len(order) == k:
            return Neighbors(rows_P[order][None], score_P[order][None])
        found = Neighbors.none(1, k)
        found.rows_QK[0, : len(order)] = rows_P[order]
        found.score_QK[0, : len(order)] = score_P[order]
        return found

    def _shortlist(self, query_QD: Vectors, rows_M: Rows | None, k: int) -> Shortlist:
        """Pass over the gallery, on several threads where that pays."""
        num_rows = self.num_vectors if rows_M is None else len(rows_M)
        threads = self.num_threads
        if not self._shares(num_rows * len(query_QD)):
            return self._pass_over(query_QD, self._blocks(len(query_QD), rows_M), k, num_rows)
        with ThreadPoolExecutor(threads) as pool:
            parts = [
                pool.submit(
                    self._pass_over,
                    query_QD,
                    islice(self._blocks(len(query_QD), rows_M), first, None, threads),
                    k,
                    num_rows,
                )
                for first in range(threads)
            ]
            whole = parts[0].result()
            for part in parts[1:]:
                whole.absorb(part.result())
        return whole

    def _shares(self, num_products: int) -> bool:
        """Tell whether so many inner products pay for several threads."""
        return self.num_threads > 1 and num_products * self.dim >= SHARED_MULTIPLICATIONS

    def _pass_over(
        self, query_QD: Vectors, blocks: Iterator[_Block], k: int, num_rows: int
    ) -> Shortlist:
        """Offer the approximate scores of all blocks, M by Q each."""
        rough = self._rough_products(query_QD, k, num_rows)
        multiply = _in_float32(query_QD) if rough is None else rough.of
        shortlist = Shortlist(len(query_QD), k, self._rounding(rough))
        for block, rows_M in blocks:
            score_MQ = self._products(multiply, block, rows_M)
            if rows_M is None:
                rows_M = np.arange(block.start, block.stop, dtype=np.int64)
            shortlist.offer(rows_M, score_MQ)
            is_dense = rough is not None and shortlist.num_kept > DENSE * k * len(query_QD)
            if shortlist.is_full or is_dense:  # very many rows are as good as equal
                rough, multiply = None, _in_float32(query_QD)
                shortlist.restart(self._best(query_QD, shortlist, k), self._rounding())
        return shortlist

    def _rough_products(self, query_QD: Vectors, k: int, num_rows: int) -> RoughProducts | None:
        """Return how to multiply in bfloat16; None where it does not pay, or the CPU lacks it."""
        is_large = num_rows * len(query_QD) * self.dim >= ROUGH_MULTIPLICATIONS
        if len(query_QD) < ROUGH_QUERIES or num_rows < ROUGH_ROWS_PER_PLACE * k or not is_large:
            return None
        return rough_products(query_QD)

    def _products(self, multiply: _Multiply, block: slice, rows_M: Rows | None) -> Floats:
        """Return the scores of a block of the gallery, or of some rows of it."""
        if rows_M is None:
            score_MQ = multiply(self.vectors_ND[block])
        elif len(rows_M) < SPARSE_SHARE * (block.stop - block.start):
            score_MQ = multiply(self.vectors_ND[rows_M])
        else:
            score_MQ = multiply(self.vectors_ND[block])[rows_M - block.start]
        if self.penalty_N is not None:
            score_MQ -= self.penalty_N[block if rows_M is None else rows_M, None]
        return score_MQ

    def _blocks(self, num_queries: int, rows_M: Rows | None) -> Iterator[_Block]:
        """Yield parts of the gallery, each with those of the rows that lie in it (None: all)."""
        if rows_M is None:
            for block in row_blocks(
                self.num_vectors, 4 * num_queries, block_bytes=self.block_bytes
            ):
                yield block, None
        elif len(rows_M) < SPARSE_SHARE * self.num_vectors:
            row_bytes = 4 * max(num_queries, self.dim)
            for part in row_blocks(len(rows_M), row_bytes, block_bytes=self.block_bytes):
                yield slice(0, self.num_vectors), rows_M[part]
        else:
            for block in row_blocks(
                self.num_vectors, 4 * num_queries, block_bytes=self.block_bytes
            ):
                first, last = np.searchsorted(rows_M, [block.start, block.stop])
                yield block, rows_M[first:last]

    def _best(self, query_QD: Vectors, shortlist: Shortlist, k: int) -> list[tuple[Rows, Floats]]:
        """Score what is left again, and return the k best rows of each query."""
        query_P, rows_P = shortlist.pairs()
        score_P = self._score_pairs(query_QD, query_P, rows_P)
        order = np.lexsort((rows_P, -score_P, query_P))
        rows_P, score_P = rows_P[order], score_P[order]
        borders = np.searchsorted(query_P, np.arange(len(query_QD) + 1)).tolist()
        places = [slice(start, min(stop, start + k)) for start, stop in pairwise(borders)]
        return [(rows_P[place], score_P[place]) for place in places]

    def _score_pairs(self, query_QD: Vectors, query_P: Rows, rows_P: Rows) -> Floats:
        """Return the score of each pair, rounded once from float64."""
        score_P = np.empty(len(rows_P), dtype=np.float32)
        query = query_QD.astype(np.float64)
        for block in row_blocks(len(rows_P), self.dim * 16, block_bytes=self.block_bytes):
            rows = rows_P[block]
            vectors = self.vectors_ND[rows].astype(np.float64)
            product = np.einsum("pd,pd->p", vectors, query[query_P[block]])
            if self.penalty_N is not None:
                product -= self.penalty_N[rows]
            score_P[block] = product
        return score_P

    def _rounding(self, rough: RoughProducts | None = None) -> float:
        """Return twice the worst error of an inner product of about unit vectors."""
        of_float32 = (self.dim + 4) * float(np.finfo(np.float32).eps)
        of_vectors = 2 * (1 + NORM_TOLERANCE)
        return of_float32 if rough is None else of_float32 + of_vectors * rough.largest_error


def _in_float32(query_QD: Vectors) -> _Multiply:
    """Return how to multiply, M by Q."""
    if len(query_QD) == 1:
        return lambda vectors_MD: products_of_one(query_QD[0], vectors_MD)[:, None]
    return lambda vectors_MD: vectors_MD @ query_QD.T


def _floor(score_M: Floats, k: int) -> np.float32:
    """Return a score that k rows reach, the best of each group of rows for many; -inf for few."""
    if len(score_M) >= FEW_GROUPS * k * GROUP_SIZE:
        grouped = len(score_M) // GROUP_SIZE * GROUP_SIZE
        score_M = score_M[:grouped].reshape(GROUP_SIZE, -1).max(axis=0)
    if len(score_M) <= k:
        return np.float32(-np.inf)
    kth: np.float32 = np.partition(score_M, len(score_M) - k)[len(score_M) - k]
    return kth


def cosines(vectors_ND: Vectors, query_D: Vectors, rows_K: Rows) -> npt.NDArray[np.float64]:
    """Return the inner product of one query with some rows, float64."""
    product: npt.NDArray[np.float64] = np.einsum(
        "kd,d->k", vectors_ND[rows_K], query_D, dtype=np.float64
    )
    return product
