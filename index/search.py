"""One search over a build: which view, which mode, without whom.

Entries (distinct vectors) are searched and ranked, so that equal users neither take each other's
places nor those of others; then users are picked for the answer.

Shape key: `Q` queries, `K` entries found, `E` entries, `M` rows, `N` users, `D` dimensions.
"""

from dataclasses import dataclass

import numpy as np

from index.answers import Filter, NeighborRequest, SearchMode
from index.build import Build
from index.distinct import Entries
from index.overfetch import overfetch
from index.purposes import View
from index.sharing import Found, Passes, Sharers, pick_behaviors, pick_users, sharers
from index.slices import Slice
from index.tombstones import Tombstones
from index.vectors import Flags, Neighbors, Rows, Vectors, row_blocks, ties_by_row

FOUND_BYTES = 64
"""Of an entry found: its number, score and users, and what sorts them."""
FOUND_BLOCK_BYTES = 32 * 2**20
"""For the queries that search deeper together."""


def find_neighbors(
    build: Build,
    query_QD: Vectors,
    request: NeighborRequest,
    tombstones: Tombstones,
    *,
    own_rows_Q: Rows | None = None,
) -> tuple[list[Found], list[SearchMode]]:
    """Return what each query found, and how.

    Args:
        build: What to search.
        query_QD: Unit vectors.
        request: Purpose, view, filter, mode, and what is counted how often.
        tombstones: Rows that are never among the answers, nor take a place from others.
        own_rows_Q: Row of the user behind each query, -1 for none; never among the answers.

    Raises:
        PurposeUnavailable: If the build has no weights for the purpose.
        NotAVector: If a query has nothing in the blocks that count for the purpose.
    """
    if len(query_QD) == 0:
        return [], []
    found = find_entries(build, query_QD, request, tombstones, own_rows_Q=own_rows_Q)
    return pick(found.users, request, own_rows_Q), found.modes_Q


@dataclass(frozen=True)
class FoundEntries:
    """The entries that each query found, best first.

    Attributes:
        entry_QK: Their numbers, -1 for none.
        users: Who of them may be hits.
        passes: Tells which rows may be; None where all may.
        modes_Q: How each query found them.
    """

    entry_QK: Rows
    users: Sharers
    passes: Passes | None
    modes_Q: list[SearchMode]


def find_entries(
    build: Build,
    query_QD: Vectors,
    request: NeighborRequest,
    tombstones: Tombstones,
    *,
    own_rows_Q: Rows | None = None,
) -> FoundEntries:
    """Return enough entries to fill the places of each query; arguments as of `find_neighbors`.

    Where hidden users took the places, queries search deeper, and only those that lack somebody.
    """
    view = build.view(request)
    query_QD = view.weigh(query_QD)
    part = None
    if request.filter is not None:
        part = build.slices.get(request.filter, known_violators=request.known_violators)
    passes = _passes(build, request, tombstones, part)
    num_own = 0 if own_rows_Q is None else 1
    most = num_own + tombstones.num_hidden
    spare = min(most, num_own + 2 * tombstones.num_expected(request.k))

    def users_of(entry_QK: Rows, own_rows_Q: Rows | None) -> Sharers:
        one_passes = not tombstones.num_hidden and build.remote is None
        return sharers(
            build.entries, entry_QK, own_rows_Q=own_rows_Q, passes=passes, one_passes=one_passes
        )

    found, modes_Q = _search(build, view, query_QD, request, part, request.k + spare)
    entry_QK, users = found.rows_QK, users_of(found.rows_QK, own_rows_Q)
    short_Q = _are_short(entry_QK, users, request.k)
    if spare == most or not short_Q.any():
        return FoundEntries(entry_QK, users, passes, modes_Q)
    width = request.k + num_own
    entry_QK = _first_with_users(entry_QK, users, width)
    pending = np.flatnonzero(short_Q)
    while len(pending) and spare < most:  # rarely, and at most past all hidden
        spare, still_short = min(most, 4 * spare), []
        deeper_bytes = (request.k + spare) * FOUND_BYTES
        for block in row_blocks(len(pending), deeper_bytes, block_bytes=FOUND_BLOCK_BYTES):
            some = pending[block]
            own_Q = None if own_rows_Q is None else own_rows_Q[some]
            found, modes = _search(build, view, query_QD[some], request, part, request.k + spare)
            users = users_of(found.rows_QK, own_Q)
            entry_QK[some] = _first_with_users(found.rows_QK, users, width)
            for query, mode in zip(some.tolist(), modes, strict=True):
                modes_Q[query] = mode
            still_short.append(some[_are_short(found.rows_QK, users, request.k)])
        pending = np.concatenate(still_short)
    return FoundEntries(entry_QK, users_of(entry_QK, own_rows_Q), passes, modes_Q)


def _are_short(entry_QK: Rows, users: Sharers, k: int) -> Flags:
    """Tell which queries found too few who may be hits, and more entries would be there."""
    short_Q: Flags = (users.free_QK > 0).sum(axis=1) < k
    return short_Q & (entry_QK[:, -1] >= 0)


def _first_with_users(entry_QK: Rows, users: Sharers, width: int) -> Rows:
    """Return the first entries of each query that have users who may be hits, -1 past the last."""
    order_QK = np.argsort(users.size_QK == 0, axis=1, kind="stable")[:, :width]
    entry_QK = np.where(users.size_QK > 0, entry_QK, -1)
    return np.take_along_axis(entry_QK, order_QK, axis=1)


def pick(users: Sharers, request: NeighborRequest, own_rows_Q: Rows | None) -> list[Found]:
    """Return who of the users found is shown, by what is counted."""
    if request.count == "users":
        return pick_users(users, own_rows_Q, k=request.k)
    return pick_behaviors(users, own_rows_Q, k=request.k, members=request.members)


def _passes(
    build: Build, request: NeighborRequest, tombstones: Tombstones, part: Slice | None
) -> Passes | None:
    """Return what tells which rows may be hits; None where all may."""
    hidden_N = tombstones.hidden_N
    chosen: Passes | None = None
    if part is not None:
        chosen = part.holds_users
    elif request.known_violators:
        chosen = build.users.are_violators
    if not tombstones.num_hidden:
        return chosen
    if chosen is None:
        return lambda rows: ~hidden_N[rows]
    return lambda rows: chosen(rows) & ~hidden_N[rows]


def _search(
    build: Build,
    view: View,
    query_QD: Vectors,
    request: NeighborRequest,
    part: Slice | None,
    k: int,
) -> tuple[Neighbors, list[SearchMode]]:
    """Return the best entries for each query, and how each was found."""
    entries, num_queries = build.entries, len(query_QD)
    if part is not None:
        return _search_filtered(build, view, query_QD, request, part, k)
    if request.known_violators:
        if _is_remote(build, request):
            return _search_remote(build, query_QD, request, part, k)
        return _search_violators(build, view, query_QD, request, k)
    approximate = view.approximate
    if approximate is not None and not request.exact:
        found = approximate.inner.search_entries(query_QD, k=k, effort=request.ef_search)
        return ties_by_row(found), [approximate.inner.kind] * num_queries
    if entries.num_entries == len(build.users):
        return view.everyone.search(query_QD, k=k), ["exact"] * num_queries
    found = view.everyone.search_rows(query_QD, entries.first_rows_E, k=k)
    return _entries_of(found, entries), ["exact"] * num_queries


def _search_filtered(
    build: Build, view: View, query_QD: Vectors, request: NeighborRequest, part: Slice, k: int
) -> tuple[Neighbors, list[SearchMode]]:
    """Search the entries of those who pass, each query in the way that is cheaper for it."""
    num_queries = len(query_QD)
    if _is_remote(build, request):
        return _search_remote(build, query_QD, request, part, k)
    if not request.compares_as_stored:
        found = view.everyone.search_rows(query_QD, part.rows_M, k=k)
        return _entries_of(found, build.entries), ["exact_filtered"] * num_queries
    approximate, costs = view.approximate, build.manifest.costs
    if approximate is None or costs is None or request.exact:
        return part.search(query_QD, k=k), ["exact_filtered"] * num_queries
    if len(part.users_P) == build.manifest.num_users:
        found = approximate.inner.search_entries(query_QD, k=k, effort=request.ef_search)
        return ties_by_row(found), ["approximate_filtered"] * num_queries
    near = part.search_index(query_QD, k=k)
    if near is not None:
        done_Q = near.rows_QK[:, -1] >= 0
    else:
        near, done_Q = overfetch(
            approximate.inner, part, query_QD, k=k, costs=costs, effort=request.ef_search
        )
    left = np.flatnonzero(~done_Q)
    if len(left):
        exact = part.search(query_QD[left], k=k)
        near.rows_QK[left], near.score_QK[left] = exact.rows_QK, exact.score_QK
    modes_Q: list[SearchMode] = [
        "approximate_filtered" if done else "exact_filtered" for done in done_Q.tolist()
    ]
    return ties_by_row(near), modes_Q


def _search_remote(
    build: Build, query_QD: Vectors, request: NeighborRequest, part: Slice | None, k: int
) -> tuple[Neighbors, list[SearchMode]]:
    """Let whoever holds the vectors search the entries of those who pass."""
    assert build.remote is not None
    found, mode = build.remote.find(query_QD, request, part, k=k)
    return ties_by_row(found), [mode] * len(query_QD)


def _is_remote(build: Build, request: NeighborRequest) -> bool:
    return build.remote is not None and not request.needs_vectors_here


def _search_violators(
    build: Build, view: View, query_QD: Vectors, request: NeighborRequest, k: int
) -> tuple[Neighbors, list[SearchMode]]:
    """Scan the known violators; very many are a slice, which gets an index as any other."""
    if view.approximate is not None and not request.exact and build.has_many_violators:
        part = build.slices.get(Filter(), known_violators=True)
        near = part.search_index(query_QD, k=k)
        if near is not None and part.index is not None and (near.rows_QK[:, -1] >= 0).all():
            return ties_by_row(near), [part.index.kind] * len(query_QD)
    return _scan_violators(build, view, query_QD, k), ["exact"] * len(query_QD)


def _scan_violators(build: Build, view: View, query_QD: Vectors, k: int) -> Neighbors:
    """Search the violators' view; of equal violators, the first stands for all."""
    entry_V, first_V = build.entries_of_violators
    if len(first_V) == len(entry_V):
        found = view.violators.search(query_QD, k=k)
    else:
        found = view.violators.search_rows(query_QD, first_V, k=k)
    if len(entry_V) == 0:
        return found
    return Neighbors(np.where(found.rows_QK >= 0, entry_V[found.rows_QK], -1), found.score_QK)


def _entries_of(found: Neighbors, entries: Entries) -> Neighbors:
    """Return entries instead of their first rows; both ascend alike, so the order of ties stays."""
    entry_QK = np.where(found.rows_QK >= 0, entries.entry_N[found.rows_QK], -1)
    return Neighbors(entry_QK, found.score_QK)
