import numpy as np

from index.config import IndexConfig
from index.costs import SearchCosts
from index.distinct import group_identical
from index.exact import ExactIndex
from index.hnsw import HnswIndex
from index.overfetch import overfetch
from index.slices import Slice
from index.vectors import Rows, Vectors
from tests.index_fakes import unit_vectors

COSTS = SearchCosts(exact_us=0, exact_row_us=1, approximate_us=0, approximate_hit_us=1)


def two_groups() -> Vectors:
    """Return 1,000 rows about one direction, and 1,000 about the opposite one."""
    vectors = 0.3 * unit_vectors(2_000, seed=4)
    vectors[:1_000, 0] += 1
    vectors[1_000:, 0] -= 1
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


VECTORS = two_groups()
ENTRIES = group_identical(VECTORS)
APPROXIMATE = HnswIndex.build(VECTORS, ENTRIES, IndexConfig())


def slice_of(rows_M: Rows) -> Slice:
    return Slice(rows_M, rows_M, rows_M, ExactIndex(VECTORS), None)


def test_many_who_pass_are_found_among_the_nearest_of_everyone() -> None:
    part = slice_of(np.arange(0, 2_000, 2))
    found, done_Q = overfetch(APPROXIMATE, part, VECTORS[[1, 1_501]], k=5, costs=COSTS)
    assert done_Q.all()
    assert np.array_equal(found.rows_QK, part.search(VECTORS[[1, 1_501]], k=5).rows_QK)


def test_a_query_far_from_all_who_pass_is_left_to_the_scan() -> None:
    part = slice_of(np.arange(1_000))
    found, done_Q = overfetch(APPROXIMATE, part, VECTORS[[7, 1_501]], k=5, costs=COSTS)
    assert done_Q.tolist() == [True, False]
    assert found.rows_QK[0].tolist() == part.search(VECTORS[[7]], k=5).rows_QK[0].tolist()
    assert (found.rows_QK[1] == -1).all()


def test_few_who_pass_are_left_to_the_scan() -> None:
    for rows in (np.arange(0), np.arange(5), np.arange(0, 2_000, 200)):
        _, done_Q = overfetch(APPROXIMATE, slice_of(rows), VECTORS[[7]], k=5, costs=COSTS)
        assert not done_Q.any()
