from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from index.approximate import ApproximateIndex, ApproximateKind
from index.config import IndexConfig
from index.distinct import group_identical
from index.exact import ExactIndex
from index.hubness import hub_penalty
from index.kinds import build_index
from index.questions import DEPTHS, Questions, ask
from index.tuning import quality_of, recall_of, tune
from index.vectors import Floats, Neighbors, Vectors
from tests.index_fakes import clustered_vectors, unit_vectors

HNSW = IndexConfig(m=8, ef_construction=20, ef_search=8, recall_target=0.9, poor_share_target=0.05)


def graph_of(vectors: Vectors, config: IndexConfig = HNSW) -> ApproximateIndex:
    return build_index("hnsw", ExactIndex(vectors), group_identical(vectors), config)


def questions_of(exact: ExactIndex, num: int = 400, seed: int = 3) -> Questions:
    return ask(exact, num=num, generator=np.random.default_rng(seed))


def oracle_recall(
    vectors: Vectors, penalty: Floats, index: ApproximateIndex, questions: Questions, k: int
) -> list[float]:
    """Sort all scores of each query, in float64."""
    found = index.search(questions.query_QD, k=k + 1).rows_QK
    recalls = []
    for query, own, rows in zip(questions.query_QD, questions.own_Q, found, strict=True):
        score = vectors.astype(np.float64) @ query.astype(np.float64) - penalty
        others = np.delete(score, own) if own >= 0 else score
        floor = np.sort(others)[-k]
        answer = [row for row in rows if row not in (own, -1)][:k]
        recalls.append(float((score[answer] >= floor - 1e-5).sum() / k))
    return recalls


@pytest.mark.parametrize("k", DEPTHS)
def test_recall_is_that_of_a_sort_of_all_scores(k: int) -> None:
    vectors = clustered_vectors(1_500, 16, num_clusters=30)
    entries = group_identical(vectors)
    penalty = hub_penalty(vectors, entries, HNSW)
    exact = ExactIndex(vectors, penalty)
    index = build_index("hnsw", exact, entries, HNSW).with_effort(12)
    questions = questions_of(exact, 60)
    recall = recall_of(exact, index, questions, k=k)
    np.testing.assert_allclose(recall, oracle_recall(vectors, penalty, index, questions, k))


def test_half_of_the_queries_are_unseen_points_beside_users() -> None:
    vectors = clustered_vectors(1_500, 16, num_clusters=30)
    questions = questions_of(ExactIndex(vectors), 200)
    stored = questions.own_Q >= 0
    assert stored.sum() == 100
    assert np.array_equal(questions.query_QD[stored], vectors[questions.own_Q[stored]])
    unseen = questions.query_QD[~stored]
    nearest = (unseen @ vectors.T).max(axis=1)
    assert (nearest < 0.9999).mean() > 0.9
    assert nearest.min() > 0.7
    np.testing.assert_allclose(np.linalg.norm(unseen, axis=1), 1, atol=1e-5)


def test_effort_is_as_small_as_the_target_allows() -> None:
    vectors = unit_vectors(2_000, 32)
    exact, graph = ExactIndex(vectors), graph_of(vectors)
    tuned, quality = tune(exact, graph, questions_of(exact), HNSW, effort_max=1_024)
    assert 16 <= tuned.inner.effort < 1_024
    assert quality.reaches(0.9, 0.05)
    others = questions_of(exact, seed=8)
    less = graph.with_effort(8)
    assert min(quality_of(exact, tuned, others, confidence=0.95).recall.values()) > 0.88
    assert min(quality_of(exact, less, others, confidence=0.95).recall.values()) < 0.88
    easy = HNSW.model_copy(update={"recall_target": 0.0, "poor_share_target": 1.0})
    tuned, _ = tune(exact, graph, questions_of(exact), easy, effort_max=1_024)
    assert tuned.inner.effort == 8


@dataclass(frozen=True)
class ShortSighted:
    """Right but for one query, which it answers with the worst rows below some effort."""

    exact: ExactIndex
    hard_D: Vectors
    needed: int
    effort: int = 4
    kind: ApproximateKind = "ivf_flat"
    refine: int = 1

    @property
    def num_entries(self) -> int:
        return self.exact.num_vectors

    @property
    def dim(self) -> int:
        return self.exact.dim

    def with_effort(self, effort: int) -> "ShortSighted":
        return replace(self, effort=effort)

    def search_entries(self, query_QD: Vectors, *, k: int, effort: int | None = None) -> Neighbors:
        is_hard_Q = (query_QD == self.hard_D).all(axis=1)
        sees = self.needed <= (self.effort if effort is None else effort)
        return self.exact.search(
            np.where(is_hard_Q[:, None] & ~np.bool_(sees), -1, 1) * query_QD, k=k
        )

    def save(self, directory: Path) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(("needed", "least", "most"), [(3, 4, 4), (90, 90, 112), (600, 4, 30)])
def test_effort_goes_as_far_as_queries_that_fail_need_it(
    needed: int, least: int, most: int
) -> None:
    """However far that is from what the others need; not at all where the limit is nearer."""
    vectors = unit_vectors(2_000, 8)
    exact, config = ExactIndex(vectors), HNSW.model_copy(update={"poor_share_target": 0.004})
    questions = ask(exact, num=1_000, generator=np.random.default_rng(3))
    index = ApproximateIndex(
        group_identical(vectors), ShortSighted(exact, questions.query_QD[321], needed)
    )
    tuned, quality = tune(exact, index, questions, config, effort_max=500)
    assert least <= tuned.inner.effort <= most
    assert quality.num_poor == (0 if needed < 500 else 1)


def test_effort_stays_below_its_limit() -> None:
    vectors = unit_vectors(500, 32)
    exact = ExactIndex(vectors)
    perfect = HNSW.model_copy(update={"recall_target": 1.0})
    tuned, quality = tune(
        exact, graph_of(vectors), questions_of(exact, 2_000), perfect, effort_max=20
    )
    assert tuned.inner.effort == 20
    assert not quality.reaches(1.0, 0.001)


def test_queries_that_find_nothing_are_counted() -> None:
    """An index of half the users has a fair mean for the others, and none for some."""
    vectors = clustered_vectors(1_000, 16, num_clusters=2)
    vectors[:500] += np.float32(3)  # two crowds that do not meet
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    exact = ExactIndex(vectors)
    half = graph_of(vectors[:500])
    quality = quality_of(exact, half, questions_of(exact), confidence=0.95)
    assert 150 < quality.num_poor < 250
    assert quality.poor_bound > 0.4


@pytest.mark.parametrize("num", [1, 2, 7])
def test_few_users_are_all_asked(num: int) -> None:
    vectors = unit_vectors(num)
    exact = ExactIndex(vectors)
    quality = quality_of(exact, graph_of(vectors), questions_of(exact), confidence=0.95)
    assert quality.num_queries == 2 * num
    assert quality.recall_bound == {10: 1.0, 100: 1.0}
    assert quality.poor_bound == 0.0
