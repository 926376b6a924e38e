"""Tuning: the least effort at which an approximate index finds what was asked for.

The queries are users drawn anew, each without itself, and as many points halfway between such a
user and one of its neighbors. Those lie where users lie, but the index has never seen them: a
stored vector is easier to find the way to, as newcomers' are not. True answers are found once, by
exact search. Steps are taken on a part of the queries; the last word has all of them.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors, `D` dimensions.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from index.approximate import ApproximateIndex
from index.config import IndexConfig
from index.exact import ExactIndex
from index.recall import SCORE_TOLERANCE, lower_bound, sample_rows, share_upper_bound
from index.vectors import Floats, Neighbors, Rows, Vectors, row_blocks

DEPTHS = (10, 100)
POOR_RECALL = 0.5
FIRST_QUERIES = 400
TIMED_TIMES = 3
TIMED_QUERIES = 200
BISECTIONS = 3
LAST_STEPS, FAR = 8, 0.02
"""How often effort grows by a quarter, where recall is not farther than this from the target."""
GAIN_MIN, STUCK = 0.0005, 2
"""More effort is in vain where recall grows by less in so many doublings."""

Recalls = npt.NDArray[np.float64]


class ExactSearch(Protocol):
    """Finds the true neighbors among the rows that are to be found."""

    def __call__(self, query_QD: Vectors, /, *, k: int) -> Neighbors: ...


@dataclass(frozen=True)
class Questions:
    """Queries and what a true answer must reach.

    Attributes:
        query_QD: Unit vectors, float32.
        own_Q: Row that is not to be counted, -1 for none.
        floor_Q: For each k, the score of the true k-th neighbor.
        count_Q: For each k, how many neighbors there are: k, or fewer in a small gallery.
        population: Queries that the sample stands for: all users, and a point beside each.
    """

    query_QD: Vectors
    own_Q: Rows
    floor_Q: Mapping[int, Floats]
    count_Q: Mapping[int, Rows]
    population: int

    @property
    def stored_rows(self) -> Rows:
        """The users among the queries."""
        return self.own_Q[self.own_Q >= 0]

    def part(self, num: int) -> "Questions":
        """Return `num` of the queries, evenly spread."""
        return self.only(np.unique(np.linspace(0, len(self.own_Q) - 1, num).astype(np.int64)))

    def only(self, chosen: Rows) -> "Questions":
        """Return some of the queries."""
        return Questions(
            self.query_QD[chosen],
            self.own_Q[chosen],
            {k: floor[chosen] for k, floor in self.floor_Q.items()},
            {k: count[chosen] for k, count in self.count_Q.items()},
            self.population,
        )


@dataclass(frozen=True)
class Quality:
    """What an index found.

    Attributes:
        recall: For each k, the mean over the queries.
        recall_bound: For each k, the lower bound of that mean over all users.
        num_queries: Q.
        num_poor: Queries whose recall at some k is below .5.
        poor_bound: The upper bound of the share of such users.
    """

    recall: Mapping[int, float]
    recall_bound: Mapping[int, float]
    num_queries: int
    num_poor: int
    poor_bound: float

    def is_better_than(self, other: "Quality") -> bool:
        """Tell whether fewer queries failed, or more neighbors were found at some k."""
        finds_more = any(found > other.recall[k] for k, found in self.recall.items())
        return self.num_poor < other.num_poor or finds_more

    def reaches(self, recall_min: float, poor_share_max: float) -> bool:
        """Tell whether even the bounds are as asked."""
        recall = min(self.recall_bound.values())
        return recall >= recall_min and self.poor_bound <= poor_share_max


def ask(exact: ExactIndex, *, num: int, generator: np.random.Generator) -> Questions:
    """Draw `num` queries, half of them stored users, and find their true neighbors."""
    rows_Q = sample_rows(exact.num_vectors, num=-(-num // 2), generator=generator)
    return ask_beside(exact, rows_Q, exact.search, 2 * exact.num_vectors, generator=generator)


def ask_beside(
    exact: ExactIndex,
    rows_Q: Rows,
    search: ExactSearch,
    population: int,
    *,
    generator: np.random.Generator,
) -> Questions:
    """Ask what some users, and as many points beside them, are to find.

    Args:
        exact: Holds the vectors.
        rows_Q: The users.
        search: Returns the k best rows of those that are to be found, for k as a keyword.
        population: Queries that these stand for.
        generator: Draws the points.
    """
    stored = np.ascontiguousarray(exact.vectors_ND[rows_Q])
    near = search(stored, k=max(DEPTHS) + 1)
    partner = near.rows_QK[:, : DEPTHS[0] + 1]
    chosen = generator.integers(0, (partner >= 0).sum(axis=1))
    between = stored + exact.vectors_ND[partner[np.arange(len(partner)), chosen]]
    length = np.linalg.norm(between, axis=1, keepdims=True)
    between = np.where(length > 0, between / np.maximum(length, 1e-12), stored)
    further = search(np.ascontiguousarray(between), k=max(DEPTHS) + 1)
    found = Neighbors(
        np.concatenate([near.rows_QK, further.rows_QK]),
        np.concatenate([near.score_QK, further.score_QK]),
    )
    own_Q = np.concatenate([rows_Q, np.full(len(between), -1)])
    query_QD = np.concatenate([stored, between]).astype(np.float32)
    return answered(query_QD, own_Q, found, population)


def answered(query_QD: Vectors, own_Q: Rows, found: Neighbors, population: int) -> Questions:
    """Return queries with what the true neighbors tell: the 101 best rows, or all there are."""
    floors = {k: _kth(found.rows_QK, found.score_QK, own_Q, k) for k in DEPTHS}
    return Questions(
        query_QD,
        own_Q,
        {k: floor for k, (floor, _) in floors.items()},
        {k: count for k, (_, count) in floors.items()},
        population,
    )


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

    Ten neighbors get the effort that a hundred need. With what they need themselves, newcomers
    find fewer: stored users and points beside them are easier. Where even `effort_max` does not
    reach the target, that is taken and the quality tells it.
    """
    tuner = _Tuner(exact, index, questions, config, effort_max)
    effort = index.inner.effort
    for k in DEPTHS:
        effort, recall = tuner.proven(tuner.about_least(effort, k=k), k=k)
    recalls = {k: recall_of(exact, index, questions, k=k, effort=effort) for k in DEPTHS[:-1]} | {
        DEPTHS[-1]: recall
    }
    tuned = index.with_effort(effort)
    return tuned, quality_from(recalls, questions, confidence=config.confidence)


def quality_if_reached(
    exact: ExactIndex,
    index: ApproximateIndex,
    questions: Questions,
    config: IndexConfig,
    *,
    stored_alone: bool = False,
) -> Quality | None:
    """Return what an index finds; None, and sooner, where it misses the target at a depth.

    Args:
        exact: Holds the vectors.
        index: What is asked.
        questions: Queries with their answers.
        config: The target.
        stored_alone: Stored users must find as much in the mean without the points beside them.
    """
    stored = np.flatnonzero(questions.own_Q >= 0) if stored_alone else np.empty(0, np.int64)
    recalls: dict[int, Recalls] = {}
    for k in DEPTHS:
        recalls[k] = recall_of(exact, index, questions, k=k)
        quality = quality_from(recalls, questions, confidence=config.confidence)
        of_stored = recalls[k][stored].mean() if len(stored) else 1.0
        if not reaches(quality, config) or of_stored < config.recall_target:
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
        aim = _mean_to_prove(self.config.recall_target, self.questions, self.config.confidence)

        def recall_at(effort: int) -> float:
            return float(recall_of(self.exact, self.index, first, k=k, effort=effort).mean())

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
            is_far = quality.recall[k] < self.config.recall_target - FAR
            if is_far or effort == self.effort_max or reaches(quality, self.config):
                break
            enough = self._for_failed(recall, min(-(-5 * effort // 4), self.effort_max), k=k)
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
        while not self._may_fail(num_poor):
            now = recall_of(self.exact, self.index, failed, k=k, effort=effort)
            num_poor = int((now < POOR_RECALL).sum())
            if self._may_fail(num_poor):
                return effort
            if effort == self.effort_max:
                return None
            effort = min(-(-5 * effort // 4), self.effort_max)
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


def _mean_to_prove(target: float, questions: Questions, confidence: float) -> float:
    """Return about the mean whose lower bound is the target, so that few steps remain to prove."""
    num, population = len(questions.own_Q), questions.population
    bound = lower_bound(target, num=num, population=population, confidence=confidence)
    return min(1.0, 2 * target - bound)


def _kth(rows_QK: Rows, score_QK: Floats, own_Q: Rows, k: int) -> tuple[Floats, Rows]:
    """Return the score of each query's k-th (or last) neighbor but itself, and how many to find."""
    others = (rows_QK >= 0) & (rows_QK != own_Q[:, None])
    counted = others & (np.cumsum(others, axis=1) <= k)
    floor_Q: Floats = np.where(counted, score_QK, np.inf).min(axis=1).astype(np.float32)
    return floor_Q, counted.sum(axis=1)
