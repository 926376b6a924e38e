"""Exact scores for the candidates of a search in compressed codes.

The stored vectors are read where the build has them, mapped, so that no second copy is kept.

Shape key: `N` stored vectors, `E` entries, `Q` queries, `C` candidates, `K` neighbors,
`D` dimensions.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from index.products import products_of_rows
from index.vectors import Floats, Neighbors, Rows, Vectors

Number = TypeVar("Number", np.int64, np.float32)

SPARE_FROM, SPARE_UP_TO = 11, 100
"""Neighbors between which spare candidates grow with k: fewer spoil the hundredth neighbor. A user
is asked for one more than ten, itself, and newcomers must not be told less."""


@dataclass(frozen=True)
class ExactScores:
    """The exact scores of entries: inner products less the hub penalty.

    Attributes:
        vectors_ND: Stored vectors, float32.
        rows_E: One row of each entry.
        penalty_N: Subtracted from each row's inner product; None for no correction.
    """

    vectors_ND: Vectors
    rows_E: Rows
    penalty_N: Floats | None

    def best(self, query_QD: Vectors, entry_QC: Rows, *, k: int) -> Neighbors:
        """Return the k best of each query's candidates, best first.

        Args:
            query_QD: Unit vectors, float32.
            entry_QC: Candidates, -1 where there are fewer than C, C >= k.
            k: Entries per query.
        """
        num_queries, num_candidates = entry_QC.shape
        if num_queries == 1:
            return self._best_of_one(query_QD[0], entry_QC[0], k)
        entry, score = entry_QC, self._scores(query_QD, entry_QC)
        if k < num_candidates:
            kept = np.argpartition(-score, k - 1, axis=1)[:, :k]
            entry, score = _taken(entry, kept), _taken(score, kept)
        order = np.argsort(-score, axis=1, kind="stable")
        return Neighbors(_taken(entry, order), _taken(score, order))

    def _best_of_one(self, query_D: Vectors, entry_C: Rows, k: int) -> Neighbors:
        """Do what `best` does, for one query in a third of the time."""
        rows_C = self.rows_E.take(entry_C)
        score_C = products_of_rows(query_D[None], self.vectors_ND, rows_C[None])[0]
        if self.penalty_N is not None:
            score_C -= self.penalty_N.take(rows_C)
        if entry_C.min() < 0:
            score_C[entry_C < 0] = -np.inf
        order = (-score_C).argsort(kind="stable")[:k]
        return Neighbors(entry_C.take(order)[None], score_C.take(order)[None])

    def _scores(self, query_QD: Vectors, entry_QC: Rows) -> Floats:
        """Return the score of each candidate, -inf for none."""
        rows_QC = self.rows_E[entry_QC]
        score_QC = products_of_rows(query_QD, self.vectors_ND, rows_QC)
        if self.penalty_N is not None:
            score_QC -= self.penalty_N[rows_QC]
        if (entry_QC < 0).any():
            score_QC[entry_QC < 0] = -np.inf
        return score_QC


def num_candidates(k: int, refine: int) -> int:
    """Return how many candidates are scored again, `refine` for each of k from 11 to 100."""
    return k + min(max(k, SPARE_FROM), SPARE_UP_TO) * (refine - 1)


def _taken(values_QC: npt.NDArray[Number], place_QK: Rows) -> npt.NDArray[Number]:
    """Do what `np.take_along_axis` does in half its time, which counts for one query."""
    return values_QC[np.arange(len(values_QC))[:, None], place_QK]
