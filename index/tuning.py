"""Tuning: the least effort at which an approximate index finds what was asked for.

Steps are taken on a part of the queries; the last word has all of them.

Shape key: `Q` queries, `K` neighbors, `D` dimensions.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from index.approximate import ApproximateIndex
from index.config import IndexConfig
from index.exact import ExactIndex
from index.hnsw import HnswIndex
from index.questions import DEPTHS, Questions, Recalls
from index.recall import SCORE_TOLERANCE, lower_bound, share_upper_bound
from index.vectors import Vectors, row_blocks

POOR_RECALL = 0.5
FIRST_QUERIES = 400
TIMED_TIMES = 3
TIMED_QUERIES = 200
BISECTIONS = 3
LAST_STEPS, FAR = 8, 0.02
"""How often effort grows by a quarter, where recall is not farther than this from the target."""
GAIN_MIN, STUCK = 0.0005, 2
"""More effort is in vain where recall grows by less in so many doublings."""


@dataclass(frozen=True)
class Quality:
    """What an index found.

    Attributes:
        recall: For each k, the mean over the queries.
        recall_bound: For each k, the lower bound of that mean over all users.
        num_queries: Q.
        num_poor: Queries whose recall at some k is below .5.
        poor_bound: The upper bound of the share of such users.
        newcomers_bound: The lower bound of the mean of newcomers alone, at the k where it is least;
            1 where none were asked about.
    """

    recall: Mapping[int, float]
    recall_bound: Mapping[int, float]
    num_queries: int
    num_poor: int
    poor_bound: float
    newcomers_bound: float = 1.0

    def is_better_than(self, other: "Quality") -> bool:
        """Tell whether fewer queries failed, or more neighbors were found at some k."""
        finds_more = any(found > other.recall[k] for k, found in self.recall.items())
        return self.num_poor < other.num_poor or finds_more

    def reaches(self, recall_min: float, poor_share_max: float) -> bool:
        """Tell whether even the bounds are as asked."""
        recall = min(self.newcomers_bound, *self.recall_bound.values())
        return recall >= recall_min and self.poor_bound <= poor_share_max


def quality_of(
    exact: ExactIndex, approximate: ApproximateIndex, questions: Questions, *, confidence: float
) -> Quality:
    """Measure recall at every depth, by scores computed here."""
    recalls = {k: recall_of(exact, approximate, questions, k=k) for k in DEPTHS}
    return quality_from(recalls, questions, confidence=confidence)


def quality_from(
    recalls: Mapping[int, Recalls], questions: Questions, *, confidence: float
) -> Quality:
    """Return what the recalls of all queries, at some depths, tell of all users."""
    num = len(questions.own_Q)
    poor = np.minimum.reduce(list(recalls.values())) < POOR_RECALL
    means = {k: float(recall.mean()) for k, recall in recalls.items()}
    drawn = {"num": num, "population": questions.population}
    return Quality(
        means,
        {k: lower_bound(mean, **drawn, confidence=confidence) for k, mean in means.items()},
        num,
        int(poor.sum()),
        share_upper_bound(int(poor.sum()), **drawn, confidence=confidence),
        min(questions.bound_of_newcomers(recall, confidence) for recall in recalls.values()),
    )


def recall_of(
    exact: ExactIndex,
    approximate: ApproximateIndex,
    questions: Questions,
    *,
    k: int,
    effort: int | None = None,
) -> Recalls:
    """Return the recall@k of each query, with the effort of the index itself if none is named.

    A row counts as found when its true score reaches that of the exact k-th neighbor, within a
    tolerance: which of two equal users is returned does not matter.
    """
    rows_QK = approximate.search(questions.query_QD, k=k + 1, effort=effort).rows_QK
    is_own = rows_QK == questions.own_Q[:, None]
    counted = (rows_QK >= 0) & ~(is_own & (questions.own_Q[:, None] >= 0))
    counted &= np.cumsum(counted, axis=1) <= k
    reached = np.empty(rows_QK.shape, dtype=bool)
    for block in row_blocks(len(rows_QK), 4 * rows_QK.shape[1] * exact.dim):
        rows = rows_QK[block]
        score = np.einsum("qkd,qd->qk", exact.vectors_ND[rows], questions.query_QD[block])
        if exact.penalty_N is not None:
            score -= exact.penalty_N[rows]
        reached[block] = score >= questions.floor_Q[k][block, None] - SCORE_TOLERANCE
    count_Q = questions.count_Q[k]
    found_Q = np.minimum((reached & counted).sum(axis=1), count_Q)
    recall_Q: Recalls = np.where(count_Q > 0, found_Q / np.maximum(count_Q, 1), 1.0)
    return recall_Q


def tune(
    exact: ExactIndex,
    index: ApproximateIndex,
    questions: Questions,
    config: IndexConfig,
    *,
    effort_max: int,
) -> tuple[ApproximateIndex, Quality]:
    """Return the index with the least effort, from its own on, for the target at every depth.

    Ten neighbors get the effort that a hundred need, but for a graph that was asked by newcomers.
    With what they need themselves, newcomers find fewer: stored users and points beside them are
    easier. In a graph they get a step more than they need: the least of several efforts with which
    no query fails owes that to chance too. Where even `effort_max` does not reach the target, that
    is taken and the quality tells it.
    """
    tuner = _Tuner(exact, index, questions, config, effort_max)
    effort, proven, recalls = index.inner.effort, {}, {}
    for k in DEPTHS:
        effort, recalls[k] = tuner.proven(tuner.about_least(effort, k=k), k=k)
        proven[k] = effort
    few = DEPTHS[0]
    if questions.are_newcomers and isinstance(index.inner, HnswIndex):
        return _with_effort_for_few(tuner, proven, recalls)
    if proven[few] != effort:
        recalls[few] = recall_of(exact, index, questions, k=few, effort=effort)
    return index.with_effort(effort), quality_from(recalls, questions, confidence=config.confidence)


def _with_effort_for_few(
    tuner: "_Tuner", proven: Mapping[int, int], recalls: dict[int, Recalls]
) -> tuple[ApproximateIndex, Quality]:
    """Return a graph with the effort proven for a hundred, and for ten a step more than for them.

    Each depth may have failed other queries: steps are added until both together are within the
    target, or ten neighbors have the effort of a hundred.
    """
    few, effort = DEPTHS[0], proven[DEPTHS[-1]]
    at_few = proven[few]
    while True:
        at_few = min(one_step_more(at_few), effort)
        recalls[few] = recall_of(tuner.exact, tuner.index, tuner.questions, k=few, effort=at_few)
        quality = quality_from(recalls, tuner.questions, confidence=tuner.config.confidence)
        if at_few == effort or reaches(quality, tuner.config):
            break
    inner = tuner.index.inner
    assert isinstance(inner, HnswIndex)
    own = at_few if at_few < effort else None
    return replace(tuner.index, inner=inner.with_effort(effort, at_10=own)), quality


def one_step_more(effort: int) -> int:
    """Return an effort larger by a quarter."""
    return -(-5 * effort // 4)


def quality_if_reached(
    exact: ExactIndex,
    index: ApproximateIndex,
    questions: Questions,
    config: IndexConfig,
) -> Quality | None:
    """Return what an index finds; None, and sooner, where it misses the target at a depth.

    Args:
        exact: Holds the vectors.
        index: What is asked.
        questions: Queries with their answers.
        config: The target.
    """
    recalls: dict[int, Recalls] = {}
    for k in DEPTHS:
        recalls[k] = recall_of(exact, index, questions, k=k)
        quality = quality_from(recalls, questions, confidence=config.confidence)
        if not reaches(quality, config):
            return None
    return quality


def reaches(quality: Quality, config: IndexConfig) -> bool:
    """Tell whether the bounds are within the target."""
    return quality.reaches(config.recall_target, config.poor_share_target)


@dataclass(frozen=True)
class _Tuner:
    """Looks for the least effort at a depth; attributes are the arguments of `tune`."""

    exact: ExactIndex
    index: ApproximateIndex
    questions: Questions
    config: IndexConfig
    effort_max: int

    def about_least(self, least: int, *, k: int) -> int:
        """Return the least effort, from `least` on, at which some of the queries reach the target.

        Effort doubles until it is reached, and the last doubling is bisected.
        """
        first = self.questions.part(FIRST_QUERIES)
        aim = mean_to_prove(self.config.recall_target, self.questions, self.config.confidence)

        def recall_at(effort: int) -> float:
            return first.mean_of(recall_of(self.exact, self.index, first, k=k, effort=effort))

        low, high = 0, min(least, self.effort_max)
        recalls = [recall_at(high)]
        while recalls[-1] < aim and high < self.effort_max:
            low, high = high, min(2 * high, self.effort_max)
            recalls.append(recall_at(high))
            is_stuck = len(recalls) > STUCK and recalls[-1] - recalls[-1 - STUCK] < GAIN_MIN
            if self.index.inner.refine > 1 and is_stuck:  # too coarse codes
                break
        for _ in range(BISECTIONS if low and recalls[-1] >= aim else 0):
            middle = (low + high) // 2
            low, high = (low, middle) if recall_at(middle) >= aim else (middle, high)
        return high

    def proven(self, least: int, *, k: int) -> tuple[int, Recalls]:
        """Return the effort, a few steps from `least`, at which all queries prove the target.

        The recalls of all queries come with it. Where the target is too far, no step is taken.
        """
        effort = least
        for _ in range(LAST_STEPS):
            recall = recall_of(self.exact, self.index, self.questions, k=k, effort=effort)
            quality = quality_from({k: recall}, self.questions, confidence=self.config.confidence)
            is_far = self.questions.mean_of(recall) < self.config.recall_target - FAR
            if is_far or effort == self.effort_max or reaches(quality, self.config):
                break
            enough = self._for_failed(recall, min(one_step_more(effort), self.effort_max), k=k)
            if enough is None:
                break
            effort = enough
        return effort, recall

    def _for_failed(self, recall: Recalls, least: int, *, k: int) -> int | None:
        """Return the least effort, from `least` on, at which no more queries fail than may.

        Those that failed are few, and asked alone. None where no effort is enough.
        """
        failed, effort = self.questions.only(np.flatnonzero(recall < POOR_RECALL)), least
        num_poor = len(failed.own_Q)
        if not num_poor:
            return least
        while not self._may_fail(num_poor):
            now = recall_of(self.exact, self.index, failed, k=k, effort=effort)
            num_poor = int((now < POOR_RECALL).sum())
            if self._may_fail(num_poor):
                return effort
            if effort == self.effort_max:
                return None
            effort = min(one_step_more(effort), self.effort_max)
        return least

    def _may_fail(self, num_poor: int) -> bool:
        bound = share_upper_bound(
            num_poor,
            num=len(self.questions.own_Q),
            population=self.questions.population,
            confidence=self.config.confidence,
        )
        return bound <= self.config.poor_share_target


def microseconds(index: ApproximateIndex | ExactIndex, query_QD: Vectors) -> float:
    """Return the median time of a search for ten neighbors of one query, in microseconds.

    Each query's time is the least of several: what else the machine did is not its cost.
    """
    seconds = []
    for query in query_QD:
        taken = []
        for _ in range(TIMED_TIMES):
            begin = time.perf_counter()
            index.search(query[None], k=DEPTHS[0])
            taken.append(time.perf_counter() - begin)
        seconds.append(min(taken))
    return float(np.median(seconds)) * 1e6


def mean_to_prove(target: float, questions: Questions, confidence: float) -> float:
    """Return about the mean whose lower bound is the target, so that few steps remain to prove."""
    num, population = len(questions.own_Q), questions.population
    bound = lower_bound(target, num=num, population=population, confidence=confidence)
    return min(1.0, 2 * target - bound)
