"""Simple methods that an encoder has to beat.

Shape key: `B` users of a batch, `E` events of all of them, `F` statistics, `V` hashed pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

from benchmarks.encoder.changes import kept_labels
from benchmarks.encoder.downstream import (
    neighbor_judge,
    ranker,
    regression_judge,
    students_of,
    tree_judge,
    unit,
)
from benchmarks.encoder.methods import Fitted, Ranker, Unanswerable
from benchmarks.encoder.studies import Study
from benchmarks.encoder.tasks import RetrievalTask, RiskTask
from embedder.evaluation.floors import BoostedTrees, Tokenizer, TokenRegression
from embedder.evaluation.methods import TFIDF, TFIDF_TARGET, Method, floor_methods
from embedder.evaluation.metrics import Flags, Floats, Int64s
from embedder.evaluation.ranking import Rows
from embedder.evaluation.sample import owners
from embedder.evaluation.statistics import Described, count_statistics
from embedder.hashing import hash_column, mix
from index.vectors import Vectors
from jobs.measure_risk import Students
from store.sequences import SequenceBatch

COUNT_MAX, STANDARD_MAX, PAIR_BITS = 1_000, 4.0, 16
SVD_DIMS = (64, 256)
SIZES = np.unique(np.round(2 ** (np.arange(60) / 3)).astype(np.int64))


def fit_count(study: Study, *, seed: int) -> Fitted:
    """Know users by their number of events alone."""

    def judge(task: RiskTask) -> Floats:
        students = students_of(study, task)
        return rates_by_count(
            students.batch.num_events, students.is_positive, task.tested.num_events
        )

    return Fitted({"count": judge}, {"count": ranker(as_angle)})


def rates_by_count(learned_B: Int64s, is_positive: Flags, judged_B: Int64s) -> Floats:
    """Return the smoothed share of violators among those of about as many events."""
    learned, judged = (np.searchsorted(SIZES, size, side="right") for size in (learned_B, judged_B))
    total = np.bincount(learned, minlength=len(SIZES) + 1)
    violators = np.bincount(learned, is_positive.astype(np.float64), minlength=len(SIZES) + 1)
    rates: Floats = (violators + is_positive.mean()) / (total + 1)
    return rates[judged]


def as_angle(batch: SequenceBatch) -> Vectors:
    """Return the logarithm of the number of events as a point on a quarter of a circle."""
    share = np.minimum(np.log1p(batch.num_events) / np.log1p(COUNT_MAX), 1.0)
    angle = share * np.pi / 2
    return unit(np.column_stack([np.cos(angle), np.sin(angle)]))


@dataclass(frozen=True)
class Standard:
    """Hand statistics in standard deviations of the users they were fitted on."""

    described: Described
    mean_F: Floats
    deviation_F: Floats

    @classmethod
    def fit(cls, batch: SequenceBatch, names: Sequence[str]) -> "Standard":
        """Measure the spread; a statistic that nobody has counts for nothing."""
        described = Described.fit(batch, names)
        values = count_statistics(batch, described)
        known = np.isfinite(values)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, values, 0.0).sum(axis=0) / count
        spread = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / count)
        return cls(described, mean, np.maximum(spread, 1e-6))

    def rows(self, batch: SequenceBatch) -> Vectors:
        """Return unit rows; what is not known is average."""
        scaled = (count_statistics(batch, self.described) - self.mean_F) / self.deviation_F
        return unit(np.clip(np.nan_to_num(scaled), -STANDARD_MAX, STANDARD_MAX))


def fit_statistics(study: Study, *, seed: int) -> Fitted:
    """Know users by hand statistics: trees on them, neighbors among them."""
    names = Tokenizer.fit(study.learners, study.schema).names
    standard = Standard.fit(study.learners, names)
    trees = tree_judge(study, lambda batch: count_statistics(batch, standard.described), seed=seed)
    return Fitted(
        {"statistics": trees, "statistics.neighbors": neighbor_judge(study, standard.rows)},
        {"statistics": ranker(standard.rows)},
    )


def fit_statistics_and_tokens(study: Study, *, seed: int, label_share: float = 1.0) -> Fitted:
    """Know users by hand statistics and an SVD of TF-IDF: boosted trees, the usual baseline."""
    tokenizer = Tokenizer.fit(study.learners, study.schema)
    name = "statistics_tfidf" + ("" if label_share == 1 else f"_labels_{label_share * 100:g}")

    def judge(task: RiskTask) -> Floats:
        students = some_students(students_of(study, task), label_share)
        model = BoostedTrees(tokenizer, seed=seed)
        return model.fit([students.batch], [students.is_positive]).probabilities(task.tested)

    return Fitted({name: judge})


def some_students(students: Students, share: float) -> Students:
    """Return a share of the students; the same ones as any method with as few labels has."""
    if share == 1:
        return students
    rows = np.flatnonzero(kept_labels(students.batch.user_ids, share))
    is_positive = students.is_positive[rows]
    if not 0 < is_positive.sum() < len(rows):
        raise Unanswerable("no labels of one class are left")
    return Students(students.batch.take(rows), is_positive)


def fit_tokens(study: Study, *, seed: int) -> Fitted:
    """Know users by TF-IDF of attribute tokens, whole, of the target alone, or in few numbers."""
    tokenizer, methods = Tokenizer.fit(study.learners, study.schema), floor_methods(study.schema)

    def judge(task: RiskTask) -> Floats:
        students = students_of(study, task)
        model = TokenRegression(tokenizer, seed=seed)
        return model.fit([students.batch], [students.is_positive]).probabilities(task.tested)

    rankers = {"tfidf": _as_ranker(methods[TFIDF])}
    if TFIDF_TARGET in methods:
        rankers["tfidf.target"] = _as_ranker(methods[TFIDF_TARGET])
    rankers |= {f"tfidf.svd_{dim}": reduced(methods[TFIDF], dim, seed) for dim in SVD_DIMS}
    return Fitted({"tfidf": judge}, rankers)


def _as_ranker(method: Method) -> Ranker:
    def rank(task: RetrievalTask) -> list[Rows]:
        return method([task.question.query, task.question.gallery])

    return rank


def reduced(method: Method, dim: int, seed: int) -> Ranker:
    """Return the truncated SVD of the gallery's rows (latent semantic analysis)."""

    def rank(task: RetrievalTask) -> list[Rows]:
        query, gallery = method([task.question.query, task.question.gallery])
        used = np.unique(gallery.indices)
        most = min(gallery.shape[0], len(used)) - 1
        if most <= 1:
            return [unit(rows[:, used].toarray()) for rows in (query, gallery)]
        svd = TruncatedSVD(min(dim, most), n_iter=3, random_state=seed)
        svd.fit(gallery[:, used])
        return [unit(svd.transform(rows[:, used])) for rows in (query, gallery)]

    return rank


def fit_bigrams(study: Study, *, seed: int) -> Fitted:
    """Know users by which type of event follows which."""
    weighted = weigh_pairs(study.learners)
    return Fitted({"bigrams": regression_judge(study, weighted)}, {"bigrams": ranker(weighted)})


def weigh_pairs(learned: SequenceBatch) -> Callable[[SequenceBatch], sparse.csr_matrix]:
    """Return what weighs the pairs of users by how rare they are among the learned users."""
    users_V = np.bincount(count_pairs(learned).indices, minlength=1 << PAIR_BITS)
    idf_V = np.log((1 + learned.num_users) / (1 + users_V)) + 1

    def weighted(batch: SequenceBatch) -> sparse.csr_matrix:
        counts = count_pairs(batch)
        counts.data = np.log1p(counts.data) * idf_V[counts.indices]
        length = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
        return sparse.diags(1 / np.maximum(length, 1e-9)) @ counts

    return weighted


def count_pairs(batch: SequenceBatch) -> sparse.csr_matrix:
    """Return how often each user has each pair of types in a row; the first follows nothing."""
    type_E, user_E = hash_column(batch.events["event_type"]), owners(batch)
    previous_E: npt.NDArray[np.uint64] = np.append(np.uint64(0), type_E[:-1])[: len(type_E)]
    previous_E[batch.offsets[:-1][batch.num_events > 0]] = 0
    pair_E = mix(type_E ^ mix(previous_E)) >> np.uint64(64 - PAIR_BITS)
    ones = np.ones(len(user_E))
    shape = (batch.num_users, 1 << PAIR_BITS)
    return sparse.coo_matrix((ones, (user_E, pair_E.astype(np.int64))), shape=shape).tocsr()
