import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from index.approximate import ApproximateIndex
from index.config import IndexConfig
from index.distinct import group_identical
from index.exact import ExactIndex
from index.hnsw import HnswIndex
from index.hubness import hub_penalty
from index.vectors import Vectors
from tests.property.index.strategies import galleries

CONFIG = IndexConfig(ef_search=300, hub_references=20, hub_nearest=3)


@settings(deadline=None)
@given(galleries(max_size=120), galleries(max_size=4), st.integers(1, 30), st.booleans())
def test_wide_beam_finds_what_exact_search_finds(
    vectors: Vectors, queries: Vectors, k: int, hub_corrected: bool
) -> None:
    """Small galleries and a beam wider than they are: the graph must not lose anyone."""
    entries = group_identical(vectors)
    penalty = hub_penalty(vectors, entries, CONFIG) if hub_corrected else None
    graph = HnswIndex.build(vectors, entries, CONFIG, penalty_N=penalty)
    found = ApproximateIndex(entries, graph).search(queries, k=k)
    expected = ExactIndex(vectors, penalty).search(queries, k=k)
    np.testing.assert_allclose(found.score_QK, expected.score_QK, atol=1e-5)
    for rows in found.rows_QK:
        real = rows[rows >= 0].tolist()
        assert len(real) == len(set(real)) == min(k, len(vectors))
    assert (np.diff(np.where(np.isneginf(found.score_QK), -9, found.score_QK), axis=1) <= 0).all()


@settings(deadline=None, max_examples=25)
@given(galleries(max_size=80), galleries(max_size=3), st.integers(1, 12))
def test_saving_and_mapping_changes_no_answer(vectors: Vectors, queries: Vectors, k: int) -> None:
    graph = HnswIndex.build(vectors, group_identical(vectors), CONFIG)
    with tempfile.TemporaryDirectory() as name:
        graph.save(Path(name))
        loaded = HnswIndex.load(
            Path(name), dim=vectors.shape[1], penalty_N=None, effort=300, num_threads=1
        )
        found, expected = loaded.search_entries(queries, k=k), graph.search_entries(queries, k=k)
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    assert np.array_equal(found.score_QK, expected.score_QK)


@settings(deadline=None, max_examples=25)
@given(galleries(max_size=60), galleries(max_size=4), st.integers(1, 30))
def test_a_query_alone_is_answered_as_among_others(
    vectors: Vectors, queries: Vectors, k: int
) -> None:
    vectors = np.concatenate([vectors, np.repeat(vectors[:1], 20, axis=0)])
    queries = np.concatenate([queries, vectors[:1], vectors[-2:]])
    entries = group_identical(vectors)
    index = ApproximateIndex(entries, HnswIndex.build(vectors, entries, CONFIG))
    together = index.search(queries, k=k)
    for place, query in enumerate(queries):
        alone = index.search(query[None], k=k)
        assert np.array_equal(alone.rows_QK[0], together.rows_QK[place])
        assert np.array_equal(alone.score_QK[0], together.score_QK[place])
