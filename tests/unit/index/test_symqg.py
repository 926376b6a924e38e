"""What is SymphonyQG's own; what every kind does is in `tests/integration/index/test_kinds.py`."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from index.approximate import ApproximateIndex
from index.config import IndexConfig
from index.distinct import group_identical
from index.errors import BuildCorrupt, KindUnavailable
from index.exact import ExactIndex
from index.hubness import hub_penalty
from index.kinds import check_available
from index.refine import ExactScores
from index.symqg import DEGREE, FILE_NAME, SymqgIndex, graph_class
from index.vectors import Floats, Neighbors, Vectors
from tests.index_fakes import clustered_vectors, unit_vectors

CONFIG = IndexConfig(kind="symqg", hub_references=200)
EXTRA = r"constraints\.txt '\.\[symqg\]'"

hub_corrected_or_not = pytest.mark.parametrize("hub", [True, False], ids=["hub", "plain"])


def indexed(vectors: Vectors, *, hub: bool) -> tuple[ExactIndex, ApproximateIndex]:
    entries = group_identical(vectors)
    penalty = hub_penalty(vectors, entries, CONFIG) if hub else None
    graph = SymqgIndex.build(vectors, entries, CONFIG, penalty_N=penalty)
    return ExactIndex(vectors, penalty), ApproximateIndex(entries, graph)


def reached_share(found: Neighbors, expected: Neighbors) -> float:
    return float((found.score_QK >= expected.score_QK[:, -1:] - 1e-5).mean())


@hub_corrected_or_not
@pytest.mark.parametrize("dim", [2, 8, 12, 63, 64, 65, 100, 128])
def test_any_number_of_dimensions_is_searched(dim: int, hub: bool) -> None:
    vectors = unit_vectors(1_500, dim)
    exact, index = indexed(vectors[:1_400], hub=hub)
    for k in (1, 10, 100):
        found = index.search(vectors[1_400:], k=k, effort=1_000)
        expected = exact.search(vectors[1_400:], k=k)
        assert reached_share(found, expected) > 0.97
        for place, rows in enumerate(found.rows_QK[:10]):
            true = exact.score(vectors[1_400 + place], rows)
            np.testing.assert_allclose(found.score_QK[place], true, atol=1e-5)


@hub_corrected_or_not
@pytest.mark.parametrize("num", [1, 2, DEGREE - 1, DEGREE, DEGREE + 1, DEGREE + 2, 200])
def test_so_few_that_there_is_no_graph_are_searched_too(
    num: int, hub: bool, tmp_path: Path
) -> None:
    vectors = unit_vectors(num, 8)
    exact, index = indexed(vectors, hub=hub)
    index.inner.save(tmp_path)
    assert (tmp_path / FILE_NAME).exists() == (num > DEGREE)
    scores = ExactScores(vectors, index.entries.first_rows_E, exact.penalty_N)
    loaded = SymqgIndex.load(tmp_path, scores, effort=64, num_threads=1)
    queries = unit_vectors(3, 8, seed=4)
    for one in (index, ApproximateIndex(index.entries, loaded)):
        found, expected = one.search(queries, k=num + 3), exact.search(queries, k=num + 3)
        np.testing.assert_allclose(found.score_QK, expected.score_QK, atol=1e-6)
        assert np.array_equal(np.sort(found.rows_QK), np.sort(expected.rows_QK))


def test_users_who_are_all_equal_are_one_entry() -> None:
    vectors = np.repeat(unit_vectors(1), 70, axis=0)
    _, index = indexed(vectors, hub=True)
    found = index.search(vectors[:1], k=75)
    assert found.rows_QK[0].tolist() == [*range(70), *[-1] * 5]


def test_nobody_is_found_among_nobody() -> None:
    _, index = indexed(np.empty((0, 12), dtype=np.float32), hub=False)
    assert (index.search(unit_vectors(2), k=3).rows_QK == -1).all()


def test_a_beam_that_is_narrow_for_so_many_neighbors_is_widened() -> None:
    """With a beam no wider than k, much of a hundred neighbors is missed."""
    vectors = clustered_vectors(6_000, 64, num_clusters=60)
    exact, index = indexed(vectors[:5_800], hub=False)
    assert isinstance(index.inner, SymqgIndex)
    found, expected = (one.search(vectors[5_800:], k=100) for one in (index, exact))
    _, distance_QK = index.inner.graph.search(vectors[5_800:], 100, 100, 1)
    narrow = Neighbors(found.rows_QK, 1 - distance_QK / 2)
    assert reached_share(narrow, expected) < 0.8
    assert reached_share(found, expected) > 0.93


def test_searches_with_other_beams_at_once_change_no_answer() -> None:
    """The beam must be no state of the index: threads share it."""
    vectors = unit_vectors(3_000, 64)
    _, index = indexed(vectors[:2_800], hub=False)
    queries = vectors[2_800:]

    def answers(effort: int) -> list[list[int]]:
        return [
            index.search(queries[[place]], k=2, effort=effort).rows_QK[0].tolist()
            for place in range(len(queries))
        ]

    narrow, wide = answers(8), answers(800)
    assert narrow != wide
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(answers, [8, 800] * 12))
    assert found == [narrow, wide] * 12


def test_several_threads_of_one_search_find_the_same() -> None:
    vectors = clustered_vectors(900, 16, num_clusters=8)
    _, index = indexed(vectors, hub=True)
    assert isinstance(index.inner, SymqgIndex)
    two = ApproximateIndex(index.entries, replace(index.inner, num_threads=2))
    found, expected = (one.search(vectors[:80], k=5) for one in (two, index))
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    assert np.array_equal(found.score_QK, expected.score_QK)


class LostGraph:
    """Stands for a graph in which walks towards the first dimension end too early."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def search(
        self, query_QD: Vectors, k: int, beam: int, threads: int
    ) -> tuple[npt.NDArray[np.uint32], Floats]:
        if (query_QD[:, 0] > 0).any():
            raise RuntimeError("QuantizedGraph search could not produce k results")
        found: tuple[npt.NDArray[np.uint32], Floats] = self._graph.search(
            query_QD, k, beam, threads
        )
        return found


@hub_corrected_or_not
def test_all_are_compared_where_a_walk_ends_too_early(hub: bool) -> None:
    exact, index = indexed(unit_vectors(400), hub=hub)
    assert isinstance(index.inner, SymqgIndex)
    lost = ApproximateIndex(index.entries, replace(index.inner, graph=LostGraph(index.inner.graph)))
    queries = unit_vectors(40, seed=9)
    found, expected = lost.search(queries, k=7, effort=400), exact.search(queries, k=7)
    is_lost = queries[:, 0] > 0
    assert 0 < is_lost.sum() < len(queries)
    np.testing.assert_allclose(found.score_QK[is_lost], expected.score_QK[is_lost], atol=1e-6)
    assert reached_share(found, expected) > 0.97


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    vectors = unit_vectors(200)
    _, index = indexed(vectors, hub=False)
    index.inner.save(tmp_path)
    path, scores = tmp_path / FILE_NAME, ExactScores(vectors, np.arange(200), None)
    content = path.read_bytes()
    for broken in (b"", b"\xff" * len(content), content[:20], content + b"more"):
        path.write_bytes(broken)
        with pytest.raises(BuildCorrupt, match="can't be read"):
            SymqgIndex.load(tmp_path, scores, effort=64, num_threads=1)
    path.unlink()
    with pytest.raises(BuildCorrupt, match="can't be read"):
        SymqgIndex.load(tmp_path, scores, effort=64, num_threads=1)


def test_a_disk_that_does_not_take_the_file_is_told(tmp_path: Path) -> None:
    _, index = indexed(unit_vectors(200), hub=False)
    with pytest.raises(OSError, match="can't be written"):
        index.inner.save(tmp_path / "missing")


@pytest.fixture
def another_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The library is looked for anew, and again when the test is over."""
    graph_class.cache_clear()
    yield monkeypatch
    graph_class.cache_clear()


def test_without_the_library_the_extra_is_named(another_library: pytest.MonkeyPatch) -> None:
    vectors = unit_vectors(5)
    another_library.setitem(sys.modules, "rabitqlib", None)
    with pytest.raises(KindUnavailable, match=EXTRA):
        check_available(CONFIG)
    with pytest.raises(KindUnavailable, match=EXTRA):
        indexed(vectors, hub=False)
    scores = ExactScores(vectors, np.arange(5), None)
    with pytest.raises(KindUnavailable, match=EXTRA):
        SymqgIndex.load(Path("nowhere"), scores, effort=64, num_threads=1)
    check_available(IndexConfig())


def test_a_processor_that_the_library_has_no_code_for_is_told(
    another_library: pytest.MonkeyPatch,
) -> None:
    class Graph:
        def __init__(self, *arguments: object) -> None:
            pass

        def build(self, *arguments: object) -> None:
            raise RuntimeError("no supported SIMD backend is available")

    another_library.setitem(sys.modules, "rabitqlib", SimpleNamespace(SymqgIndex=Graph))
    with pytest.raises(KindUnavailable, match=r"processor: no supported SIMD .* another .*kind"):
        check_available(CONFIG)
