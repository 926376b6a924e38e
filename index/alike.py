"""With whom users who come share a vector: with users of the build, of the delta, or each other.

Shape key: `M` users who come, `U` of their vectors that differ, `K` candidates, `S` slots of the
delta, `D` dimensions.
"""

from collections.abc import Mapping

import numpy as np

from index.build import AS_STORED, Build
from index.delta import Alike, Delta
from index.distinct import group_identical
from index.noise import NOISE
from index.vectors import Floats, Rows, Vectors, row_blocks

CANDIDATES = 10
"""An equal vector is among the best of so many, whatever their hub corrections are."""


def find_alike(build: Build, delta: Delta, vectors_MD: Vectors) -> Alike:
    """Return with whom each vector is equal but for float noise, were it added to the delta."""
    together = group_identical(vectors_MD)
    lead_UD = vectors_MD[together.first_rows_E]
    slot_U = _alike_in_delta(delta, lead_UD)
    is_there_U = slot_U >= 0
    entry_U = np.full(len(lead_UD), -1, dtype=np.int64)
    entry_U[is_there_U] = delta.entry_S[slot_U[is_there_U]]
    entry_U[~is_there_U] = _alike_in_build(build, lead_UD[~is_there_U])
    first_U = np.where(is_there_U, slot_U, delta.num_slots + together.first_rows_E)
    entry_M = entry_U[together.entry_N]
    return Alike(_one_group_an_entry(delta, first_U[together.entry_N], entry_M), entry_M)


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


def _alike_in_delta(delta: Delta, vectors_UD: Vectors) -> Rows:
    """Return the first slot of the group of each vector, -1 for none."""
    if not delta.num_users:
        return np.full(len(vectors_UD), -1, dtype=np.int64)
    group_UK = delta.search(vectors_UD, k=CANDIDATES).rows_QK
    slot_UK = np.where(group_UK >= 0, delta.groups.first_rows_E[group_UK], -1)
    return _within_noise(vectors_UD, delta.vectors.rows_SD, slot_UK)


def _alike_in_build(build: Build, vectors_UD: Vectors) -> Rows:
    """Return the entry of each vector, -1 for none."""
    if not len(vectors_UD):
        return np.empty(0, dtype=np.int64)
    first_rows_E = build.entries.first_rows_E
    if build.approximate is None:
        rows_UK = build.everyone.search_rows(vectors_UD, first_rows_E, k=CANDIDATES).rows_QK
    else:
        entry_UK = build.approximate.inner.search_entries(vectors_UD, k=CANDIDATES).rows_QK
        rows_UK = np.where(entry_UK >= 0, first_rows_E[entry_UK], -1)
    row_U = _within_noise(vectors_UD, build.vectors_ND, rows_UK)
    entries: Rows = np.where(row_U >= 0, build.entries.entry_N[row_U], -1)
    return entries


def _within_noise(vectors_UD: Vectors, gallery: Vectors, rows_UK: Rows) -> Rows:
    """Return the candidate nearest to each vector where that is as good as equal, else -1."""
    row_U = np.full(len(vectors_UD), -1, dtype=np.int64)
    num_candidates = rows_UK.shape[1]
    for block in row_blocks(len(vectors_UD), 4 * num_candidates * vectors_UD.shape[1]):
        apart = gallery[rows_UK[block]] - vectors_UD[block, None]
        square_UK = np.einsum("ukd,ukd->uk", apart, apart)
        square_UK[rows_UK[block] < 0] = np.inf
        best_U = square_UK.argmin(axis=1)[:, None]
        is_noise_U = np.take_along_axis(square_UK, best_U, axis=1)[:, 0] <= NOISE**2
        best_row_U = np.take_along_axis(rows_UK[block], best_U, axis=1)[:, 0]
        row_U[block] = np.where(is_noise_U, best_row_U, -1)
    return row_U


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
