"""Who finds whom: the rank of the first right answer of each query.

Works on dense vectors and on sparse ones alike; rows are unit length, so that a dot product is a
cosine.

Shape key: `Q` queries, `G` gallery users, `D` dimensions, `W` queries of a block.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from scipy.special import comb

from embedder.evaluation.metrics import Flags, Floats, Int64s

# npt.NDArray[np.float32] or sparse.csr_matrix; SciPy has no types.
Rows: TypeAlias = Any

QUERIES_PER_BLOCK = 256
NEIGHBORS_OF_HUB = 10
PURITY_ANSWERS_MAX = 100
NO_GROUP = -1


@dataclass(frozen=True)
class Task:
    """Which answers are right, and which do not count.

    Attributes:
        group_Q: An answer is right when its group equals the query's.
        group_G: -1 for a gallery user of no group.
        own_Q: Gallery row of the query itself, never an answer; -1 where it is not there.
        within_Q: Only gallery users of the same value are ranked.
        within_G: Their values.
        unverified_Q: Gallery users who share this value but not the group are not ranked.
        unverified_G: Their values; -1 for none.
    """

    group_Q: Int64s
    group_G: Int64s
    own_Q: Int64s
    within_Q: Int64s
    within_G: Int64s
    unverified_Q: Int64s
    unverified_G: Int64s

    def rows(self, queries: Int64s) -> "Task":
        """Return the task of some queries."""
        return Task(
            self.group_Q[queries],
            self.group_G,
            self.own_Q[queries],
            self.within_Q[queries],
            self.within_G,
            self.unverified_Q[queries],
            self.unverified_G,
        )


def plain_task(group_Q: Int64s, group_G: Int64s, own_Q: Int64s) -> Task:
    """Return a task in which everyone but the query itself is ranked."""
    one_Q, one_G = np.zeros(len(group_Q), np.int64), np.zeros(len(group_G), np.int64)
    return Task(group_Q, group_G, own_Q, one_Q, one_G, one_Q - 1, one_G - 1)


def count_candidates(task: Task) -> tuple[Int64s, Int64s]:
    """Return for each query how many right answers and how many candidates there are."""
    num_right_Q = np.zeros(len(task.group_Q), dtype=np.int64)
    num_ranked_Q = np.zeros(len(task.group_Q), dtype=np.int64)
    for block in _blocks(len(task.group_Q)):
        right_WG, ranked_WG = _masks(task.rows(block))
        num_right_Q[block] = right_WG.sum(axis=1)
        num_ranked_Q[block] = ranked_WG.sum(axis=1)
    return num_right_Q, num_ranked_Q


@dataclass(frozen=True)
class Ranking:
    """How well the queries were answered.

    Identical users are normal, and so are equal similarities. These are taken in every order alike:
    nobody wins or loses by luck.

    Attributes:
        better_Q: Wrong answers before the best right one.
        tied_wrong_Q: Wrong answers as similar as the best right one.
        tied_right_Q: Right answers as similar as the best right one, itself included.
        purity_Q: Share of right answers among the best R, where R is how many there are (or 100).
    """

    better_Q: Int64s
    tied_wrong_Q: Int64s
    tied_right_Q: Int64s
    purity_Q: Floats

    @property
    def rank_Q(self) -> Floats:
        """Expected rank of the first right answer, 1 for the first place."""
        tied_Q = self.tied_wrong_Q + self.tied_right_Q
        rank_Q: Floats = self.better_Q + (tied_Q + 1) / (self.tied_right_Q + 1)
        return rank_Q

    def hit_Q(self, k: int) -> Floats:
        """Return the chance that a right answer is among the best k."""
        tied_Q = self.tied_wrong_Q + self.tied_right_Q
        places_Q = np.clip(k - self.better_Q, 0, tied_Q)
        # no right one among so many drawn from the tied, without putting back
        missed_Q = comb(self.tied_wrong_Q, places_Q) / comb(tied_Q, places_Q)
        hit_Q: Floats = 1.0 - missed_Q
        return hit_Q


def rank_answers(
    query: Rows, gallery: Rows, task: Task, *, hubness_G: Floats | None = None
) -> Ranking:
    """Rank the gallery for every query.

    Args:
        query: Unit rows, (Q, D).
        gallery: Unit rows, (G, D).
        task: Every query must have a right answer.
        hubness_G: Taken off the similarity (half of the CSLS radius), or nothing.
    """
    parts = []
    for block in _blocks(len(task.group_Q)):
        similarity_WG = _dot(query[block], gallery)
        if hubness_G is not None:
            similarity_WG -= hubness_G
        right_WG, ranked_WG = _masks(task.rows(block))
        first = _first_right(similarity_WG, right_WG, ranked_WG & ~right_WG)
        purity_W = _purity(np.where(ranked_WG, similarity_WG, -np.inf), right_WG)
        parts.append((*first, purity_W))
    columns = zip(*parts, strict=True) if parts else [[np.empty(0)]] * 4
    better, tied_wrong, tied_right, purity = map(np.concatenate, columns)
    return Ranking(better, tied_wrong, tied_right, purity)


def half_radius(gallery: Rows, reference: Rows) -> Floats:
    """Return half of the mean cosine of each gallery row to its 10 nearest in the reference.

    A row's own copy in the reference (cosine 1) is not left out: it adds the same to all.
    """
    count = min(NEIGHBORS_OF_HUB, reference.shape[0])
    radii = [np.empty(0)]
    for block in _blocks(gallery.shape[0]):
        similarity_WG = _dot(gallery[block], reference)
        nearest_WK = np.partition(similarity_WG, -count, axis=1)[:, -count:]
        radii.append(nearest_WK.mean(axis=1) / 2)
    return np.concatenate(radii)


def _first_right(
    similarity_WG: Floats, right_WG: Flags, wrong_WG: Flags
) -> tuple[Int64s, Int64s, Int64s]:
    best_W = np.where(right_WG, similarity_WG, -np.inf).max(axis=1)
    # float32 sums of equal vectors differ in the last digits
    tied_WG = np.abs(similarity_WG - best_W[:, None]) <= 1e-6
    better_W = (wrong_WG & ~tied_WG & (similarity_WG > best_W[:, None])).sum(axis=1)
    return better_W, (wrong_WG & tied_WG).sum(axis=1), (right_WG & tied_WG).sum(axis=1)


def _purity(similarity_WG: Floats, right_WG: Flags) -> Floats:
    num_W = np.clip(right_WG.sum(axis=1), 1, PURITY_ANSWERS_MAX)
    count = min(int(num_W.max(initial=1)), similarity_WG.shape[1])
    some_WK = np.argpartition(-similarity_WG, count - 1, axis=1)[:, :count]
    order_WK = np.argsort(-np.take_along_axis(similarity_WG, some_WK, axis=1), axis=1)
    best_WK = np.take_along_axis(some_WK, order_WK, axis=1)
    right_WK = np.take_along_axis(right_WG, best_WK, axis=1)
    found_W = (right_WK & (np.arange(count) < num_W[:, None])).sum(axis=1)
    purity_W: Floats = found_W / num_W
    return purity_W


def _masks(task: Task) -> tuple[Flags, Flags]:
    """Return which gallery users are right, and which are ranked at all, of shape (W, G)."""
    ranked_WG = task.within_Q[:, None] == task.within_G
    there = np.flatnonzero(task.own_Q >= 0)
    ranked_WG[there, task.own_Q[there]] = False
    same_WG = (task.group_Q[:, None] == task.group_G) & (task.group_G != NO_GROUP)
    loose_WG = (task.unverified_Q[:, None] == task.unverified_G) & (task.unverified_G != NO_GROUP)
    ranked_WG &= same_WG | ~loose_WG
    return same_WG & ranked_WG, ranked_WG


def _dot(left: Rows, right: Rows) -> Floats:
    product = left @ right.T
    dense = product.toarray() if sparse.issparse(product) else product
    return np.asarray(dense, dtype=np.float64)


def _blocks(size: int) -> list[Int64s]:
    rows = np.arange(size, dtype=np.int64)
    return [rows[first : first + QUERIES_PER_BLOCK] for first in range(0, size, QUERIES_PER_BLOCK)]
