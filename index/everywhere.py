"""One search over everyone who is answered for: the build, relabelled users, and the delta.

The build is searched as if what changed were not in it; the changed ones, who are few, are searched
by themselves. Then entries of the build and groups of the delta are ranked together, and whoever
shares a vector is counted together, wherever it lies.

Shape key: `Q` queries, `K` entries and groups found, `E` entries of the build, `S` slots of the
delta, `M` rows of the population.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from index.answers import Filter, NeighborRequest, SearchMode
from index.build import AS_STORED
from index.filters import FilterTable
from index.population import Population
from index.search import find_entries, find_neighbors, pick
from index.sharing import Found, Passes, Sharers
from index.vectors import Rows, Vectors


def find_everywhere(
    population: Population,
    query_QD: Vectors,
    request: NeighborRequest,
    *,
    own_rows_Q: Rows | None = None,
) -> tuple[list[Found], list[SearchMode]]:
    """Return what each query found, rows of the population, and how it searched the build.

    Equal scores are ordered by row: entries of the build first, then the delta as it came.

    Args:
        population: Whom to search.
        query_QD: Unit vectors.
        request: Purpose, view, filter, mode, and what is counted how often.
        own_rows_Q: Row of the user behind each query, -1 for none; never among the answers.

    Raises:
        PurposeUnavailable, NotAVector: As `find_neighbors` does.
    """
    build, by_label = population.build, _asks_for_labels(request)
    hidden = population.unlabelled if by_label else population.hidden
    changed = _changed(population, request, by_label=by_label)
    if changed is None or len(query_QD) == 0:
        return find_neighbors(build, query_QD, request, hidden, own_rows_Q=own_rows_Q)
    own_in_build_Q = own_rows_Q
    if own_rows_Q is not None:
        own_in_build_Q = np.where(own_rows_Q < population.first_slot, own_rows_Q, -1)
    found = find_entries(build, query_QD, request, hidden, own_rows_Q=own_in_build_Q)
    if not (by_label or population.delta.num_users) and found.users.share_nothing:
        return pick(found.users, request, own_rows_Q), found.modes_Q
    k = request.k + 1  # the own entry or group may have nobody else
    entry_QK = np.where(found.users.size_QK > 0, found.entry_QK, -1)
    keys = changed.ranked(query_QD, entry_QK, request, k=k)
    users = changed.sharers(keys, found.passes, own_rows_Q)
    return pick(users, request, own_rows_Q), found.modes_Q


@dataclass(frozen=True)
class _Changed:
    """Who of the changed users may be a hit of one request.

    Vectors have keys: below E the entries of the build, from there the groups of the delta that
    share none of those.

    Attributes:
        relabelled: Rows of the build, ascending.
        among_S: True for slots of the delta; None where all that are alive may be.
    """

    population: Population
    relabelled: Rows
    among_S: npt.NDArray[np.bool_] | None

    def ranked(
        self, query_QD: Vectors, entry_QK: Rows, request: NeighborRequest, *, k: int
    ) -> list[Rows]:
        """Return the keys of the k best vectors for each query, best first.

        Args:
            query_QD: Unit vectors.
            entry_QK: Entries of the build that have users who may be hits, -1 for none.
            request: Purpose, and whether the delta is to be searched exactly.
            k: Keys per query.
        """
        delta, entries = self.population.delta, self.population.build.entries
        view = self.population.build.view(request)
        query_QD, everyone = view.weigh(query_QD), view.everyone
        purpose = AS_STORED if request.compares_as_stored else str(request.purpose)
        first_rows = entries.first_rows_E[np.unique(self.relabelled_entries)]
        row_QK = everyone.search_rows(query_QD, first_rows, k=k).rows_QK
        group_QK = delta.search(
            query_QD, k=k, among_S=self.among_S, exact=request.exact, purpose=purpose
        ).rows_QK
        first_slot_G, delta_exact = delta.groups.first_rows_E, delta.exact(purpose)
        keys = []
        for query_D, entry_K, row_K, group_K in zip(
            query_QD, entry_QK, row_QK, group_QK, strict=True
        ):
            found = (
                entry_K[entry_K >= 0],
                entries.entry_N[row_K[row_K >= 0]],
                self.key_G[group_K[group_K >= 0]],
            )
            key_K = np.unique(np.concatenate(found))
            num_entries = int(np.searchsorted(key_K, entries.num_entries))
            slots = first_slot_G[key_K[num_entries:] - entries.num_entries]
            score_K = np.concatenate(
                [
                    everyone.score(query_D, entries.first_rows_E[key_K[:num_entries]]),
                    delta_exact.score(query_D, slots),
                ]
            )
            keys.append(key_K[np.lexsort((key_K, -score_K))[:k]])
        return keys

    def sharers(self, keys: list[Rows], passes: Passes | None, own_rows_Q: Rows | None) -> Sharers:
        """Return who may be hits, by key; `passes` tells it of rows of the build as it was."""
        unique_U = np.unique(np.concatenate(keys))
        rows_U = [self._rows_of(key, passes) for key in unique_U.tolist()]
        size_U = np.array([len(rows) for rows in rows_U], dtype=np.int64)
        start_U = np.cumsum(size_U) - size_U
        width = max(1, max(map(len, keys)))
        place_QK = np.full((len(keys), width), -1, dtype=np.int64)
        for place_K, key_K in zip(place_QK, keys, strict=True):
            place_K[: len(key_K)] = np.searchsorted(unique_U, key_K)
        own_QK = np.zeros(place_QK.shape, dtype=bool)
        if own_rows_Q is not None:
            for query, own_row in enumerate(own_rows_Q.tolist()):
                own_QK[query] = [
                    place >= 0 and own_row in rows_U[place] for place in place_QK[query].tolist()
                ]
        nothing: Rows = np.empty(0, dtype=np.int64)
        if not len(unique_U):
            return Sharers(nothing, np.zeros_like(place_QK), np.zeros_like(place_QK), own_QK)
        return Sharers(
            np.concatenate([nothing, *rows_U]),
            start_U[place_QK],
            np.where(place_QK >= 0, size_U[place_QK], 0),
            own_QK,
        )

    @cached_property
    def relabelled_entries(self) -> Rows:
        """The entries of the relabelled rows."""
        return np.asarray(self.population.build.entries.entry_N[self.relabelled])

    @cached_property
    def key_G(self) -> Rows:
        """The key of each group of the delta."""
        delta, num_entries = self.population.delta, self.population.build.entries.num_entries
        entry_G = delta.entry_S[delta.groups.first_rows_E]
        return np.where(entry_G >= 0, entry_G, num_entries + np.arange(len(entry_G)))

    def _rows_of(self, key: int, passes: Passes | None) -> Rows:
        """Return who may be a hit of those who share a vector, in the order they are shown."""
        population, entries = self.population, self.population.build.entries
        parts: list[Rows] = []
        group: int | None = key - entries.num_entries
        if key < entries.num_entries:
            rows = entries.rows_N[entries.offsets_E[key] : entries.offsets_E[key + 1]]
            parts.append(rows if passes is None else rows[passes(rows)])
            parts.append(self.relabelled[self.relabelled_entries == key])
            group = population.delta.group_of_entry.get(key)
        if group is not None:
            groups = population.delta.groups
            slots = groups.rows_N[groups.offsets_E[group] : groups.offsets_E[group + 1]]
            may_be = population.delta.is_alive_S if self.among_S is None else self.among_S
            parts.append(slots[may_be[slots]] + population.first_slot)
        rows_M = np.concatenate(parts)
        if len(rows_M) <= 1:
            return rows_M
        is_violator_M, num_events_M = (
            population.is_violator(rows_M),
            population.num_events_of(rows_M),
        )
        return rows_M[np.lexsort((rows_M, -num_events_M, ~is_violator_M))]


def _asks_for_labels(request: NeighborRequest) -> bool:
    condition = request.filter
    return request.known_violators or (
        condition is not None and (condition.label is not None or condition.policies is not None)
    )


def _changed(
    population: Population, request: NeighborRequest, *, by_label: bool
) -> _Changed | None:
    """Return who changed and may be a hit; None where nothing changed that the request asks for."""
    overlay, delta = population.overlay, population.delta
    has_relabelled = len(overlay.rows_C) > 0
    if not delta.num_users and not has_relabelled:
        return None
    relabelled: Rows = np.empty(0, dtype=np.int64)
    if by_label and has_relabelled:
        relabelled = overlay.rows_C[_passing(overlay.filters, request)]
        relabelled = population.hidden.visible(relabelled)
    among_S = None
    if request.filter is not None or request.known_violators:
        among_S = np.zeros(delta.num_slots, dtype=bool)
        among_S[_passing(population.delta_filters, request)] = True
        among_S &= delta.is_alive_S
    return _Changed(population, relabelled, among_S)


def _passing(users: FilterTable, request: NeighborRequest) -> Rows:
    """Return which users the view and the filter let through."""
    condition = Filter() if request.filter is None else request.filter
    return users.rows_passing(condition, known_violators=request.known_violators)
