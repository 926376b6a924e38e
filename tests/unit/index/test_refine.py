"""Candidates scored again by the stored vectors."""

from pathlib import Path

import numpy as np
import pytest

from index.products import products_of_rows
from index.refine import ExactScores
from index.vectors import Rows
from tests.index_fakes import unit_vectors

NUM, DIM, K = 400, 37, 10


def candidates(num_queries: int, num_candidates: int, *, num_missing: int) -> Rows:
    generator = np.random.default_rng(num_candidates)
    drawn = [generator.permutation(NUM)[:num_candidates] for _ in range(num_queries)]
    entry_QC: Rows = np.stack(drawn)
    entry_QC[:, num_candidates - num_missing :] = -1
    return entry_QC


@pytest.mark.parametrize("is_mapped", [False, True])
def test_products_of_rows_are_those_of_a_copy_and_lowest_where_there_is_no_row(
    is_mapped: bool, tmp_path: Path
) -> None:
    vectors, queries = unit_vectors(NUM, DIM), unit_vectors(2, DIM, seed=2)
    if is_mapped:
        np.save(tmp_path / "v.npy", vectors)
        vectors = np.asarray(np.load(tmp_path / "v.npy", mmap_mode="r"))
    rows = np.array([[5, 0, NUM - 1, -1], [-1, 7, 7, 6]], dtype=np.int64)
    product = products_of_rows(queries, vectors, rows)
    expected = np.where(rows < 0, -np.inf, np.einsum("qcd,qd->qc", vectors[rows], queries))
    assert product == pytest.approx(expected, abs=1e-6)
    assert products_of_rows(queries, vectors, rows[:, :0]).shape == (2, 0)
    assert products_of_rows(queries[:0], vectors, rows[:0]).shape == (0, 4)


@pytest.mark.parametrize("is_penalized", [False, True])
@pytest.mark.parametrize(("num_candidates", "num_missing"), [(K, 0), (80, 0), (80, 75), (K, K)])
def test_one_query_alone_and_among_others_has_the_best_of_its_candidates(
    num_candidates: int, num_missing: int, is_penalized: bool
) -> None:
    vectors, queries = unit_vectors(NUM, DIM), unit_vectors(6, DIM, seed=2)
    rows_E = np.random.default_rng(3).permutation(NUM)
    penalty = np.random.default_rng(4).random(NUM, dtype=np.float32) if is_penalized else None
    scores = ExactScores(vectors, rows_E, penalty)
    entry_QC = candidates(len(queries), num_candidates, num_missing=num_missing)
    together = scores.best(queries, entry_QC, k=K)
    for number, query in enumerate(queries):
        alone = scores.best(query[None], entry_QC[[number]], k=K)
        entry_C = entry_QC[number][entry_QC[number] >= 0]
        score_C = vectors[rows_E[entry_C]] @ query
        if penalty is not None:
            score_C = score_C - penalty[rows_E[entry_C]]
        best = entry_C[np.argsort(-score_C)][:K]
        for found in (alone.rows_QK[0], together.rows_QK[number]):
            assert found[: len(best)].tolist() == best.tolist()
            assert (found[len(best) :] == -1).all()
        assert alone.score_QK[0] == pytest.approx(together.score_QK[number], abs=1e-6)
