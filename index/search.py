"""One search over a build: which view, which mode, without whom.

Entries (distinct vectors) are searched and ranked, so that equal users neither take each other's
places nor those of others; then users are picked for the answer.

Shape key: `Q` queries, `K` entries found, `E` entries, `M` rows, `N` users, `D` dimensions.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.answers import NeighborRequest, SearchMode
from index.build import Build
from index.distinct import Entries
from index.exact import ExactIndex
from index.filters import rows_passing
from index.sharing import Found, Passes, Sharers, pick_behaviors, pick_users, sharers
from index.tombstones import Tombstones
from index.vectors import Neighbors, Rows, Vectors


def find_neighbors(
    build: Build,
    query_QD: Vectors,
    request: NeighborRequest,
    tombstones: Tombstones,
    *,
    own_rows_Q: Rows | None = None,
) -> tuple[list[Found], SearchMode]:
    """Return what each query found, and how.

    Args:
        build: What to search.
        query_QD: Unit vectors.
        request: View, filter, mode, and what is counted how often.
        tombstones: Rows that are never among the answers, nor take a place from others.
        own_rows_Q: Row of the user behind each query, -1 for none; never among the answers.
    """
    if len(query_QD) == 0:
        return [], "exact"
    found = find_entries(build, query_QD, request, tombstones, own_rows_Q=own_rows_Q)
    return pick(found.users, request, own_rows_Q), found.mode


@dataclass(frozen=True)
class FoundEntries:
    """The entries that each query found, best first.

    Attributes:
        entry_QK: Their numbers, -1 for none.
        users: Who of them may be hits.
        passes: Tells which rows may be; None where all may.
        mode: How they were found.
    """

    entry_QK: Rows
    users: Sharers
    passes: Passes | None
    mode: SearchMode


def find_entries(
    build: Build,
    query_QD: Vectors,
    request: NeighborRequest,
    tombstones: Tombstones,
    *,
    own_rows_Q: Rows | None = None,
) -> FoundEntries:
    """Return enough entries to fill the places of each query; arguments as of `find_neighbors`."""
    chosen = _rows_chosen(build, request, tombstones)
    passes = _passes(build, request, tombstones, chosen)
    num_own = 0 if own_rows_Q is None else 1
    num_hidden = 0 if chosen is not None else tombstones.num_hidden
    most = num_own + num_hidden
    spare = min(most, num_own + 2 * tombstones.num_expected(request.k))
    while True:
        found, mode = _search(build, query_QD, request, chosen, request.k + spare)
        users = sharers(build.entries, found.rows_QK, own_rows_Q=own_rows_Q, passes=passes)
        is_short_Q = (users.free_QK > 0).sum(axis=1) < request.k
        if spare == most or not (is_short_Q & (found.rows_QK[:, -1] >= 0)).any():
            break
        spare = min(most, 4 * spare)  # the hidden crowd around a query; rarely, and at most all
    return FoundEntries(found.rows_QK, users, passes, mode)


def pick(users: Sharers, request: NeighborRequest, own_rows_Q: Rows | None) -> list[Found]:
    """Return who of the users found is shown, by what is counted."""
    if request.count == "users":
        return pick_users(users, own_rows_Q, k=request.k)
    return pick_behaviors(users, own_rows_Q, k=request.k, members=request.members)


def _rows_chosen(build: Build, request: NeighborRequest, tombstones: Tombstones) -> Rows | None:
    """Return the rows that pass the filter, ascending; None where there is none."""
    if request.filter is None:
        return None
    among = build.violator_rows if request.known_violators else None
    return tombstones.visible(rows_passing(build.users, request.filter, among=among))


def _passes(
    build: Build, request: NeighborRequest, tombstones: Tombstones, chosen: Rows | None
) -> Passes | None:
    """Return what tells which rows may be hits; None where all may."""
    if chosen is not None:
        return lambda rows: _among(chosen, rows)
    label_N, hidden_N = build.users.label_N, tombstones.hidden_N
    if not tombstones.num_hidden:
        return (lambda rows: label_N[rows] == 1) if request.known_violators else None
    if request.known_violators:
        return lambda rows: (label_N[rows] == 1) & ~hidden_N[rows]
    return lambda rows: ~hidden_N[rows]


def _among(chosen: Rows, rows: Rows) -> npt.NDArray[np.bool_]:
    """Tell which rows are among some that ascend."""
    if len(chosen) == 0:
        return np.zeros(rows.shape, dtype=np.bool_)
    place = np.minimum(np.searchsorted(chosen, rows), len(chosen) - 1)
    return np.asarray(chosen[place] == rows)


def _search(
    build: Build, query_QD: Vectors, request: NeighborRequest, chosen: Rows | None, k: int
) -> tuple[Neighbors, SearchMode]:
    """Return the best entries for each query, and how they were found."""
    entries = build.entries
    if chosen is not None:
        found = _search_chosen(build.everyone, entries, query_QD, chosen, k)
        return found, "exact_filtered"
    if request.known_violators:
        return _search_violators(build, query_QD, k), "exact"
    approximate = build.approximate
    if approximate is not None and not request.exact:
        found = approximate.inner.search_entries(query_QD, k=k, effort=request.ef_search)
        return _ties_by_entry(found), approximate.inner.kind
    if entries.num_entries == len(build.users):
        return build.everyone.search(query_QD, k=k), "exact"
    found = build.everyone.search_rows(query_QD, entries.first_rows_E, k=k)
    return _entries_of(found, entries), "exact"


def _search_chosen(
    everyone: ExactIndex, entries: Entries, query_QD: Vectors, chosen: Rows, k: int
) -> Neighbors:
    """Search the entries that have a chosen row, by the vectors that stand for them."""
    if entries.num_entries == everyone.num_vectors:
        return everyone.search_rows(query_QD, chosen, k=k)
    has_chosen_E = np.zeros(entries.num_entries, dtype=np.bool_)
    has_chosen_E[entries.entry_N[chosen]] = True
    found = everyone.search_rows(query_QD, entries.first_rows_E[has_chosen_E], k=k)
    return _entries_of(found, entries)


def _search_violators(build: Build, query_QD: Vectors, k: int) -> Neighbors:
    """Search the violators' view; of equal violators, the first stands for all."""
    entry_V, first_V = build.entries_of_violators
    if len(first_V) == len(entry_V):
        found = build.violators.search(query_QD, k=k)
    else:
        found = build.violators.search_rows(query_QD, first_V, k=k)
    if len(entry_V) == 0:
        return found
    return Neighbors(np.where(found.rows_QK >= 0, entry_V[found.rows_QK], -1), found.score_QK)


def _entries_of(found: Neighbors, entries: Entries) -> Neighbors:
    """Return entries instead of their first rows; both ascend alike, so the order of ties stays."""
    entry_QK = np.where(found.rows_QK >= 0, entries.entry_N[found.rows_QK], -1)
    return Neighbors(entry_QK, found.score_QK)


def _ties_by_entry(found: Neighbors) -> Neighbors:
    """Order equal scores by entry, which is by first row, as exact search does."""
    if (found.score_QK[:, 1:] < found.score_QK[:, :-1]).all():
        return found
    order = np.lexsort((found.rows_QK, -found.score_QK), axis=-1)
    return Neighbors(
        np.take_along_axis(found.rows_QK, order, axis=1),
        np.take_along_axis(found.score_QK, order, axis=1),
    )
