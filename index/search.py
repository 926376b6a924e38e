"""One search over a build: which view, which mode, without whom.

Shape key: `Q` queries, `K` neighbors, `D` dimensions.
"""

import numpy as np

from index.answers import NeighborRequest, SearchMode
from index.build import Build
from index.filters import rows_passing
from index.vectors import Neighbors, Rows, Vectors


def find_neighbors(
    build: Build, query_QD: Vectors, request: NeighborRequest, *, own_rows_Q: Rows | None = None
) -> tuple[Rows, SearchMode]:
    """Return the best rows for each query, Q by k and padded by -1, and how they were found.

    Args:
        build: What to search.
        query_QD: Unit vectors.
        request: View, filter, mode and number of neighbors.
        own_rows_Q: Row of the user behind each query, -1 for none; never among the answers.
    """
    k = request.k if own_rows_Q is None else request.k + 1
    found, mode = _search(build, query_QD, request, k)
    if own_rows_Q is None:
        return found.rows_QK, mode
    return _without_own(found.rows_QK, own_rows_Q)[:, : request.k], mode


def _search(
    build: Build, query_QD: Vectors, request: NeighborRequest, k: int
) -> tuple[Neighbors, SearchMode]:
    if request.filter is not None:
        among = build.violator_rows if request.known_violators else None
        rows = rows_passing(build.users, request.filter, among=among)
        return build.everyone.search_rows(query_QD, rows, k=k), "exact_filtered"
    if request.known_violators:
        found = build.violators.search(query_QD, k=k)
        return _renamed(found, build.violator_rows), "exact"
    if build.graph is not None and not request.exact:
        return build.graph.search(query_QD, k=k, ef_search=request.ef_search), "hnsw"
    return build.everyone.search(query_QD, k=k), "exact"


def _renamed(found: Neighbors, rows_of_view: Rows) -> Neighbors:
    """Return rows of the build instead of rows of a view."""
    if len(rows_of_view) == 0:
        return found
    rows_QK = np.where(found.rows_QK >= 0, rows_of_view[found.rows_QK], -1)
    return Neighbors(rows_QK, found.score_QK)


def _without_own(rows_QK: Rows, own_rows_Q: Rows) -> Rows:
    """Move each query's own row, if it was found, behind all others, and blank it."""
    own = (rows_QK == own_rows_Q[:, None]) & (rows_QK >= 0)
    order = np.argsort(own, axis=1, kind="stable")
    rest: Rows = np.take_along_axis(np.where(own, -1, rows_QK), order, axis=1)
    return rest
