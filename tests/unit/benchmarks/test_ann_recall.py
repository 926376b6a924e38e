"""Recall by distances that the benchmark computes, and the share of failed queries beside it."""

import numpy as np
import pytest

from benchmarks.ann.engines.engine import Ids, Vectors
from benchmarks.ann.recall import recall_of, recall_per_query
from benchmarks.ann.truth import true_products


def unit(num: int, dim: int, *, seed: int) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


VECTORS, QUERIES = unit(400, 16, seed=0), unit(30, 16, seed=1)
NEAREST: Ids = np.argsort(-(QUERIES @ VECTORS.T), axis=1)[:, :10]
TRUTH = true_products(VECTORS, QUERIES, k=10)


def test_all_true_neighbors_in_any_order_are_a_recall_of_one() -> None:
    assert recall_of(VECTORS, QUERIES, NEAREST[:, ::-1], TRUTH, k=10).recall == 1


def test_any_of_the_vectors_that_are_equally_near_counts() -> None:
    """Sixty copies of one vector: the ids that a sort returns first are no better than others."""
    vectors = VECTORS.copy()
    vectors[100:160] = vectors[100]
    truth = true_products(vectors, vectors[100:101], k=10)
    others = np.arange(150, 160)[None]
    assert recall_per_query(vectors, vectors[100:101], others, truth, k=10).tolist() == [1]


def test_a_row_that_is_returned_twice_counts_once() -> None:
    ids = NEAREST.copy()
    ids[:, 5:] = ids[:, :5]
    assert recall_of(VECTORS, QUERIES, ids, TRUTH, k=10).recall == pytest.approx(0.5)


@pytest.mark.parametrize("no_row", [-1, 400, 10**9])
def test_what_is_no_row_counts_for_nothing(no_row: int) -> None:
    ids = NEAREST.copy()
    ids[:, 0] = no_row
    assert recall_of(VECTORS, QUERIES, ids, TRUTH, k=10).recall == pytest.approx(0.9)


def test_a_far_vector_is_no_neighbor() -> None:
    ids = NEAREST.copy()
    ids[:, -1] = np.argmin(QUERIES @ VECTORS.T, axis=1)
    assert recall_of(VECTORS, QUERIES, ids, TRUTH, k=10).recall == pytest.approx(0.9)


def test_a_mean_hides_failures_and_the_failed_share_tells_them() -> None:
    ids = NEAREST.copy()
    ids[0], ids[1, 4:] = -1, -1
    judged = recall_of(VECTORS, QUERIES, ids, TRUTH, k=10)
    assert judged.recall == pytest.approx((28 + 0.4) / 30)
    assert judged.failed == pytest.approx(2 / 30)
    assert judged.nothing == pytest.approx(1 / 30)
    assert judged.lowest == 0


def test_half_of_the_neighbors_is_no_failure() -> None:
    ids = NEAREST.copy()
    ids[:, 5:] = -1
    assert recall_of(VECTORS, QUERIES, ids, TRUTH, k=10).failed == 0


def test_where_fewer_than_k_rows_pass_all_of_them_are_enough() -> None:
    passes = np.zeros(400, dtype=np.bool_)
    passes[[3, 77, 200]] = True
    truth = true_products(VECTORS, QUERIES, k=10, passes_N=passes)
    ids = np.full((30, 10), -1)
    ids[:, :3] = [200, 3, 77]
    assert recall_of(VECTORS, QUERIES, ids, truth, k=10).recall == 1
    ids[:, 2] = -1
    assert recall_of(VECTORS, QUERIES, ids, truth, k=10).recall == pytest.approx(2 / 3)


def test_only_the_queries_that_were_asked_are_judged() -> None:
    assert recall_of(VECTORS, QUERIES, NEAREST[:7], TRUTH, k=10).recall == 1


def test_answers_beyond_k_count_for_nothing_and_too_few_are_not_enough() -> None:
    more = np.concatenate([NEAREST[:, 5:], NEAREST[:, :5]], axis=1)
    assert recall_of(VECTORS, QUERIES, more, TRUTH, k=5).recall == 0
    assert recall_of(VECTORS, QUERIES, NEAREST[:, :5], TRUTH, k=10).recall == pytest.approx(0.5)
