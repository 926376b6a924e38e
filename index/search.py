"""One search over a build: which view, which mode, without whom.

Shape key: `Q` queries, `K` neighbors, `D` dimensions.
"""

import numpy as np

from index.answers import NeighborRequest, SearchMode
from index.build import Build
from index.filters import rows_passing
from index.tombstones import Tombstones
from index.vectors import Neighbors, Rows, Vectors


def find_neighbors(
    build: Build,
    query_QD: Vectors,
    request: NeighborRequest,
    tombstones: Tombstones,
    *,
    own_rows_Q: Rows | None = None,
) -> tuple[Rows, SearchMode]:
    """Return the best rows for each query, Q by k and padded by -1, and how they were found.

    Args:
        build: What to search.
        query_QD: Unit vectors.
        request: View, filter, mode and number of neighbors.
        tombstones: Rows that are never among the answers, nor take a place from others.
        own_rows_Q: Row of the user behind each query, -1 for none; never among the answers.
    """
    num_own = 0 if own_rows_Q is None else 1
    most = num_own + tombstones.num_hidden
    spare = min(most, num_own + 2 * tombstones.num_expected(request.k))
    while True:
        found, mode = _search(build, query_QD, request, tombstones, request.k + spare)
        rows_QK = found.rows_QK
        if tombstones.num_hidden:
            rows_QK = _at_the_end(tombstones.blank(rows_QK))
        if own_rows_Q is not None:
            rows_QK = _without_own(rows_QK, own_rows_Q)
        is_short_Q = rows_QK[:, request.k - 1] < 0
        if spare == most or not (is_short_Q & (found.rows_QK[:, -1] >= 0)).any():
            return rows_QK[:, : request.k], mode
        spare = min(most, 4 * spare)  # the hidden crowd around a query; rarely, and at most all


def _search(
    build: Build, query_QD: Vectors, request: NeighborRequest, tombstones: Tombstones, k: int
) -> tuple[Neighbors, SearchMode]:
    if build.remote is not None and not request.exact:
        return build.remote.find(query_QD, request, tombstones, k=k)
    if request.filter is not None:
        among = build.violator_rows if request.known_violators else None
        rows = tombstones.visible(rows_passing(build.users, request.filter, among=among))
        return build.everyone.search_rows(query_QD, rows, k=k), "exact_filtered"
    if request.known_violators:
        found = build.violators.search(query_QD, k=k)
        return _renamed(found, build.violator_rows), "exact"
    approximate = build.approximate
    if approximate is not None and not request.exact:
        found = approximate.search(query_QD, k=k, effort=request.ef_search)
        return found, approximate.inner.kind
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
    return _at_the_end(np.where(own, -1, rows_QK))


def _at_the_end(rows_QK: Rows) -> Rows:
    """Move what is blank behind all others, which keep their order."""
    order = np.argsort(rows_QK < 0, axis=1, kind="stable")
    rest: Rows = np.take_along_axis(rows_QK, order, axis=1)
    return rest
