"""One search over a build: which view, which mode, without whom.

Shape key: `Q` queries, `K` neighbors, `D` dimensions.
"""

import numpy as np

from index.answers import Filter, NeighborRequest, SearchMode
from index.build import Build
from index.overfetch import overfetch
from index.slices import renamed
from index.tombstones import Tombstones
from index.vectors import Neighbors, Rows, Vectors


def find_neighbors(
    build: Build,
    query_QD: Vectors,
    request: NeighborRequest,
    tombstones: Tombstones,
    *,
    own_rows_Q: Rows | None = None,
) -> tuple[Rows, list[SearchMode]]:
    """Return the best rows for each query, Q by k and padded by -1, and how each was found.

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
        found, modes_Q = _search(build, query_QD, request, request.k + spare)
        rows_QK = found.rows_QK
        if tombstones.num_hidden:
            rows_QK = _at_the_end(tombstones.blank(rows_QK))
        if own_rows_Q is not None:
            rows_QK = _without_own(rows_QK, own_rows_Q)
        is_short_Q = rows_QK[:, request.k - 1] < 0
        if spare == most or not (is_short_Q & (found.rows_QK[:, -1] >= 0)).any():
            return rows_QK[:, : request.k], modes_Q
        spare = min(most, 4 * spare)  # the hidden crowd around a query; rarely, and at most all


def _search(
    build: Build, query_QD: Vectors, request: NeighborRequest, k: int
) -> tuple[Neighbors, list[SearchMode]]:
    num_queries = len(query_QD)
    if request.filter is not None:
        return _search_filtered(build, query_QD, request, request.filter, k)
    if request.known_violators:
        found = build.violators.search(query_QD, k=k)
        return renamed(found, build.violator_rows), ["exact"] * num_queries
    approximate = build.approximate
    if approximate is not None and not request.exact:
        found = approximate.search(query_QD, k=k, effort=request.ef_search)
        return found, [approximate.inner.kind] * num_queries
    return build.everyone.search(query_QD, k=k), ["exact"] * num_queries


def _search_filtered(
    build: Build, query_QD: Vectors, request: NeighborRequest, condition: Filter, k: int
) -> tuple[Neighbors, list[SearchMode]]:
    """Search those who pass, each query in the way that is cheaper for it."""
    part = build.slices.get(condition, known_violators=request.known_violators)
    costs = build.manifest.costs
    if build.approximate is None or costs is None or request.exact:
        return part.search(query_QD, k=k), ["exact_filtered"] * len(query_QD)
    if len(part.rows_M) == build.manifest.num_users:
        found = build.approximate.search(query_QD, k=k, effort=request.ef_search)
        return found, ["approximate_filtered"] * len(query_QD)
    near = part.search_cells(query_QD, k=k)
    if near is not None:
        done_Q = near.rows_QK[:, -1] >= 0
    else:
        near, done_Q = overfetch(
            build.approximate, part, query_QD, k=k, costs=costs, effort=request.ef_search
        )
    left = np.flatnonzero(~done_Q)
    if len(left):
        exact = part.search(query_QD[left], k=k)
        near.rows_QK[left], near.score_QK[left] = exact.rows_QK, exact.score_QK
    return near, ["approximate_filtered" if done else "exact_filtered" for done in done_Q.tolist()]


def _without_own(rows_QK: Rows, own_rows_Q: Rows) -> Rows:
    """Move each query's own row, if it was found, behind all others, and blank it."""
    own = (rows_QK == own_rows_Q[:, None]) & (rows_QK >= 0)
    return _at_the_end(np.where(own, -1, rows_QK))


def _at_the_end(rows_QK: Rows) -> Rows:
    """Move what is blank behind all others, which keep their order."""
    order = np.argsort(rows_QK < 0, axis=1, kind="stable")
    rest: Rows = np.take_along_axis(rows_QK, order, axis=1)
    return rest
