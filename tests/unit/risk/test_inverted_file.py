import numpy as np
import pytest

from index.exact import ExactIndex
from index.inverted_file import neighbors_by_inverted_file
from tests.unit.risk.reference_users import random_unit, unit_rows


def test_most_of_the_true_neighbors_are_found() -> None:
    rng = np.random.default_rng(0)
    centre = random_unit(rng, 60, 16)
    vectors = unit_rows(centre[rng.integers(0, 60, 5000)] + 0.15 * rng.normal(size=(5000, 16)))
    found = neighbors_by_inverted_file(vectors, k=10, seed=0)
    exact = ExactIndex(vectors).search(vectors, k=10)
    worst = exact.score_QK[:, -1:] - 1e-5
    assert (found.score_QK >= worst).mean() > 0.95
    assert (found.rows_QK[:, 0] == np.arange(5000)).mean() > 0.99


def test_scores_are_the_inner_products_of_the_rows_best_first() -> None:
    vectors = random_unit(np.random.default_rng(1), 700, 8)
    found = neighbors_by_inverted_file(vectors, k=5, seed=0)
    product = np.einsum("nd,nkd->nk", vectors, vectors[found.rows_QK])
    assert found.score_QK == pytest.approx(product, abs=1e-5)
    assert (np.diff(found.score_QK, axis=1) <= 1e-6).all()


def test_the_answer_is_the_same_every_time() -> None:
    vectors = random_unit(np.random.default_rng(2), 900, 8)
    first, second = (neighbors_by_inverted_file(vectors, k=6, seed=3) for _ in range(2))
    assert (first.rows_QK == second.rows_QK).all()
    assert (first.score_QK == second.score_QK).all()


def test_where_there_are_too_few_the_rest_is_empty() -> None:
    vectors = random_unit(np.random.default_rng(3), 3, 8)
    found = neighbors_by_inverted_file(vectors, k=5, seed=0)
    assert (found.rows_QK[:, 3:] == -1).all()
    assert np.isneginf(found.score_QK[:, 3:]).all()
    assert sorted(found.rows_QK[0, :3].tolist()) == [0, 1, 2]
