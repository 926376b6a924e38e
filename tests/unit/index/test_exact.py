from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedder.bfloat16 import BFloat16Products
from index import exact as exact_module  # large searches are made small in a test
from index import shortlist as shortlist_module  # its limit is lowered in a test
from index.errors import DimensionMismatch
from index.exact import ExactIndex
from index.rough import rough_products
from index.shortlist import Shortlist
from index.vectors import Vectors
from tests.index_fakes import unit_vectors


def test_nearest_rows_come_first() -> None:
    vectors = unit_vectors(300)
    found = ExactIndex(vectors).search(vectors[:5], k=3)
    assert found.rows_QK[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert (np.diff(found.score_QK, axis=1) <= 0).all()
    np.testing.assert_allclose(found.score_QK[:, 0], 1, atol=1e-6)


def test_equal_vectors_are_ordered_by_row() -> None:
    vectors = unit_vectors(40)
    vectors[[35, 3, 20]] = vectors[11]
    found = ExactIndex(vectors, block_bytes=40).search(vectors[[11]], k=4)
    assert found.rows_QK.tolist() == [[3, 11, 20, 35]]


def test_fewer_rows_than_k_are_padded() -> None:
    found = ExactIndex(unit_vectors(2)).search(unit_vectors(1, seed=5), k=4)
    assert found.rows_QK[0, 2:].tolist() == [-1, -1]
    assert np.isneginf(found.score_QK[0, 2:]).all()


def test_nothing_is_found_in_nothing() -> None:
    empty = ExactIndex(np.empty((0, 12), dtype=np.float32))
    assert empty.search(unit_vectors(2), k=3).rows_QK.tolist() == [[-1] * 3] * 2
    some = ExactIndex(unit_vectors(5))
    none = np.empty(0, dtype=np.int64)
    assert some.search_rows(unit_vectors(1), none, k=2).rows_QK.tolist() == [[-1, -1]]
    assert some.search(np.empty((0, 12), dtype=np.float32), k=2).rows_QK.shape == (0, 2)


def test_only_the_given_rows_are_searched() -> None:
    vectors = unit_vectors(100)
    rows = np.array([4, 50, 51, 99])
    found = ExactIndex(vectors, block_bytes=64).search_rows(vectors[[4, 7]], rows, k=4)
    assert found.rows_QK[0, 0] == 4
    assert sorted(found.rows_QK[1].tolist()) == rows.tolist()


def test_penalty_moves_a_row_back() -> None:
    vectors = unit_vectors(20)
    penalty = np.zeros(20, dtype=np.float32)
    penalty[6] = 0.9
    found = ExactIndex(vectors, penalty).search(vectors[[6]], k=20)
    assert found.rows_QK[0, 0] != 6
    place = found.rows_QK[0].tolist().index(6)
    assert found.score_QK[0, place] == pytest.approx(0.1, abs=1e-6)


def test_another_dimension_is_refused() -> None:
    with pytest.raises(DimensionMismatch):
        ExactIndex(unit_vectors(3)).search(unit_vectors(1, 5), k=1)


def test_many_equal_rows_do_not_need_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist_module, "POOL_MAX", 50)
    vectors: Vectors = np.repeat(unit_vectors(1), 1_000, axis=0)
    vectors[700:] = unit_vectors(300, seed=3)
    found = ExactIndex(vectors, block_bytes=256).search(vectors[:2], k=5)
    assert found.rows_QK.tolist() == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize("rough_products", [BFloat16Products, lambda query_QD: None])
def test_answers_are_those_of_sorting_on_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
    rough_products: Callable[[Vectors], BFloat16Products | None],
    num_threads: int,
) -> None:
    for limit in ("SHARED_MULTIPLICATIONS", "ROUGH_MULTIPLICATIONS"):
        monkeypatch.setattr(exact_module, limit, 0)
    monkeypatch.setattr(exact_module, "rough_products", rough_products)
    vectors, queries = unit_vectors(5_003), unit_vectors(37, seed=9)
    vectors[4_000:4_400] = vectors[17]
    penalty = np.linspace(0, 0.3, len(vectors), dtype=np.float32)
    score = queries.astype(np.float64) @ vectors.T.astype(np.float64) - penalty
    index = ExactIndex(vectors, penalty, block_bytes=20_000, num_threads=num_threads)
    found = index.search(queries, k=25)
    expected = np.sort(score, axis=1)[:, ::-1][:, :25]
    np.testing.assert_allclose(found.score_QK, expected, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(score, found.rows_QK, 1), expected, atol=1e-6)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_one_query_of_mapped_vectors_from_memory_is_a_sort(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, num_threads: int
) -> None:
    monkeypatch.setattr(exact_module, "SHARED_MULTIPLICATIONS", 0)
    monkeypatch.setattr("index.products.UNCACHED_BYTES", 0)
    np.save(tmp_path / "vectors.npy", unit_vectors(5_003))
    vectors = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    index = ExactIndex(vectors, block_bytes=20_000, num_threads=num_threads)
    chosen = np.arange(0, 5_003, 2)
    for query in unit_vectors(6, seed=9):
        score = vectors.astype(np.float64) @ query.astype(np.float64)
        found = index.search(query[None], k=25)
        assert found.rows_QK[0].tolist() == np.argsort(-score)[:25].tolist()
        some = index.search_rows(query[None], chosen, k=25)
        assert some.rows_QK[0].tolist() == chosen[np.argsort(-score[chosen])[:25]].tolist()


@pytest.fixture
def rough(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Small searches are rough ones too, on any CPU; the rows of each product are noted."""
    noted: list[int] = []

    class Noted(BFloat16Products):
        def of(self, vectors_MD: Vectors) -> Vectors:
            noted.append(len(vectors_MD))
            return super().of(vectors_MD)

    for limit in ("SHARED_MULTIPLICATIONS", "ROUGH_MULTIPLICATIONS"):
        monkeypatch.setattr(exact_module, limit, 0)
    monkeypatch.setattr(exact_module, "ROUGH_QUERIES", 2)
    monkeypatch.setattr(exact_module, "ROUGH_ROWS_PER_PLACE", 1)
    monkeypatch.setattr(exact_module, "rough_products", Noted)
    return noted


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("length", [1.0, 5.0])
def test_rough_products_change_no_answer(
    rough: list[int], monkeypatch: pytest.MonkeyPatch, num_threads: int, length: float
) -> None:
    vectors, queries = unit_vectors(5_003), unit_vectors(37, seed=9) * np.float32(length)
    penalty = np.linspace(0, 0.3, len(vectors), dtype=np.float32)
    some = np.arange(0, len(vectors), 3)
    index = ExactIndex(vectors, penalty, block_bytes=20_000, num_threads=num_threads)
    found, of_some = index.search(queries, k=25), index.search_rows(queries, some, k=25)
    assert sum(rough) >= len(vectors) + len(some)
    monkeypatch.setattr(exact_module, "rough_products", lambda query_QD: None)
    for rows, answer in ((None, found), (some, of_some)):
        expected = (
            index.search(queries, k=25) if rows is None else index.search_rows(queries, rows, k=25)
        )
        assert np.array_equal(answer.rows_QK, expected.rows_QK)
        assert np.array_equal(answer.score_QK, expected.score_QK)


def test_where_very_many_are_alike_products_are_no_longer_rough(
    rough: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlist_module, "WAITING_MIN", 64)
    vectors = unit_vectors(1) + np.float32(0.02) * unit_vectors(4_000, seed=2)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    score = vectors[:4].astype(np.float64) @ vectors.T.astype(np.float64)
    found = ExactIndex(vectors, block_bytes=4_000).search(vectors[:4], k=3)
    assert found.rows_QK[:, 0].tolist() == [0, 1, 2, 3]
    expected = np.sort(score, axis=1)[:, ::-1][:, :3]
    np.testing.assert_allclose(found.score_QK, expected, atol=1e-7)
    assert 0 < sum(rough) < len(vectors) / 2


def test_rows_of_rough_scores_are_kept_by_who_had_exact_ones() -> None:
    exact, rough = Shortlist(1, 1, 1e-6), Shortlist(1, 1, 0.02)
    for shortlist, row, score in ((exact, 0, 0.5), (rough, 1, 0.495), (rough, 2, 0.47)):
        shortlist.offer(np.array([row]), np.array([[score]], dtype=np.float32))
        shortlist.pairs()
    exact.absorb(rough)
    assert sorted(exact.pairs()[1].tolist()) == [0, 1]


@pytest.mark.parametrize("is_there", [True, False])
def test_products_are_rough_where_the_cpu_multiplies_bfloat16(
    monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    monkeypatch.setattr("embedder.bfloat16.has_bfloat16", lambda: is_there)
    made = rough_products(unit_vectors(40))
    assert isinstance(made, BFloat16Products) == is_there
    assert (made is None) != is_there


def test_few_queries_and_few_rows_are_multiplied_as_they_are(rough: list[int]) -> None:
    vectors = unit_vectors(200)
    ExactIndex(vectors, block_bytes=400).search(vectors[:1], k=3)
    ExactIndex(vectors).search(vectors[:9], k=201)
    assert not rough
