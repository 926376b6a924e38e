"""From numbers that describe users to a probability: the same few learners for all methods.

A model is fitted for each number of first events alone, as a user who stopped there looks different
from one who is still going. Shape key: `B` users, `F` numbers, `D` dimensions, `C` known columns.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from benchmarks.encoder.methods import Judge, Ranker, Unanswerable
from benchmarks.encoder.studies import Study
from benchmarks.encoder.tasks import RetrievalTask, RiskTask
from embedder.evaluation.metrics import Flags, Floats
from embedder.evaluation.ranking import Rows
from index.risk.config import RiskConfig
from index.risk.gallery import WHOLE, References
from index.risk.membership import RingMembership
from index.risk.neighbors import FEATURES, neighbor_features
from index.risk.ring_rates import NO_RING, Asked
from index.vectors import Vectors
from jobs.measure_risk import Students
from store.sequences import SequenceBatch

Numbers = npt.NDArray[np.floating[Any]]
Describe = Callable[[SequenceBatch], Numbers]


def students_of(study: Study, task: RiskTask) -> Students:
    """Return the labelled learned users, as old as those who are judged."""
    students = study.students
    if students is None:
        raise Unanswerable("one class has too few labels to learn from")
    if task.prefix is None:
        return students
    return Students(students.batch.head(task.prefix), students.is_positive)


def ranker(describe: Callable[[SequenceBatch], Rows]) -> Ranker:
    """Return a ranker by the unit rows of each user alone."""

    def rank(task: RetrievalTask) -> list[Rows]:
        return [describe(batch) for batch in (task.question.query, task.question.gallery)]

    return rank


def tree_judge(
    study: Study, describe: Describe, *, seed: int, of_students: Describe | None = None
) -> Judge:
    """Return boosted trees on numbers; `of_students` describes those who were counted before."""

    def judge(task: RiskTask) -> Floats:
        students = students_of(study, task)
        learned = (of_students or describe)(students.batch)
        return grow_trees(learned, students.is_positive, describe(task.tested), seed=seed)

    return judge


def grow_trees(learned_BF: Numbers, is_positive: Flags, judged_BF: Numbers, *, seed: int) -> Floats:
    """Fit boosted trees and return the probabilities of the users who are judged."""
    known_C = np.flatnonzero(np.isfinite(learned_BF).any(axis=0))
    trees = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.06, min_samples_leaf=20, random_state=seed
    )
    trees.fit(learned_BF[:, known_C], is_positive)
    probability_B: Floats = trees.predict_proba(judged_BF[:, known_C])[:, 1]
    return probability_B


def regression_judge(study: Study, describe: Callable[[SequenceBatch], Rows]) -> Judge:
    """Return a logistic regression on rows, sparse or dense."""

    def judge(task: RiskTask) -> Floats:
        students = students_of(study, task)
        model = LogisticRegression(C=10.0, solver="lbfgs", max_iter=300)
        model.fit(describe(students.batch), students.is_positive)
        probability_B: Floats = model.predict_proba(describe(task.tested))[:, 1]
        return probability_B

    return judge


def neighbor_judge(study: Study, describe: Callable[[SequenceBatch], Vectors]) -> Judge:
    """Return the vote of Gaussian-weighted nearest neighbors, as the risk model counts it."""

    def judge(task: RiskTask) -> Floats:
        students = students_of(study, task)
        return vote_of_neighbors(
            describe(students.batch), students.is_positive, describe(task.tested)
        )

    return judge


def vote_of_neighbors(learned_BD: Vectors, is_positive: Flags, judged_BD: Vectors) -> Floats:
    """Return the share of violators among the neighbors of each user who is judged."""
    size, nobody = len(learned_BD), RingMembership.nobody()
    references = References(
        tuple(map(str, range(size))),
        is_positive,
        np.ones(size),
        np.full(size, NO_RING, dtype=np.int64),
        (WHOLE,),
        (np.arange(size, dtype=np.int64),),
        (learned_BD,),
    )
    strangers = np.full(len(judged_BD), -1, dtype=np.int64)
    features = neighbor_features(
        references,
        nobody.rates(),
        judged_BD,
        np.ones(len(judged_BD), dtype=np.int64),
        strangers,
        Asked.by_strangers(strangers),
        RiskConfig(),
    )
    return to_probability(features[:, FEATURES.index("knn_log_odds")])


def to_probability(log_odds: Floats) -> Floats:
    """Return probabilities."""
    return np.asarray(1.0 / (1.0 + np.exp(-log_odds)))


def unit(rows: Numbers) -> Vectors:
    """Scale dense rows to unit length; a zero row stays zero."""
    length = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return np.ascontiguousarray(rows / length, dtype=np.float32)
