"""Which rows may still be among the k best of their query, over the blocks seen so far.

Shape key: `M` rows of a block, `Q` queries, `G` groups of rows, `F` rows in a group, `P` pairs of
query and row, `C` groups that are looked into.
"""

import numpy as np

from index.vectors import Floats, Rows

POOL_MAX = 2_000_000
GROUP_SIZE = 16
WAITING_PER_PLACE = 8
WAITING_MIN = 4_096


class Shortlist:
    """Pairs of query and row whose approximate score reaches the query's floor.

    The floor is the k-th best score seen, less twice the error of a score: whatever is below it
    can't be among the k best. Most of a block is put aside by the best score of each group of
    rows, which costs one pass over the scores.

    Args:
        num_queries: Q.
        k: Rows wanted for each query.
        rounding: Twice the largest error of a score.
    """

    def __init__(self, num_queries: int, k: int, rounding: float) -> None:
        self._k = k
        self._rounding = np.float32(rounding)
        self._floor_Q = np.full(num_queries, -np.inf, dtype=np.float32)
        self._query_P = np.empty(0, dtype=np.int64)
        self._rows_P = np.empty(0, dtype=np.int64)
        self._score_P = np.empty(0, dtype=np.float32)
        self._waiting: list[tuple[Rows, Rows, Floats]] = []
        self._num_waiting = 0

    def offer(self, rows_M: Rows, score_MQ: Floats) -> None:
        """Keep the rows of a block that reach their query's floor; `score_MQ` is C-contiguous."""
        num_groups = len(rows_M) // GROUP_SIZE
        grouped = num_groups * GROUP_SIZE
        if num_groups:
            self._offer_groups(rows_M[:grouped], score_MQ[:grouped], num_groups)
        if grouped < len(rows_M):
            self._offer_groups(rows_M[grouped:], score_MQ[grouped:], len(rows_M) - grouped)
        limit = max(WAITING_PER_PLACE * self._k * len(self._floor_Q), WAITING_MIN)
        if self._num_waiting > min(max(limit, len(self._rows_P)), POOL_MAX):
            self._prune()

    def absorb(self, other: "Shortlist") -> None:
        """Take over what another one of the same queries has kept of other rows.

        Where their scores err by more, that holds for all from now on.
        """
        more = max(other._rounding - self._rounding, np.float32(0.0))
        self._floor_Q -= more
        self._rounding += more
        self._waiting += [(other._query_P, other._rows_P, other._score_P), *other._waiting]
        self._num_waiting += len(other._rows_P) + other._num_waiting

    @property
    def is_full(self) -> bool:
        """True when even the rows that can't be told apart are too many to keep."""
        return len(self._rows_P) > POOL_MAX

    @property
    def num_kept(self) -> int:
        """P, as far as the rows seen were compared with each other."""
        return len(self._rows_P)

    def restart(self, best: list[tuple[Rows, Floats]], rounding: float) -> None:
        """Keep only these rows and exact scores; `rounding` is of scores offered from now on."""
        self._rounding = np.float32(rounding)
        self._query_P = np.repeat(np.arange(len(best)), [len(rows) for rows, _ in best])
        self._rows_P = np.concatenate([rows for rows, _ in best])
        self._score_P = np.concatenate([score for _, score in best])

    def pairs(self) -> tuple[Rows, Rows]:
        """Return query and row of all that is left, ordered by query."""
        self._prune()
        return self._query_P, self._rows_P

    def _offer_groups(self, rows_M: Rows, score_MQ: Floats, num_groups: int) -> None:
        """Look into the groups whose best row reaches the floor."""
        num_queries = len(self._floor_Q)
        score_FGQ = score_MQ.reshape(-1, num_groups, num_queries)
        peak_GQ = score_FGQ.max(axis=0)
        if num_groups >= self._k and not np.isfinite(self._floor_Q).all():
            kth_Q = np.partition(peak_GQ, num_groups - self._k, axis=0)[num_groups - self._k]
            self._floor_Q = np.maximum(self._floor_Q, kth_Q - self._rounding)
        group_C, query_C = np.divmod(np.flatnonzero(peak_GQ >= self._floor_Q), num_queries)
        score_FC = score_FGQ[:, group_C, query_C]
        within_P, place_P = np.nonzero(score_FC >= self._floor_Q[query_C])
        rows_P = rows_M[within_P * num_groups + group_C[place_P]]
        self._waiting.append((query_C[place_P], rows_P, score_FC[within_P, place_P]))
        self._num_waiting += len(rows_P)

    def _prune(self) -> None:
        """Raise the floors to what was seen, and drop what lies below."""
        parts = [(self._query_P, self._rows_P, self._score_P), *self._waiting]
        query_P, rows_P, score_P = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((-score_P, query_P))
        query_P, rows_P, score_P = query_P[order], rows_P[order], score_P[order]
        start_Q = np.searchsorted(query_P, np.arange(len(self._floor_Q)))
        stop_Q = np.append(start_Q[1:], len(query_P))
        kth_Q = start_Q + self._k - 1
        full = kth_Q < stop_Q
        reached = score_P[kth_Q[full]] - self._rounding
        self._floor_Q[full] = np.maximum(self._floor_Q[full], reached)
        keep = score_P >= self._floor_Q[query_P]
        self._query_P, self._rows_P, self._score_P = query_P[keep], rows_P[keep], score_P[keep]
        self._waiting, self._num_waiting = [], 0
