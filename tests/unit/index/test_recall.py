import numpy as np
import pytest

from index.approximate import ApproximateIndex
from index.config import IndexConfig
from index.distinct import group_identical
from index.exact import ExactIndex
from index.hnsw import HnswIndex
from index.recall import lower_bound, recall_per_query, sample_rows, tune_effort
from index.vectors import Vectors
from tests.index_fakes import unit_vectors


def build(vectors: Vectors, config: IndexConfig) -> ApproximateIndex:
    entries = group_identical(vectors)
    return ApproximateIndex(entries, HnswIndex.build(vectors, entries, config))


def test_recall_is_the_share_of_true_neighbors_found() -> None:
    vectors = unit_vectors(200)
    graph = build(vectors, IndexConfig(ef_search=200))
    rows = np.arange(50)
    assert recall_per_query(ExactIndex(vectors), graph, rows, k=10).mean() == 1.0
    half = build(vectors[:100], IndexConfig())
    recall = recall_per_query(ExactIndex(vectors), half, rows, k=10).mean()
    assert 0.3 < recall < 0.7


def test_bound_is_below_the_mean_and_tightens() -> None:
    few = lower_bound(0.97, num=50, population=10**6, confidence=0.95)
    many = lower_bound(0.97, num=5_000, population=10**6, confidence=0.95)
    assert few < many < 0.97
    assert many == pytest.approx(0.97, abs=0.005)
    assert lower_bound(1.0, num=1_000, population=10**6, confidence=0.95) > 0.995
    assert lower_bound(0.9, num=80, population=80, confidence=0.95) == 0.9
    assert lower_bound(0.0, num=10, population=100, confidence=0.95) == 0.0


def test_bound_holds_as_often_as_it_says() -> None:
    """Recalls are drawn again and again; the bound exceeds the true mean in at most 5 %."""
    generator = np.random.default_rng(0)
    true_mean, num = 0.9, 200
    means = generator.binomial(num, true_mean, 2_000) / num
    bounds = [lower_bound(mean, num=num, population=10**9, confidence=0.95) for mean in means]
    assert np.mean(np.array(bounds) > true_mean) < 0.07


def test_beam_is_as_narrow_as_the_target_allows() -> None:
    vectors = unit_vectors(2_000, 32)
    exact = ExactIndex(vectors)
    config = IndexConfig(m=8, ef_construction=20, ef_search=8, recall_target=0.9)
    graph = build(vectors, config)
    tuned = tune_effort(exact, graph, config)
    rows = sample_rows(2_000, num=400, generator=np.random.default_rng(5))
    assert 16 <= tuned.inner.effort < 1_024
    assert recall_per_query(exact, tuned, rows, k=10).mean() > 0.87
    easy = config.model_copy(update={"recall_target": 0.0})
    assert tune_effort(exact, graph, easy).inner.effort == 8


def test_beam_stays_below_its_limit() -> None:
    vectors = unit_vectors(500, 32)
    config = IndexConfig(ef_search=8, ef_search_max=20, recall_target=1.0)
    graph = build(vectors, config)
    assert tune_effort(ExactIndex(vectors), graph, config).inner.effort == 20


def test_sample_is_all_where_there_are_few() -> None:
    generator = np.random.default_rng(0)
    assert sample_rows(5, num=100, generator=generator).tolist() == [0, 1, 2, 3, 4]
    drawn = sample_rows(1_000, num=100, generator=generator)
    assert len(set(drawn.tolist())) == 100
    assert (np.diff(drawn) > 0).all()
