import numpy as np
import pytest

from index.answers import Filter
from index.costs import SearchCosts
from index.distinct import group_identical
from index.exact import ExactIndex
from index.filters import FilterTable
from index.slices import SliceCache
from index.users import UserTable, conform_users
from tests.index_fakes import clustered_vectors, unit_vectors, users_table

NUM, DIM = 3_000, 16
VECTORS = clustered_vectors(NUM, DIM, num_clusters=30, seed=3)
EXACT = ExactIndex(VECTORS, np.linspace(0, 0.2, NUM, dtype=np.float32))
ENTRIES = group_identical(VECTORS)
TABLE = FilterTable(UserTable.of(conform_users(users_table(NUM))))


def cache(*, max_bytes: int = 2**30, scanned_up_to: float = np.inf) -> SliceCache:
    return SliceCache(
        TABLE, EXACT, ENTRIES, max_bytes=max_bytes, scanned_up_to=scanned_up_to, seed=1
    )


def test_a_slice_is_found_once() -> None:
    slices = cache()
    first = slices.get(Filter(min_events=11, max_events=20), known_violators=False)
    assert first.rows_M.tolist() == list(range(10, 20))
    assert slices.get(Filter(min_events=11, max_events=20), known_violators=False) is first
    assert slices.get(Filter(min_events=11, max_events=20), known_violators=True) is not first


def test_slices_take_no_more_memory_than_allowed() -> None:
    slices = cache(max_bytes=40_000)
    for least in range(1, 200):
        part = slices.get(Filter(min_events=least, max_events=least + 50), known_violators=False)
        assert part.collected is not None
        assert 0 < slices.size_bytes <= 40_000


def test_a_slice_too_large_to_collect_is_searched_where_it_lies() -> None:
    slices, query = cache(max_bytes=2**16), unit_vectors(3, DIM)
    part = slices.get(Filter(min_events=500), known_violators=False)
    assert part.collected is None
    together = cache().get(Filter(min_events=500), known_violators=False)
    assert together.collected is not None
    found, expected = part.search(query, k=7), together.search(query, k=7)
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    assert np.array_equal(found.score_QK, expected.score_QK)


def test_a_large_slice_that_is_asked_for_again_gets_an_index_of_its_own() -> None:
    slices, query = cache(scanned_up_to=1_000), unit_vectors(40, DIM)
    few, many = Filter(max_events=900), Filter(min_events=901)
    for condition in (few, many):
        assert slices.get(condition, known_violators=False).cells is None
    assert slices.get(few, known_violators=False).cells is None
    size_before = slices.size_bytes
    part = slices.get(many, known_violators=False)
    assert part.cells is not None
    assert slices.get(many, known_violators=False) is part
    assert slices.size_bytes > size_before
    found, exact = part.search_cells(query, k=10), part.search(query, k=10)
    assert found is not None
    assert (found.rows_QK >= 900).all()
    reached = found.score_QK >= exact.score_QK[:, -1:] - 1e-5
    assert reached.mean() >= 0.98
    rows, score = found.rows_QK[0], found.score_QK[0]
    np.testing.assert_allclose(EXACT.score(query[0], rows), score, atol=1e-5)
    assert part.search_cells(query, k=101) is None


def test_rows_of_a_slice_are_told_from_others() -> None:
    part = cache().get(Filter(min_events=11, max_events=20), known_violators=False)
    rows = np.array([[9, 10, -1], [19, 20, 2_999]])
    assert part.holds(rows).tolist() == [[False, True, False], [True, False, False]]
    nobody = cache().get(Filter(label=1), known_violators=False)
    assert not nobody.holds(rows).any()


@pytest.mark.parametrize(("row_us", "expected"), [(0.5, 280.0), (0.0, np.inf)])
def test_slices_are_scanned_up_to_the_cost_of_a_search_of_everyone(
    row_us: float, expected: float
) -> None:
    costs = SearchCosts(exact_us=10, exact_row_us=row_us, approximate_us=90, approximate_hit_us=1)
    assert costs.scanned_up_to == expected
