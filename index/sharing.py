"""Who of the users that share a vector is shown, so that many equal ones crowd nobody out.

A search ranks entries (distinct vectors). Where users are counted, no entry takes more than a
quarter of the places, rounded up, while others could fill them: at least four behaviors are seen
among the first ten users, and a person's few equal accounts all the same. Where behaviors are
counted, each takes one place. Either way the first of an entry are shown, in the order of
`Entries.preferring`, and every hit tells how many more there are.

Shape key: `Q` queries, `K` entries found, `U` different ones, `N` stored vectors, `P` rows of some
entries, one entry after the other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from index.distinct import Entries
from index.vectors import Rows

SHARE_OF_PLACES = 4
"""An entry may take one place of so many."""

Passes = Callable[[Rows], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Found:
    """What one query found, best first.

    Attributes:
        rows_K: Rows of the hits.
        duplicates_K: How many others who could be hits share the vector of each; the user who is
            asked about is not counted.
        members: For each hit, the first of those others, as many as asked for; empty where none
            were asked for.
    """

    rows_K: Rows
    duplicates_K: Rows
    members: tuple[Rows, ...]


@dataclass(frozen=True)
class Sharers:
    """The users of the entries that some queries found, who may be hits.

    Attributes:
        rows_P: Their rows; those of one entry are together.
        start_QK: Where in `rows_P` those of an entry begin.
        size_QK: How many they are, the user who is asked about included; 0 where no entry is.
        own_QK: True where that user is one of them.
    """

    rows_P: Rows
    start_QK: Rows
    size_QK: Rows
    own_QK: npt.NDArray[np.bool_]

    @property
    def share_nothing(self) -> bool:
        """True where every entry found has one user: mostly so, and quick."""
        return bool((self.size_QK <= 1).all())

    @cached_property
    def free_QK(self) -> Rows:
        """How many could be hits."""
        return self.size_QK - self.own_QK


def sharers(
    entries: Entries,
    entry_QK: Rows,
    *,
    own_rows_Q: Rows | None,
    passes: Passes | None,
    one_passes: bool = False,
) -> Sharers:
    """Return who of the entries may be a hit.

    Args:
        entries: All users by vector.
        entry_QK: Entries found, -1 for none.
        own_rows_Q: Row of the user behind each query, -1 for none.
        passes: Tells which rows may be hits; None where all may. Costs as much as the entries
            found are large.
        one_passes: Of each entry found it is known that one row passes, so that those of one row
            need no look.
    """
    there_QK = entry_QK >= 0
    entry_QK = np.where(there_QK, entry_QK, 0)
    start_QK = entries.offsets_E.take(entry_QK)
    size_QK = np.where(there_QK, entries.offsets_E.take(entry_QK + 1) - start_QK, 0)
    rows_P = entries.rows_N
    if passes is not None and (size_QK <= 1).all():  # mostly so, and quick
        if one_passes:
            passes = None
        else:
            size_QK = np.where(passes(rows_P[start_QK]), size_QK, 0)
    elif passes is not None:
        unique_U, place = np.unique(entry_QK, return_inverse=True)
        rows_P, start_U, size_U = _passing(entries, unique_U, passes)
        place_QK = place.reshape(entry_QK.shape)
        start_QK, size_QK = start_U[place_QK], np.where(there_QK, size_U[place_QK], 0)
    own_QK = np.zeros(entry_QK.shape, dtype=np.bool_)
    if own_rows_Q is not None:
        own_entry_Q = np.where(own_rows_Q >= 0, entries.entry_N[own_rows_Q], -1)
        if passes is not None:
            own_entry_Q = np.where(passes(np.maximum(own_rows_Q, 0)), own_entry_Q, -1)
        own_QK = (entry_QK == own_entry_Q[:, None]) & (size_QK > 0)
    return Sharers(rows_P, start_QK, size_QK, own_QK)


def _passing(entries: Entries, entry_U: Rows, passes: Passes) -> tuple[Rows, Rows, Rows]:
    """Return the rows of some entries that pass, and where those of each begin and how many."""
    size_U = entries.offsets_E[entry_U + 1] - entries.offsets_E[entry_U]
    start_U = np.cumsum(size_U) - size_U
    offset_P = np.repeat(entries.offsets_E[entry_U] - start_U, size_U)
    rows_P = entries.rows_N[offset_P + np.arange(len(offset_P))]
    passing_P = passes(rows_P)
    size_U = np.add.reduceat(passing_P, start_U, dtype=np.int64)
    return rows_P[passing_P], np.cumsum(size_U) - size_U, size_U


def share_places(free_QK: Rows, k: int) -> Rows:
    """Return how many users of each entry are shown where k users are asked for.

    None takes more than its share unless places would stay empty; then the best take more.
    """
    shown_QK = np.minimum(free_QK, -(-k // SHARE_OF_PLACES))
    empty_Q = np.maximum(k - shown_QK.sum(axis=1), 0)
    if empty_Q.any():
        more_QK = free_QK - shown_QK
        before_QK = np.cumsum(more_QK, axis=1) - more_QK
        shown_QK = shown_QK + np.clip(empty_Q[:, None] - before_QK, 0, more_QK)
    before_QK = np.cumsum(shown_QK, axis=1) - shown_QK
    return np.asarray(np.clip(k - before_QK, 0, shown_QK))


def pick_users(users: Sharers, own_rows_Q: Rows | None, *, k: int) -> list[Found]:
    """Return the best k users of each query, those of one entry one after the other."""
    if users.share_nothing:
        return _pick_singles(users, k=k, members=0)
    shown_QK = share_places(users.free_QK, k)
    segment_P, rows_P = _take(users, shown_QK, own_rows_Q)
    others = np.maximum(users.free_QK - 1, 0).ravel()[segment_P]
    stops = np.cumsum(shown_QK.sum(axis=1))[:-1]
    return [
        Found(rows_K, duplicates_K, ())
        for rows_K, duplicates_K in zip(
            np.split(rows_P, stops), np.split(others, stops), strict=True
        )
    ]


def pick_behaviors(users: Sharers, own_rows_Q: Rows | None, *, k: int, members: int) -> list[Found]:
    """Return the first user of each of the best k entries, with up to so many of the others."""
    if users.share_nothing:
        return _pick_singles(users, k=k, members=members)
    free_QK = users.free_QK
    is_hit_QK = (free_QK > 0) & (np.cumsum(free_QK > 0, axis=1) <= k)
    shown_QK = np.where(is_hit_QK, np.minimum(free_QK, 1 + members), 0)
    _, rows_P = _take(users, shown_QK, own_rows_Q)
    stop_QK = np.cumsum(shown_QK).reshape(shown_QK.shape)
    return [
        Found(
            rows_P[(stop_K - shown_K)[is_hit_K]],
            free_K[is_hit_K] - 1,
            tuple(
                rows_P[stop - shown + 1 : stop]
                for stop, shown in zip(
                    stop_K[is_hit_K].tolist(), shown_K[is_hit_K].tolist(), strict=True
                )
            )
            if members
            else (),
        )
        for stop_K, shown_K, free_K, is_hit_K in zip(
            stop_QK, shown_QK, free_QK, is_hit_QK, strict=True
        )
    ]


def _pick_singles(users: Sharers, *, k: int, members: int) -> list[Found]:
    """Return the users of the best k entries, each of which has one."""
    found = []
    for start_K, free_K in zip(users.start_QK, users.free_QK, strict=True):
        rows_K = users.rows_P.take(start_K[free_K > 0][:k])
        nobody = (rows_K[:0],) * len(rows_K) if members else ()
        found.append(Found(rows_K, np.zeros(len(rows_K), dtype=np.int64), nobody))
    return found


def _take(users: Sharers, shown_QK: Rows, own_rows_Q: Rows | None) -> tuple[Rows, Rows]:
    """Return the first rows of each entry but the query's own, and where in Q by K it stands."""
    reach = (shown_QK + (users.own_QK & (shown_QK > 0))).ravel()
    segment_P = np.repeat(np.arange(len(reach)), reach)
    first_P = np.repeat(np.cumsum(reach) - reach, reach)
    rank_P = np.arange(len(segment_P)) - first_P
    rows_P = users.rows_P[users.start_QK.ravel()[segment_P] + rank_P]
    if own_rows_Q is None or not users.own_QK.any():
        return segment_P, rows_P
    is_own_P = rows_P == own_rows_Q[segment_P // shown_QK.shape[1]]
    num_own_P = np.cumsum(is_own_P)
    rank_P -= num_own_P - (num_own_P - is_own_P)[first_P]
    keep_P = ~is_own_P & (rank_P < shown_QK.ravel()[segment_P])
    return segment_P[keep_P], rows_P[keep_P]
