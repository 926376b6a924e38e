import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.bfloat16 import BFloat16Products
from index import exact as exact_module  # small searches are made rough in a test
from index import shortlist as shortlist_module  # and their rows are compared often
from index.exact import ExactIndex
from index.vectors import Floats, Vectors
from tests.property.index.strategies import galleries

ROUGH_LIMITS = (
    "SHARED_MULTIPLICATIONS",
    "ROUGH_MULTIPLICATIONS",
    "ROUGH_QUERIES",
    "ROUGH_ROWS_PER_PLACE",
)


def naive(vectors: Vectors, penalty: Floats, query: Vectors, k: int) -> tuple[list[int], Floats]:
    """Sort all rows by score, then by row: the definition."""
    score = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1) - penalty
    rounded = score.astype(np.float32)
    order = np.lexsort((np.arange(len(vectors)), -rounded))[:k]
    return order.tolist(), rounded[order]


@given(galleries(), galleries(max_size=5), st.integers(1, 70), st.sampled_from([1, 64, 10_000]))
def test_exact_search_is_a_sort_of_all_rows(
    vectors: Vectors, queries: Vectors, k: int, block_bytes: int
) -> None:
    penalty = np.linspace(0, 0.5, len(vectors), dtype=np.float32).round(1)
    found = ExactIndex(vectors, penalty, block_bytes).search(queries, k=k)
    for query in range(len(queries)):
        rows, score = naive(vectors, penalty, queries[query], k)
        num = len(rows)
        np.testing.assert_allclose(found.score_QK[query, :num], score, atol=1e-6)
        assert found.rows_QK[query, :num].tolist() == rows
        assert (found.rows_QK[query, num:] == -1).all()


@given(
    galleries(),
    galleries(min_size=2, max_size=5),
    st.integers(1, 70),
    st.integers(1, 1_000),
    st.integers(1, 3),
    st.integers(0, 2),
)
def test_rough_products_find_the_same(
    vectors: Vectors, queries: Vectors, k: int, block_bytes: int, num_threads: int, dense: int
) -> None:
    penalty = np.linspace(0, 0.5, len(vectors), dtype=np.float32).round(1)
    expected = ExactIndex(vectors, penalty, block_bytes).search(queries, k=k)
    with pytest.MonkeyPatch.context() as patch:
        for limit in ROUGH_LIMITS:
            patch.setattr(exact_module, limit, 0)
        patch.setattr(exact_module, "DENSE", dense)
        patch.setattr(shortlist_module, "WAITING_MIN", 16)
        patch.setattr(shortlist_module, "WAITING_PER_PLACE", 1)
        patch.setattr(exact_module, "rough_products", BFloat16Products)
        index = ExactIndex(vectors, penalty, block_bytes, num_threads=num_threads)
        found = index.search(queries, k=k)
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    assert np.array_equal(found.score_QK, expected.score_QK)


@given(
    galleries(min_size=2), galleries(max_size=6), st.integers(1, 10), st.sampled_from([0, 2**20])
)
def test_neither_blocks_nor_company_nor_library_change_an_answer(
    vectors: Vectors, queries: Vectors, k: int, uncached_bytes: int
) -> None:
    together = ExactIndex(vectors).search(queries, k=k)
    small = ExactIndex(vectors, block_bytes=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("index.products.UNCACHED_BYTES", uncached_bytes)
        for query in range(len(queries)):
            alone = small.search(queries[[query]], k=k)
            assert np.array_equal(alone.rows_QK[0], together.rows_QK[query])
            assert np.array_equal(alone.score_QK[0], together.score_QK[query])


@given(galleries(), galleries(max_size=3), st.data())
def test_search_of_some_rows_is_the_search_of_all_without_the_others(
    vectors: Vectors, queries: Vectors, data: st.DataObject
) -> None:
    chosen = data.draw(st.sets(st.integers(0, len(vectors) - 1)))
    rows = np.array(sorted(chosen), dtype=np.int64)
    index = ExactIndex(vectors, block_bytes=64)
    everything = index.search(queries, k=len(vectors))
    some = index.search_rows(queries, rows, k=len(vectors))
    for query in range(len(queries)):
        expected = [row for row in everything.rows_QK[query].tolist() if row in chosen]
        assert some.rows_QK[query, : len(expected)].tolist() == expected
        assert (some.rows_QK[query, len(expected) :] == -1).all()
