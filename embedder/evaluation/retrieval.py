"""Run one retrieval task with all methods, each with and without the hub correction."""

from collections.abc import Mapping

import numpy as np

from embedder.evaluation.bootstrap import compare_rankings
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.methods import WITH_CSLS, Method
from embedder.evaluation.metrics import Int64s
from embedder.evaluation.ranking import Ranking, Task, count_candidates, half_radius, rank_answers
from embedder.evaluation.results import TaskResult, not_measurable
from store.sequences import SequenceBatch

REFERENCE_USERS = 5_000


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
    num_right_Q, num_ranked_Q = count_candidates(task)
    answerable = np.flatnonzero(num_right_Q > 0)
    counts = {
        "queries": len(answerable),
        "queries_without_right_answer": len(num_right_Q) - len(answerable),
        "gallery": gallery.num_users,
        "candidates_median": int(np.median(num_ranked_Q)) if len(num_ranked_Q) else 0,
    }
    if len(answerable) < config.min_positives:
        reason = f"only {len(answerable)} queries have a right answer to find"
        return not_measurable(name, title, f"{reason}; {config.min_positives} are needed", counts)
    query, task = query.take(answerable), task.rows(answerable)
    ranks = _ranks(query, gallery, task, methods, config)
    chance = float((num_right_Q[answerable] / num_ranked_Q[answerable]).mean())
    comparison = compare_rankings(ranks, config)
    extra = {"chance_hit_at_1": chance}
    return TaskResult(name, title, None, counts, comparison, notes, extra=extra)


def _ranks(
    query: SequenceBatch,
    gallery: SequenceBatch,
    task: Task,
    methods: Mapping[str, Method],
    config: EvaluationConfig,
) -> dict[str, Ranking]:
    reference = _reference(gallery.num_users, config)
    ranks = {}
    for name, method in methods.items():
        query_rows, gallery_rows = method([query, gallery])
        hubness_G = half_radius(gallery_rows, gallery_rows[reference])
        ranks[name + WITH_CSLS] = rank_answers(query_rows, gallery_rows, task, hubness_G=hubness_G)
        ranks[name] = rank_answers(query_rows, gallery_rows, task)
    return ranks


def _reference(num_users: int, config: EvaluationConfig) -> Int64s:
    rng = np.random.default_rng([config.seed, 7])
    size = min(num_users, REFERENCE_USERS)
    return np.sort(rng.choice(num_users, size=size, replace=False)).astype(np.int64)
