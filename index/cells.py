"""An approximate index of a slice: an inverted file over cells of its own (FAISS IVF-Flat).

A filter that lets through whole groups of users leaves whole parts of the space empty. An index of
everyone looks for neighbors there in vain; cells of those who pass lie where they are. It is made
in memory within a second or so for a hundred thousand users, and probes as many cells as sampled
queries need, from within the slice and from without.

Shape key: `M` users of a slice, `Q` queries, `K` neighbors, `D` dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from index.exact import ExactIndex
from index.vectors import Floats, Neighbors, Vectors, check_dim, row_blocks, ties_by_row

TRAIN_PER_CELL = 40
ITERATIONS = 8
TUNED_KS = (10, 100)
RECALL = 0.995
SCORE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class CellIndex:
    """Finds rows of a slice in the cells nearest to a query.

    Attributes:
        inverted: The inverted file; where there are penalties, with `-penalty` as last dimension.
        dim: D of the queries.
        probes: Cells to probe for up to as many neighbors as `TUNED_KS` says.
    """

    inverted: Any
    dim: int
    probes: tuple[int, ...]

    @classmethod
    def build(cls, exact: ExactIndex, samples: Sequence[Vectors], *, seed: int) -> "CellIndex":
        """Index what `exact` searches.

        Args:
            exact: The slice, at least one row.
            samples: Queries of several kinds; probes are chosen so that each kind is served.
            seed: Of the sample that cells are learned from.
        """
        num_rows, width = exact.num_vectors, exact.dim + int(exact.penalty_N is not None)
        num_cells = max(int(np.sqrt(num_rows)), 1)
        inverted = faiss.IndexIVFFlat(
            faiss.IndexFlatIP(width), width, num_cells, faiss.METRIC_INNER_PRODUCT
        )
        inverted.cp.seed = seed + 1
        inverted.cp.niter = ITERATIONS
        inverted.cp.min_points_per_centroid = 1  # few users are no reason to warn
        sample = np.random.default_rng([seed, 8]).choice(
            num_rows, min(num_rows, TRAIN_PER_CELL * num_cells), replace=False
        )
        inverted.train(_gallery(exact, np.sort(sample)))
        for block in row_blocks(num_rows, width * 4):
            inverted.add(_gallery(exact, block))
        index = cls(inverted, exact.dim, (1,))
        probes: list[int] = []
        for k in TUNED_KS:
            true = [exact.search(query_QD, k=min(k, num_rows)) for query_QD in samples]
            probes.append(index.least_probes(samples, true, start=max([1, *probes])))
        return cls(inverted, exact.dim, tuple(probes))

    @property
    def num_vectors(self) -> int:
        """M."""
        return int(self.inverted.ntotal)

    def least_probes(
        self, samples: Sequence[Vectors], true: Sequence[Neighbors], *, start: int
    ) -> int:
        """Return about how many cells reach the recall: doubled until they do, then halfway."""
        most = probes = start
        while most < self.inverted.nlist and self._least_recall(samples, true, most) < RECALL:
            probes, most = most, min(2 * most, self.inverted.nlist)
        halfway = (probes + most + 1) // 2
        if halfway < most and self._least_recall(samples, true, halfway) >= RECALL:
            return halfway
        return most

    def _least_recall(
        self, samples: Sequence[Vectors], true: Sequence[Neighbors], probes: int
    ) -> float:
        """Return the least mean share of hits that reach the worst true one, by sample."""
        recall = []
        for query_QD, best in zip(samples, true, strict=True):
            found = self._probe(query_QD, best.rows_QK.shape[1], probes)
            reached = found.score_QK >= best.score_QK[:, -1:] - SCORE_TOLERANCE
            recall.append(float(reached.mean()))
        return min(recall)

    def suits(self, k: int) -> bool:
        """Tell whether it is known how many cells so many neighbors need."""
        return k <= TUNED_KS[-1]

    def search(self, query_QD: Vectors, *, k: int) -> Neighbors:
        """Return about the k best rows of the slice for each query, -1 where too few were met."""
        check_dim(query_QD, self.dim)
        return self._probe(query_QD, k, self.probes[int(k > TUNED_KS[0])])

    def _probe(self, query_QD: Vectors, k: int, num_probes: int) -> Neighbors:
        query = np.ascontiguousarray(query_QD)
        if self.inverted.d != self.dim:
            query = np.hstack([query, np.ones((len(query), 1), dtype=np.float32)])
        width = faiss.SearchParametersIVF(nprobe=num_probes)  # type: ignore[call-arg]  # not in its stubs
        score_QK, rows_QK = self.inverted.search(query, k, params=width)
        score_QK = np.where(rows_QK < 0, np.float32(-np.inf), score_QK)
        return ties_by_row(Neighbors(rows_QK, score_QK))


def _gallery(exact: ExactIndex, rows: Any) -> Floats:
    """Return some rows with their penalties as one more dimension."""
    part = exact.vectors_ND[rows]
    if exact.penalty_N is not None:
        part = np.hstack([part, -exact.penalty_N[rows, None]])
    return np.ascontiguousarray(part)
