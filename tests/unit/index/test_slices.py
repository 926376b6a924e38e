from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event, Lock

import numpy as np
import pytest

from index.answers import Filter
from index.config import IndexConfig
from index.costs import SearchCosts
from index.distinct import group_identical
from index.exact import ExactIndex
from index.filters import FilterTable
from index.ivf import InvertedFile
from index.questions import ExactSearch
from index.slice_indexes import SliceIndexes
from index.slices import MAKINGS_MAX, SliceCache
from index.stages import FileKind
from index.users import UserTable, conform_users
from index.vectors import Rows
from tests.index_fakes import clustered_vectors, unit_vectors, users_table

NUM, DIM = 3_000, 16
VECTORS = clustered_vectors(NUM, DIM, num_clusters=30, seed=3)
EXACT = ExactIndex(VECTORS, np.linspace(0, 0.2, NUM, dtype=np.float32))
ENTRIES = group_identical(VECTORS)
TABLE = FilterTable(UserTable.of(conform_users(users_table(NUM))))
CONFIG = IndexConfig(tuning_queries=400, recall_target=0.98, poor_share_target=0.02)
SCANNED_UP_TO_1_000 = SearchCosts(
    exact_us=0, exact_row_us=300, approximate_us=200_000, approximate_hit_us=0
)
INDEXES = SliceIndexes(EXACT, ENTRIES, SCANNED_UP_TO_1_000, CONFIG)
FEW, MANY = Filter(max_events=900), Filter(min_events=901)
SECONDS_MAX = 120.0


def cache(*, max_bytes: int = 2**30, indexes: SliceIndexes | None = None) -> SliceCache:
    return SliceCache(TABLE, EXACT, ENTRIES, max_bytes=max_bytes, indexes=indexes)


@dataclass(frozen=True)
class Making(SliceIndexes):
    """Counts what it makes, and does something first."""

    first: Callable[[], None] = lambda: None
    made: list[int] = field(default_factory=list)

    def make(self, rows_M: Rows, search: ExactSearch, kind: FileKind) -> InvertedFile | None:
        self.made.append(len(rows_M))
        self.first()
        return super().make(rows_M, search, kind)


def making(first: Callable[[], None] = lambda: None) -> Making:
    return Making(EXACT, ENTRIES, INDEXES.costs, CONFIG, first)


def assert_set(event: Event) -> None:
    assert event.wait(SECONDS_MAX)


def ask_often(slices: SliceCache, condition: Filter, *, times: int) -> None:
    for _ in range(times):
        slices.get(condition, known_violators=False)
        assert slices.settle(SECONDS_MAX)


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
    slices, query = cache(indexes=INDEXES), np.ascontiguousarray(VECTORS[::50])
    exact = slices.get(MANY, known_violators=False).search(query, k=10)
    ask_often(slices, FEW, times=3)
    assert slices.get(FEW, known_violators=False).index is None
    ask_often(slices, MANY, times=1)
    part = slices.get(MANY, known_violators=False)
    assert part.index is not None
    assert part.collected is None, "its vectors are in the lists"
    assert slices.get(MANY, known_violators=False) is part
    found, again = part.search_index(query, k=10), part.search(query, k=10)
    assert np.array_equal(again.rows_QK, exact.rows_QK)
    assert found is not None
    assert (found.rows_QK >= 900).all()
    assert (found.score_QK >= exact.score_QK[:, -1:] - 1e-5).mean() >= 0.965
    np.testing.assert_allclose(
        EXACT.score(query[0], found.rows_QK[0]), found.score_QK[0], atol=1e-5
    )
    assert part.search_index(query, k=101) is None


def test_requests_are_answered_by_the_scan_until_the_index_is_there() -> None:
    go_on = Event()
    indexes = making(lambda: assert_set(go_on))
    slices, query = cache(indexes=indexes), unit_vectors(3, DIM)
    expected = cache().get(MANY, known_violators=False).search(query, k=5)
    for _ in range(5):
        part = slices.get(MANY, known_violators=False)
        assert part.search_index(query, k=5) is None
        assert np.array_equal(part.search(query, k=5).rows_QK, expected.rows_QK)
    assert not slices.settle(0.0)
    go_on.set()
    assert slices.settle(SECONDS_MAX)
    assert slices.get(MANY, known_violators=False).index is not None
    assert indexes.made == [2_100]


def test_threads_that_ask_at_once_make_an_index_once_and_never_two_together() -> None:
    alone = Lock()

    def hold_alone() -> None:
        assert alone.acquire(blocking=False), "two are made at the same time"
        alone.release()

    indexes = making(hold_alone)
    slices = cache(indexes=indexes)
    conditions = [Filter(min_events=least) for least in (901, 951, 1_001)]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(
            lambda number: slices.get(conditions[number % 3], known_violators=False), range(300)
        ):
            pass
    assert slices.settle(SECONDS_MAX)
    assert sorted(indexes.made) == [2_000, 2_050, 2_100]
    assert all(slices.get(one, known_violators=False).index is not None for one in conditions)


def test_a_making_that_fails_changes_no_answer_and_is_not_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise MemoryError("no room")

    indexes = making(fail)
    slices, query = cache(indexes=indexes), unit_vectors(3, DIM)
    ask_often(slices, MANY, times=6)
    assert indexes.made == [2_100]
    assert "no room" in caplog.text
    part = slices.get(MANY, known_violators=False)
    assert part.index is None
    expected = EXACT.search_rows(query, np.arange(900, NUM), k=5)
    assert np.array_equal(part.search(query, k=5).rows_QK, expected.rows_QK)


def test_an_index_that_is_not_proven_is_not_used_and_not_tried_again() -> None:
    strict = CONFIG.model_copy(update={"recall_target": 1.0, "poor_share_target": 0.0})
    indexes = replace(making(), config=strict)
    slices = cache(indexes=indexes)
    ask_often(slices, MANY, times=4)
    assert slices.get(MANY, known_violators=False).index is None
    assert indexes.made == [2_100]


def test_an_index_as_slow_as_the_scan_is_not_used() -> None:
    costs = SearchCosts(exact_us=0, exact_row_us=1e-6, approximate_us=0, approximate_hit_us=0)
    slices = cache(indexes=replace(INDEXES, costs=costs))
    ask_often(slices, MANY, times=3)
    assert slices.get(MANY, known_violators=False).index is None


def test_slices_that_push_each_other_out_do_not_make_indexes_for_ever() -> None:
    quick = CONFIG.model_copy(update={"tuning_queries": 100, "recall_target": 0.5})
    indexes = replace(making(), config=quick)
    slices = cache(indexes=indexes, max_bytes=500_000)
    conditions = [Filter(min_events=least) for least in (901, 951, 1_001, 1_051, 1_101)]
    for _ in range(MAKINGS_MAX + 2):
        for condition in conditions:
            ask_often(slices, condition, times=2)
            assert slices.size_bytes <= 500_000
    assert MAKINGS_MAX < len(indexes.made) <= MAKINGS_MAX * len(conditions)


def test_a_slice_too_large_for_its_vectors_gets_an_index_of_codes() -> None:
    flat, codes = (INDEXES.kind_within(NUM, most) for most in (2**20, 160_000))
    assert flat is not None
    assert flat.kind == "ivf_flat"
    assert codes is not None
    assert codes.kind == "ivf_sq8"
    assert codes.size_bytes <= 160_000
    assert INDEXES.kind_within(NUM, 1_000) is None
    slices = cache(indexes=INDEXES, max_bytes=500_000)
    ask_often(slices, MANY, times=2)
    part = slices.get(MANY, known_violators=False)
    assert part.index is not None
    assert part.index.kind == "ivf_sq8"


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
