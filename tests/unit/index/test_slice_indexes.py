"""Indexes of slices that go with behavior, asked from anywhere."""

import numpy as np

from benchmarks.ann.sources import clustered
from index.config import IndexConfig
from index.costs import SearchCosts
from index.distinct import group_identical
from index.exact import ExactIndex
from index.slice_indexes import KINDS, SliceIndexes
from index.slices import Slice
from index.vectors import Rows, Vectors
from tests.index_fakes import clustered_vectors, unit_vectors

NUM, DIM = 3_000, 24
CONFIG = IndexConfig(tuning_queries=600, recall_target=0.99, poor_share_target=0.01)
SCANS_ARE_DEAR = SearchCosts(exact_us=1e9, exact_row_us=1, approximate_us=1, approximate_hit_us=0)


def makes_of(vectors: Vectors) -> SliceIndexes:
    return SliceIndexes(ExactIndex(vectors), group_identical(vectors), SCANS_ARE_DEAR, CONFIG)


def half_about(vectors: Vectors, row: int) -> Slice:
    """Return the slice of the half of users nearest to one of them."""
    similarity = vectors @ vectors[row]
    rows: Rows = np.flatnonzero(similarity >= np.median(similarity))
    return Slice(rows, rows, rows, ExactIndex(vectors), None)


def test_queries_from_anywhere_find_nearly_all_and_none_fails() -> None:
    drawn = clustered_vectors(NUM + 500, DIM, num_clusters=30, seed=6)
    vectors, queries = np.ascontiguousarray(drawn[:NUM]), np.ascontiguousarray(drawn[NUM:])
    part = half_about(vectors, 17)
    for kind in KINDS:
        index = makes_of(vectors).make(part.rows_M, part.search_rows, kind)
        if index is None:
            assert kind == "ivf_rabitq", "bits are coarse"
            continue
        for k in (10, 100):
            floor_Q = part.search_rows(queries, k=k).score_QK[:, -1:] - 1e-5
            recall_Q = (index.search_entries(queries, k=k).score_QK >= floor_Q).mean(axis=1)
            assert recall_Q.mean() >= 0.985
            assert (recall_Q < 0.5).mean() <= 0.01


def test_the_same_slice_gets_the_same_index() -> None:
    vectors = clustered_vectors(NUM, DIM, num_clusters=30, seed=6)
    part, queries = half_about(vectors, 17), unit_vectors(50, DIM)
    first, second = (
        makes_of(vectors).make(part.rows_M, part.search_rows, "ivf_flat") for _ in range(2)
    )
    assert first is not None
    assert second is not None
    assert first.effort == second.effort
    found, again = (one.search_entries(queries, k=10).rows_QK for one in (first, second))
    assert np.array_equal(found, again)


def test_who_lives_in_the_slice_probes_fewer_lists_than_who_is_far_from_it() -> None:
    drawn = np.concatenate(list(clustered(2 * NUM + 500, clusters_for=40_000, seed=0)))
    vectors, queries = np.ascontiguousarray(drawn[:-500]), np.ascontiguousarray(drawn[-500:])
    part = half_about(vectors, 17)
    index = makes_of(vectors).make(part.rows_M, part.search_rows, "ivf_flat")
    assert index is not None
    assert index.reach is not None
    assert index.reach.far is not None
    num_probed_Q = index.num_probed(queries, index.reach)
    is_far_Q = index.centroid_distances(queries)[:, 0] > index.reach.far
    assert is_far_Q.mean() > 0.1
    assert (num_probed_Q[is_far_Q] == index.effort).all()
    assert num_probed_Q[~is_far_Q].mean() < 0.7 * index.effort
    for k in (10, 100):
        floor_Q1 = part.search_rows(queries, k=k).score_QK[:, -1:] - 1e-5
        recall_Q = (index.search_entries(queries, k=k).score_QK >= floor_Q1).mean(axis=1)
        assert recall_Q[is_far_Q].mean() >= 0.985
        assert recall_Q[~is_far_Q].mean() >= 0.985
