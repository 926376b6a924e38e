"""Run one retrieval task with all methods, each with and without the hub correction."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from embedder.evaluation.bootstrap import compare_rankings
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.methods import WITH_CSLS, Method
from embedder.evaluation.metrics import Int64s
from embedder.evaluation.ranking import (
    Ranking,
    Rows,
    Task,
    count_candidates,
    half_radius,
    rank_answers,
)
from embedder.evaluation.results import TaskResult, not_measurable
from store.sequences import SequenceBatch

REFERENCE_USERS = 5_000


@dataclass(frozen=True)
class Question:
    """Queries that have a right answer, and where to look for it.

    Attributes:
        query: The users asked for.
        gallery: The users ranked.
        task: Which answers are right.
        counts: How many queries and candidates.
        chance: The share of hits at 1 of whoever guesses.
    """

    query: SequenceBatch
    gallery: SequenceBatch
    task: Task
    counts: dict[str, int]
    chance: float


def ask(query: SequenceBatch, gallery: SequenceBatch, task: Task) -> Question:
    """Leave out the queries that have no right answer."""
    num_right_Q, num_ranked_Q = count_candidates(task)
    answerable = np.flatnonzero(num_right_Q > 0)
    counts = {
        "queries": len(answerable),
        "queries_without_right_answer": len(num_right_Q) - len(answerable),
        "gallery": gallery.num_users,
        "candidates_median": int(np.median(num_ranked_Q)) if len(num_ranked_Q) else 0,
    }
    share_Q = num_right_Q[answerable] / num_ranked_Q[answerable]
    chance = float(share_Q.mean()) if len(answerable) else 0.0
    return Question(query.take(answerable), gallery, task.rows(answerable), counts, chance)


def too_few_queries(question: Question, config: EvaluationConfig) -> str | None:
    """Return why nothing is measured, or None where the queries suffice."""
    num = question.query.num_users
    if num >= config.min_positives:
        return None
    return f"only {num} queries have a right answer to find; {config.min_positives} are needed"


def measure_retrieval(
    name: str,
    title: str,
    *,
    query: SequenceBatch,
    gallery: SequenceBatch,
    task: Task,
    methods: Mapping[str, Method],
    config: EvaluationConfig,
    notes: tuple[str, ...] = (),
) -> TaskResult:
    """Rank the gallery for every query that has a right answer, by every method."""
    question = ask(query, gallery, task)
    reason = too_few_queries(question, config)
    if reason is not None:
        return not_measurable(name, title, reason, question.counts)
    ranks: dict[str, Ranking] = {}
    for method, vectors in methods.items():
        query_rows, gallery_rows = vectors([question.query, gallery])
        plain, corrected = rank_both_ways(query_rows, gallery_rows, question.task, config)
        ranks |= {method + WITH_CSLS: corrected, method: plain}
    comparison = compare_rankings(ranks, question.task.group_Q, config)
    extra = {"chance_hit_at_1": question.chance}
    return TaskResult(name, title, None, question.counts, comparison, notes, extra=extra)


def rank_both_ways(
    query: Rows, gallery: Rows, task: Task, config: EvaluationConfig
) -> tuple[Ranking, Ranking]:
    """Rank by the cosine, and with the hub correction."""
    hubness_G = half_radius(gallery, gallery[_reference(gallery.shape[0], config)])
    plain = rank_answers(query, gallery, task)
    return plain, rank_answers(query, gallery, task, hubness_G=hubness_G)


def _reference(num_users: int, config: EvaluationConfig) -> Int64s:
    rng = np.random.default_rng([config.seed, 7])
    size = min(num_users, REFERENCE_USERS)
    return np.sort(rng.choice(num_users, size=size, replace=False)).astype(np.int64)
