"""What searches of a build cost, as measured when it was made.

The service takes the cheaper way to an answer. What is cheap depends on the data and the machine,
so it is measured; it is measured once and kept in the manifest, so that all workers of a service,
and the same one tomorrow, answer alike.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors, `D` dimensions.
"""

import math
import time
from collections.abc import Callable

import numpy as np
from pydantic import BaseModel, Field

from index.approximate import ApproximateIndex
from index.exact import ExactIndex
from index.recall import sample_rows
from index.vectors import Vectors

FEW_ROWS, MANY_ROWS = 256, 16_384
FEW_HITS, MANY_HITS = 10, 100
"""Up to a hundred are fetched; a graph's effort grows up to there, and not beyond."""
NUM_QUERIES = 30
EXACT_WORTH = 1.5
"""Times an approximate search of everyone that an exact one of some may cost."""


class SearchCosts(BaseModel, frozen=True, extra="forbid"):
    """Straight lines through the times of single queries, in microseconds.

    Attributes:
        exact_us: Of an exact search, whatever is searched; `exact_row_us` comes for each row.
        approximate_us: Of an approximate search; `approximate_hit_us` comes for each row wanted.
    """

    exact_us: float = Field(ge=0)
    exact_row_us: float = Field(ge=0)
    approximate_us: float = Field(ge=0)
    approximate_hit_us: float = Field(ge=0)

    def exact(self, num_rows: int) -> float:
        """Return what one query costs among so many rows."""
        return self.exact_us + self.exact_row_us * num_rows

    @property
    def scanned_up_to(self) -> float:
        """Among how many rows an exact search is worth its cost beside one of everyone."""
        spare_us = EXACT_WORTH * self.approximate(FEW_HITS) - self.exact_us
        return max(spare_us, 0.0) / self.exact_row_us if self.exact_row_us else math.inf

    def approximate(self, num_hits: int) -> float:
        """Return what one query for so many rows costs."""
        return self.approximate_us + self.approximate_hit_us * num_hits


def measure_costs(exact: ExactIndex, approximate: ApproximateIndex, *, seed: int) -> SearchCosts:
    """Measure with stored vectors as queries; takes tenths of a second."""
    generator = np.random.default_rng([seed, NUM_QUERIES])
    rows_Q = sample_rows(exact.num_vectors, num=NUM_QUERIES, generator=generator)
    query_QD = np.ascontiguousarray(exact.vectors_ND[rows_Q])
    num_rows = min(MANY_ROWS, exact.num_vectors)
    many = ExactIndex(
        np.ascontiguousarray(exact.vectors_ND[:num_rows]),
        None if exact.penalty_N is None else exact.penalty_N[:num_rows],
    )
    few = ExactIndex(
        many.vectors_ND[:FEW_ROWS], None if many.penalty_N is None else many.penalty_N[:FEW_ROWS]
    )
    exact_us, exact_row_us = _line(
        (few.num_vectors, _least_us(query_QD, lambda one: few.search(one, k=FEW_HITS))),
        (many.num_vectors, _least_us(query_QD, lambda one: many.search(one, k=FEW_HITS))),
    )
    num_hits = min(MANY_HITS, exact.num_vectors)
    approximate_us, approximate_hit_us = _line(
        (FEW_HITS, _least_us(query_QD, lambda one: approximate.search(one, k=FEW_HITS))),
        (num_hits, _least_us(query_QD, lambda one: approximate.search(one, k=num_hits))),
    )
    return SearchCosts(
        exact_us=exact_us,
        exact_row_us=exact_row_us,
        approximate_us=approximate_us,
        approximate_hit_us=approximate_hit_us,
    )


def _least_us(query_QD: Vectors, search: Callable[[Vectors], object]) -> float:
    """Return the least time of several single queries: whatever else ran is not their cost."""
    taken_ns = []
    for query in range(len(query_QD)):
        started_ns = time.perf_counter_ns()
        search(query_QD[query : query + 1])
        taken_ns.append(time.perf_counter_ns() - started_ns)
    return min(taken_ns) / 1_000


def _line(first: tuple[int, float], second: tuple[int, float]) -> tuple[float, float]:
    """Return start and slope of the line through two points, neither below zero."""
    (few, few_us), (many, many_us) = first, second
    slope = max(0.0, (many_us - few_us) / max(many - few, 1))
    return max(0.0, few_us - slope * few), slope
