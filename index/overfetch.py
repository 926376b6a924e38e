"""Filtered search through the approximate index of everyone: fetch more, keep those that pass.

Where many users pass, the nearest of everyone hold enough of them, and finding those costs less
than scanning all who pass. It is not so around every query: a filter may let through whole groups
of users and none of others. So what passes is counted for each query, and more is fetched where it
was too few. An index is tuned for its hundredth neighbor, and nobody knows what it misses farther
out: a query that would need more than that, or more than the scan costs, is left to the scan.

Shape key: `Q` queries, `K` neighbors, `F` entries fetched.
"""

import numpy as np
import numpy.typing as npt

from index.approximate import EntryIndex
from index.costs import SearchCosts
from index.questions import DEPTHS
from index.slices import Slice
from index.vectors import Neighbors, Rows, Vectors

SPARE = 2
"""Times as many are fetched as would do: the last ones that an approximate index finds are its
least certain."""
FETCHED_MAX = max(DEPTHS)


def overfetch(
    approximate: EntryIndex,
    part: Slice,
    query_QD: Vectors,
    *,
    k: int,
    costs: SearchCosts,
    effort: int | None = None,
) -> tuple[Neighbors, npt.NDArray[np.bool_]]:
    """Return the k best entries of a slice for the queries that this suits, and which those are.

    Entries of the other queries are -1. With the same arguments the answer is the same: measured
    costs are an argument.
    """
    num_queries, num_entries = len(query_QD), approximate.num_entries
    found = Neighbors.none(num_queries, k)
    done_Q = np.zeros(num_queries, dtype=np.bool_)
    pending = np.arange(num_queries)
    limit_us = costs.exact(len(part.rows_M))
    num_fetched = -(-SPARE * k * num_entries // max(len(part.rows_M), 1))
    while (
        len(pending)
        and len(part.rows_M) > k
        and num_fetched <= FETCHED_MAX
        and costs.approximate(num_fetched) < limit_us
    ):
        limit_us -= costs.approximate(num_fetched)
        near = approximate.search_entries(
            query_QD[pending], k=min(num_fetched, num_entries), effort=effort
        )
        passes_QF = part.holds(near.rows_QK) & (near.rows_QK >= 0)
        num_Q = passes_QF.sum(axis=1)
        enough_Q = num_Q >= k
        chosen = pending[enough_Q]
        column_QK = np.argsort(~passes_QF[enough_Q], axis=1, kind="stable")[:, :k]
        found.rows_QK[chosen] = np.take_along_axis(near.rows_QK[enough_Q], column_QK, axis=1)
        found.score_QK[chosen] = np.take_along_axis(near.score_QK[enough_Q], column_QK, axis=1)
        done_Q[chosen] = True
        pending = pending[~enough_Q]
        num_fetched *= _growth(num_Q[~enough_Q], k)
    return found, done_Q


def _growth(num_Q: Rows, k: int) -> int:
    """Return how many times as many to fetch, by the query for which most passed."""
    most = int(num_Q.max(initial=0))
    return -(-SPARE * k // max(most, 1))
