"""With whom users who come share a vector: with users of the build, of the delta, or each other.

Equal is who `index.noise` says is: the nearest row tells, of the build or of the delta, if it is
within `NOISE`. A build made anew would say the same, but where users who come would make it join
two entries, or take a chain of small real differences apart: the entries of this one stay.

Shape key: `M` users who come, `U` of their vectors that differ, `S` slots of the delta, `A` those
and the users who come, `L` users who join others of these, `D` dimensions.
"""

from collections.abc import Mapping

import numpy as np

from index.build import AS_STORED, Build
from index.delta import Alike, Delta
from index.distinct import first_equal_rows, group_identical
from index.noise import RADIUS, Booleans, distances
from index.vectors import Floats, Rows, Vectors


def find_alike(build: Build, delta: Delta, vectors_MD: Vectors) -> Alike:
    """Return with whom each vector is equal but for float noise, were it added to the delta."""
    first_U, of_first_M = np.unique(first_equal_rows(vectors_MD), return_inverse=True)
    slot_U, entry_U = _alike_before(build, delta, vectors_MD[first_U])
    slot_M, entry_M = slot_U[of_first_M], entry_U[of_first_M]
    group_M = group_identical(vectors_MD).entry_N
    guide_M = _guides(build, delta, vectors_MD, group_M, slot_M, entry_M)
    slot_M, entry_M = slot_M[guide_M], entry_M[guide_M]

    own_M = delta.num_slots + np.arange(len(vectors_MD))
    is_new_M = (slot_M < 0) & (entry_M < 0)
    least = np.full(len(vectors_MD), delta.num_slots + len(vectors_MD), dtype=np.int64)
    np.minimum.at(least, group_M[is_new_M], own_M[is_new_M])
    first_slot_M = np.where(is_new_M, least[group_M], np.where(slot_M < 0, own_M, slot_M))
    return Alike(_one_group_an_entry(delta, first_slot_M, entry_M), entry_M)


def share_penalties(
    build: Build, delta: Delta, alike: Alike, penalties: Mapping[str, Floats]
) -> dict[str, Floats]:
    """Return one hub correction for all who share a vector: that of whoever had it first.

    A user who changed is not compared with the own former self, so corrections of equal vectors
    differ by user, and the order of a group's members would decide how it ranks.

    Args:
        build: Its entries have corrections already.
        delta: As it was before the users came.
        alike: With whom they share a vector.
        penalties: Their own corrections, length M, by purpose.
    """
    row_M = np.where(alike.entry_M >= 0, build.entries.first_rows_E[alike.entry_M], -1)
    shared = {}
    for name, own_M in penalties.items():
        in_delta_S = np.concatenate([delta.penalties.get(name, own_M[:0]), own_M])
        shared_M = in_delta_S[alike.first_slot_M]
        everyone = build.everyone if name == AS_STORED else build.purposes[name].everyone
        in_build_N = everyone.penalty_N
        if in_build_N is not None:
            shared_M = np.where(row_M >= 0, in_build_N[row_M], shared_M)
        shared[name] = shared_M
    return shared


def _alike_before(build: Build, delta: Delta, vectors_UD: Vectors) -> tuple[Rows, Rows]:
    """Return the first slot of the group, and the entry, that each vector joins; -1 for none."""
    row_U, from_row_U = build.projections.nearest(vectors_UD)
    near_U, from_slot_U = delta.projections.nearest(vectors_UD)
    in_build_U, in_delta_U = row_U >= 0, near_U >= 0
    in_build_U &= from_row_U <= from_slot_U
    in_delta_U &= ~in_build_U
    slot_U, entry_U = np.full((2, len(vectors_UD)), -1, dtype=np.int64)
    entry_U[in_build_U] = build.entries.entry_N[row_U[in_build_U]]
    slot_U[in_delta_U] = delta.first_slot_S[near_U[in_delta_U]]
    entry_U[in_delta_U] = delta.entry_S[near_U[in_delta_U]]
    is_far_U = np.minimum(from_row_U, from_slot_U) > 0
    is_far_U &= _too_far(build, delta, vectors_UD, slot_U, entry_U)
    slot_U[is_far_U] = entry_U[is_far_U] = -1
    return slot_U, entry_U


def _guides(
    build: Build, delta: Delta, vectors_MD: Vectors, group_M: Rows, slot_M: Rows, entry_M: Rows
) -> Rows:
    """Return whom each joins: oneself or, who found nobody, the first alike who found somebody."""
    guide_M = np.arange(len(vectors_MD), dtype=np.int64)
    found_M = (slot_M >= 0) | (entry_M >= 0)
    first_found = np.full(len(vectors_MD), -1, dtype=np.int64)
    group, first = np.unique(group_M[found_M], return_index=True)
    first_found[group] = np.flatnonzero(found_M)[first]
    row_L = np.flatnonzero(~found_M & (first_found[group_M] >= 0))
    guide_L = first_found[group_M[row_L]]
    is_far_L = _too_far(build, delta, vectors_MD[row_L], slot_M[guide_L], entry_M[guide_L])
    guide_M[row_L[~is_far_L]] = guide_L[~is_far_L]
    return guide_M


def _too_far(
    build: Build, delta: Delta, vectors_UD: Vectors, slot_U: Rows, entry_U: Rows
) -> Booleans:
    """Tell who is farther from the vector that would rank them than rows of an entry ever are."""
    is_far_U = np.zeros(len(vectors_UD), dtype=np.bool_)
    in_build, in_delta = entry_U >= 0, (entry_U < 0) & (slot_U >= 0)
    for chosen, gallery, first in (
        (in_build, build.vectors_ND, build.entries.first_rows_E[entry_U[in_build]]),
        (in_delta, delta.vectors.rows_SD, slot_U[in_delta]),
    ):
        own = np.flatnonzero(chosen)
        is_far_U[own] = distances(gallery, first, vectors_UD, own) > 2 * RADIUS
    return is_far_U


def _one_group_an_entry(delta: Delta, first_slot_M: Rows, entry_M: Rows) -> Rows:
    """Return the first slots, with one group for all who share the vector of an entry."""
    first_A = np.concatenate([delta.first_slot_S, first_slot_M])
    entry_A = np.concatenate([delta.entry_S, entry_M])
    with_entry = np.flatnonzero(entry_A >= 0)
    _, place = np.unique(entry_A[with_entry], return_inverse=True)
    least = np.full(len(with_entry), len(first_A), dtype=np.int64)
    np.minimum.at(least, place, first_A[with_entry])
    first_A[with_entry] = least[place]
    return first_A[delta.num_slots :]
