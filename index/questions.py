"""What an index is asked to see what it finds: queries, and the true answers.

Queries are users drawn anew, each without itself, and as many points halfway between such a user
and one of its neighbors. Those lie where users lie, but the index has never seen them: a stored
vector is easier to find the way to, as newcomers' are not (of our own graph they are
newcomers: `index/newcomers.py`). True answers are found once, by exact search.

Shape key: `N` stored vectors, `Q` queries, `M` newcomers among them,
`K` neighbors, `D` dimensions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Protocol

import numpy as np
import numpy.typing as npt

from index.exact import ExactIndex
from index.recall import sample_rows
from index.vectors import Floats, Neighbors, Rows, Vectors

DEPTHS = (10, 100)

Recalls = npt.NDArray[np.float64]


class ExactSearch(Protocol):
    """Finds the true neighbors among the rows that are to be found."""

    def __call__(self, query_QD: Vectors, /, *, k: int) -> Neighbors: ...


@dataclass(frozen=True)
class Questions:
    """Queries and what a true answer must reach.

    Attributes:
        query_QD: Unit vectors, float32.
        own_Q: Row that is not to be counted, -1 for none.
        floor_Q: For each k, the score of the true k-th neighbor.
        count_Q: For each k, how many neighbors there are: k, or fewer in a small gallery.
        population: Queries that the sample stands for: all users, and mostly a point beside each.
        are_newcomers: The index does not know the users among the queries, who alone must reach
            the target too: points beside them are easier.
    """

    query_QD: Vectors
    own_Q: Rows
    floor_Q: Mapping[int, Floats]
    count_Q: Mapping[int, Rows]
    population: int
    are_newcomers: bool = False

    @property
    def stored_rows(self) -> Rows:
        """The users among the queries."""
        return self.own_Q[self.own_Q >= 0]

    def part(self, num: int) -> "Questions":
        """Return `num` of the queries, evenly spread."""
        return self.only(np.unique(np.linspace(0, len(self.own_Q) - 1, num).astype(np.int64)))

    def only(self, chosen: Rows) -> "Questions":
        """Return some of the queries."""
        return replace(
            self,
            query_QD=self.query_QD[chosen],
            own_Q=self.own_Q[chosen],
            floor_Q={k: floor[chosen] for k, floor in self.floor_Q.items()},
            count_Q={k: count[chosen] for k, count in self.count_Q.items()},
        )

    def mean_of(self, recall_Q: Recalls) -> float:
        """Return the mean of all queries, or that of newcomers where it is lower."""
        return min(float(recall_Q.mean()), float(self._of_newcomers(recall_Q).mean()))

    def bound_of_newcomers(self, recall_Q: Recalls, confidence: float) -> float:
        """Return a one-sided normal bound of the mean of newcomers alone, 1 without any."""
        if not self.has_newcomers:
            return 1.0
        recall_M = self._of_newcomers(recall_Q)
        z = NormalDist().inv_cdf(confidence)
        return float(recall_M.mean() - z * recall_M.std() / math.sqrt(len(recall_M)))

    @property
    def has_newcomers(self) -> bool:
        """Whether users whom the index does not know are among the queries."""
        return self.are_newcomers and bool((self.own_Q >= 0).any())

    def _of_newcomers(self, recall_Q: Recalls) -> Recalls:
        """Return the recalls of newcomers, or all of them if there is none."""
        return recall_Q[self.own_Q >= 0] if self.has_newcomers else recall_Q


def ask(exact: ExactIndex, *, num: int, generator: np.random.Generator) -> Questions:
    """Draw `num` queries, half of them stored users, and find their true neighbors."""
    rows_Q = sample_rows(exact.num_vectors, num=-(-num // 2), generator=generator)
    return ask_beside(exact, rows_Q, exact.search, 2 * exact.num_vectors, generator=generator)


def ask_beside(
    exact: ExactIndex,
    rows_Q: Rows,
    search: ExactSearch,
    population: int,
    *,
    generator: np.random.Generator,
    num_beside: int | None = None,
) -> Questions:
    """Ask what some users, and points beside them, are to find.

    Args:
        exact: Holds the vectors.
        rows_Q: The users.
        search: Returns the k best rows of those that are to be found, for k as a keyword.
        population: Queries that these stand for.
        generator: Draws the points.
        num_beside: Of so many of the users; None for all of them.
    """
    stored = np.ascontiguousarray(exact.vectors_ND[rows_Q])
    near = search(stored, k=max(DEPTHS) + 1)
    beside = sample_rows(
        len(rows_Q), num=len(rows_Q) if num_beside is None else num_beside, generator=generator
    )
    partner = near.rows_QK[beside, : DEPTHS[0] + 1]
    chosen = generator.integers(0, (partner >= 0).sum(axis=1))
    between = stored[beside] + exact.vectors_ND[partner[np.arange(len(partner)), chosen]]
    length = np.linalg.norm(between, axis=1, keepdims=True)
    between = np.where(length > 0, between / np.maximum(length, 1e-12), stored[beside])
    further = search(np.ascontiguousarray(between), k=max(DEPTHS) + 1)
    found = Neighbors(
        np.concatenate([near.rows_QK, further.rows_QK]),
        np.concatenate([near.score_QK, further.score_QK]),
    )
    own_Q = np.concatenate([rows_Q, np.full(len(between), -1)])
    query_QD = np.concatenate([stored, between]).astype(np.float32)
    return answered(query_QD, own_Q, found, population)


def answered(query_QD: Vectors, own_Q: Rows, found: Neighbors, population: int) -> Questions:
    """Return queries with what the true neighbors tell: the 101 best rows, or all there are."""
    floors = {k: _kth(found.rows_QK, found.score_QK, own_Q, k) for k in DEPTHS}
    return Questions(
        query_QD,
        own_Q,
        {k: floor for k, (floor, _) in floors.items()},
        {k: count for k, (_, count) in floors.items()},
        population,
    )


def _kth(rows_QK: Rows, score_QK: Floats, own_Q: Rows, k: int) -> tuple[Floats, Rows]:
    """Return the score of each query's k-th (or last) neighbor but itself, and how many to find."""
    others = (rows_QK >= 0) & (rows_QK != own_Q[:, None])
    counted = others & (np.cumsum(others, axis=1) <= k)
    floor_Q: Floats = np.where(counted, score_QK, np.inf).min(axis=1).astype(np.float32)
    return floor_Q, counted.sum(axis=1)
