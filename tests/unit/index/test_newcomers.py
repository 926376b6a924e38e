"""A graph is tuned by users who are hidden from it, and is afterwards what it was."""

from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

from index.approximate import ApproximateIndex
from index.choosing import choose_index
from index.config import IndexConfig
from index.distinct import group_identical
from index.errors import DimensionMismatch
from index.exact import ExactIndex
from index.hnsw import FEW, MANY, HnswIndex
from index.hubness import hub_penalty
from index.newcomers import HIDDEN_MIN, HIDDEN_SHARE, tune_graph
from index.questions import Questions, Recalls, ask
from index.tuning import quality_from
from index.vectors import Floats, Rows, Vectors
from tests.index_fakes import clustered_vectors, unit_vectors

CONFIG = IndexConfig(
    m=8, ef_construction=80, ef_search=8, tuning_queries=1_000, poor_share_target=0.01
)
EFFORT_MAX = 1_024


def graph_of(
    vectors: Vectors, penalty: Floats | None = None, config: IndexConfig = CONFIG
) -> tuple[ApproximateIndex, HnswIndex]:
    entries = group_identical(vectors)
    graph = HnswIndex.build(vectors, entries, config, penalty_N=penalty)
    return ApproximateIndex(entries, graph), graph


def links_of(graph: HnswIndex) -> Rows:
    return faiss.vector_to_array(graph.graph.hnsw.neighbors).astype(np.int64)


def questions_of(exact: ExactIndex) -> Questions:
    return ask(exact, num=CONFIG.tuning_queries, generator=np.random.default_rng(1))


def tuned_graph(vectors: Vectors) -> HnswIndex:
    exact, (index, _) = ExactIndex(vectors), graph_of(vectors)
    tuned, _ = tune_graph(exact, index, questions_of(exact), CONFIG, effort_max=EFFORT_MAX)
    assert isinstance(tuned.inner, HnswIndex)
    return tuned.inner


@pytest.mark.parametrize("is_penalized", [False, True])
def test_who_is_hidden_is_not_found_and_the_others_are(is_penalized: bool) -> None:
    vectors = clustered_vectors(3_000, 16, num_clusters=30)
    entries = group_identical(vectors)
    penalty = hub_penalty(vectors, entries, CONFIG) if is_penalized else None
    _, graph = graph_of(vectors, penalty)
    bottom = np.flatnonzero(graph.is_at_the_bottom())
    assert len(bottom) > 2_400
    hidden = bottom[:: len(bottom) // 400][:400]
    before = links_of(graph)
    with graph.hidden(hidden):
        assert not np.isin(links_of(graph), hidden).any()
        found = graph.search_entries(vectors[hidden], k=10, effort=400)
        assert not np.isin(found.rows_QK, hidden).any()
        shown = np.setdiff1d(np.arange(3_000), hidden)
        true = ExactIndex(vectors, penalty).search_rows(vectors[hidden], shown, k=10)
        assert (found.score_QK >= true.score_QK[:, -1:] - 1e-5).mean() > 0.99
    assert np.array_equal(links_of(graph), before)
    assert (graph.search_entries(vectors[hidden], k=1).rows_QK[:, 0] == hidden).mean() > 0.99


def test_who_is_hidden_finds_what_a_graph_without_them_would_tell() -> None:
    vectors, as_shipped = unit_vectors(8_000, 32), IndexConfig()
    _, graph = graph_of(vectors, config=as_shipped)
    bottom = np.flatnonzero(graph.is_at_the_bottom())
    hidden = bottom[:: len(bottom) // 500][:500]
    shown = np.setdiff1d(np.arange(len(vectors)), hidden)
    _, without = graph_of(np.ascontiguousarray(vectors[shown]), config=as_shipped)
    floor_Q1 = ExactIndex(vectors).search_rows(vectors[hidden], shown, k=10).score_QK[:, -1:] - 1e-5
    for effort in (40, 80):
        with graph.hidden(hidden):
            scores = graph.search_entries(vectors[hidden], k=10, effort=effort).score_QK
        true = without.search_entries(vectors[hidden], k=10, effort=effort).score_QK
        stored = graph.search_entries(vectors[hidden], k=11, effort=effort).score_QK[:, 1:]
        recall, expected, within = ((part >= floor_Q1).mean() for part in (scores, true, stored))
        assert expected - 0.03 < recall < expected + 0.01, effort
        assert 1 - within < 0.3 * (1 - expected), "from within it is easier"


def test_links_come_back_after_a_failure_too() -> None:
    _, graph = graph_of(unit_vectors(600, 8))
    before = links_of(graph)
    hidden = np.flatnonzero(graph.is_at_the_bottom())[:100]
    with pytest.raises(DimensionMismatch), graph.hidden(hidden):
        graph.search_entries(unit_vectors(1, 9), k=1)
    assert np.array_equal(links_of(graph), before)


def test_whose_every_neighbor_is_hidden_is_left_without_links() -> None:
    _, graph = graph_of(unit_vectors(600, 8))
    bottom = np.flatnonzero(graph.is_at_the_bottom())
    with graph.hidden(bottom):
        assert not np.isin(links_of(graph), bottom).any()


def test_newcomers_find_at_every_depth_what_was_proven_with_hidden_users() -> None:
    """Many dimensions without clusters: newcomers are much harder to find the way from."""
    drawn = unit_vectors(9_000, 24)
    vectors, newcomers = np.ascontiguousarray(drawn[:8_000]), np.ascontiguousarray(drawn[8_000:])
    graph = tuned_graph(vectors)
    assert graph.effort_at_10 is not None
    assert 8 < graph.effort_at_10 < 0.8 * graph.effort < EFFORT_MAX
    exact = ExactIndex(vectors)
    for k in (10, 30, 60, 100):
        floor_Q1 = exact.search(newcomers, k=k).score_QK[:, -1:] - 1e-5
        recall_Q = (graph.search_entries(newcomers, k=k).score_QK >= floor_Q1).mean(axis=1)
        assert recall_Q.mean() > CONFIG.recall_target - 0.002, k


def test_more_than_ten_neighbors_take_more_effort_up_to_that_of_a_hundred() -> None:
    vectors = unit_vectors(3_000, 24)
    _, graph = graph_of(vectors)
    both = graph.with_effort(300, at_10=40)
    for k, effort in ((1, 40), (FEW, 40), (FEW + 1, 43), (55, 169), (MANY, 300), (200, 300)):
        found = both.search_entries(vectors[:50] * np.float32(0.9), k=k)
        same = graph.search_entries(vectors[:50] * np.float32(0.9), k=k, effort=effort)
        assert np.array_equal(found.rows_QK, same.rows_QK), k
    one = both.with_effort(40)
    assert (one.effort, one.effort_at_10) == (40, None)


@pytest.mark.parametrize("has_crowd", [False, True])
def test_where_too_few_can_be_hidden_stored_users_are_asked_about(has_crowd: bool) -> None:
    few = int(HIDDEN_MIN / HIDDEN_SHARE) - 5
    vectors = unit_vectors(few, 16)
    if has_crowd:  # of two users each, none is alone
        vectors = np.concatenate([vectors, vectors])
    graph = tuned_graph(vectors)
    assert graph.effort_at_10 is None


def test_newcomers_alone_must_prove_the_target() -> None:
    """The points beside them are easier and don't make up for them."""
    exact = ExactIndex(clustered_vectors(800, 16, num_clusters=10))
    questions = questions_of(exact)
    asked = replace(questions, are_newcomers=True)
    is_user = questions.own_Q >= 0

    def is_proven(recall_Q: Recalls, of: Questions) -> bool:
        quality = quality_from({10: np.ones(len(recall_Q)), 100: recall_Q}, of, confidence=0.95)
        return quality.reaches(0.97, 0.01)

    recall = np.where(is_user, 0.965, 1.0)
    assert recall.mean() > 0.98
    assert is_proven(recall, questions), "they are not newcomers"
    assert not is_proven(recall, asked)
    assert asked.mean_of(recall) == pytest.approx(0.965)
    assert questions.mean_of(recall) == pytest.approx(recall.mean())
    barely = np.where(is_user, np.where(np.arange(len(is_user)) % 2 == 0, 1.0, 0.941), 1.0)
    assert barely[is_user].mean() > 0.97
    assert not is_proven(barely, asked), "its bound is below the target"
    assert is_proven(np.where(is_user, 0.975, 1.0), asked)


def test_only_a_graph_in_memory_hides_anybody_and_only_at_the_bottom(tmp_path: Path) -> None:
    _, graph = graph_of(unit_vectors(600, 8))
    above = np.flatnonzero(~graph.is_at_the_bottom())[:1]
    with pytest.raises(AssertionError), graph.hidden(above):
        pass
    graph.save(tmp_path)
    mapped = HnswIndex.load(tmp_path, dim=8, penalty_N=None, effort=8, num_threads=1)
    with pytest.raises(AssertionError), mapped.hidden(np.arange(0)):
        pass


@pytest.mark.parametrize("is_paired", [False, True])
def test_a_graph_of_some_thousand_users_is_proven_as_shipped(is_paired: bool) -> None:
    """Too few can be hidden to prove one failure in 1,000, so stored users are asked about."""
    vectors = unit_vectors(5_500, 8)
    if is_paired:
        vectors = np.concatenate([vectors[:1_000], vectors])
    exact = ExactIndex(vectors)
    chosen = choose_index(exact, group_identical(vectors), IndexConfig(kind="hnsw"))
    (candidate,) = chosen.choice.candidates
    assert candidate.reached
    assert candidate.num_queries == IndexConfig().tuning_queries
    assert candidate.effort_at_10 is None
