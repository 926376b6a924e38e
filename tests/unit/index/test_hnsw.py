from pathlib import Path

import numpy as np
import pytest

from index.approximate import ApproximateIndex
from index.config import IndexConfig
from index.distinct import OFFSETS_FILE, Entries, group_identical
from index.errors import BuildCorrupt, DimensionMismatch
from index.exact import ExactIndex
from index.hnsw import GRAPH_FILE, HnswIndex
from index.hubness import hub_penalty
from index.vectors import Floats, Vectors
from tests.index_fakes import clustered_vectors, unit_vectors

CONFIG = IndexConfig(ef_search=64)


def build(
    vectors: Vectors, penalty: Floats | None = None, config: IndexConfig = CONFIG
) -> ApproximateIndex:
    entries = group_identical(vectors)
    return ApproximateIndex(entries, HnswIndex.build(vectors, entries, config, penalty_N=penalty))


def load(directory: Path, *, dim: int, penalty: Floats | None = None) -> ApproximateIndex:
    graph = HnswIndex.load(directory, dim=dim, penalty_N=penalty, effort=64, num_threads=1)
    return ApproximateIndex(Entries.load(directory), graph)


def save(index: ApproximateIndex, directory: Path) -> None:
    index.entries.save(directory)
    index.inner.save(directory)


def test_scores_are_inner_products_less_the_penalty() -> None:
    vectors = clustered_vectors(400, 16, num_clusters=8)
    penalty = hub_penalty(vectors, group_identical(vectors), CONFIG)
    found = build(vectors, penalty).search(vectors[:20], k=5)
    exact = ExactIndex(vectors, penalty)
    for query in range(20):
        expected = exact.score(vectors[query], found.rows_QK[query])
        np.testing.assert_allclose(found.score_QK[query], expected, atol=1e-5)


def test_same_input_gives_the_same_file(tmp_path: Path) -> None:
    vectors = clustered_vectors(500, 16, num_clusters=8)
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(build(vectors), tmp_path / name)
        contents.append((tmp_path / name / GRAPH_FILE).read_bytes())
    assert contents[0] == contents[1]


def test_mapped_index_answers_as_the_one_that_was_saved(tmp_path: Path) -> None:
    vectors = clustered_vectors(500, 16, num_clusters=8)
    saved = build(vectors)
    save(saved, tmp_path)
    loaded = load(tmp_path, dim=16)
    found, expected = loaded.search(vectors[:50], k=7), saved.search(vectors[:50], k=7)
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    assert np.array_equal(found.score_QK, expected.score_QK)


def test_thousands_of_equal_vectors_hide_nobody() -> None:
    """A graph of all rows loses others behind the equal ones; one entry for them does not."""
    vectors = clustered_vectors(3_000, 16, num_clusters=30)
    vectors[500:2_500] = vectors[3]
    graph, exact = build(vectors), ExactIndex(vectors)
    rows = np.concatenate([np.arange(500), np.arange(2_500, 3_000)])
    found, expected = graph.search(vectors[rows], k=10), exact.search(vectors[rows], k=10)
    reached = found.score_QK >= expected.score_QK[:, -1:] - 1e-5
    assert reached.mean() > 0.99


def test_equal_vectors_are_all_returned_by_row() -> None:
    vectors = unit_vectors(300)
    vectors[[200, 100]] = vectors[7]
    found = build(vectors).search(vectors[[7]], k=4)
    assert found.rows_QK[0, :3].tolist() == [7, 100, 200]


def test_more_neighbors_than_stored_are_padded() -> None:
    found = build(unit_vectors(5)).search(unit_vectors(2, seed=4), k=9)
    assert (found.rows_QK[:, 5:] == -1).all()
    assert sorted(found.rows_QK[0, :5].tolist()) == [0, 1, 2, 3, 4]


def test_wider_beam_can_be_asked_for() -> None:
    vectors = unit_vectors(2_000, 32)
    graph, exact = build(vectors), ExactIndex(vectors)
    expected = exact.search(vectors[:100], k=10)

    def recall(effort: int) -> float:
        found = graph.search(vectors[:100], k=10, effort=effort)
        return float((found.score_QK >= expected.score_QK[:, -1:] - 1e-5).mean())

    assert recall(500) > recall(10)


def test_another_dimension_is_refused() -> None:
    with pytest.raises(DimensionMismatch):
        build(unit_vectors(5)).search(unit_vectors(1, 3), k=1)


def test_no_query_gives_no_answer() -> None:
    found = build(unit_vectors(5)).search(np.empty((0, 12), dtype=np.float32), k=3)
    assert found.rows_QK.shape == (0, 3)


def test_graph_that_does_not_fit_its_entries_is_refused(tmp_path: Path) -> None:
    save(build(unit_vectors(20)), tmp_path)
    with pytest.raises(BuildCorrupt, match="does not fit"):
        load(tmp_path, dim=12, penalty=np.ones(20, dtype=np.float32))
    np.save(tmp_path / OFFSETS_FILE, np.arange(5))
    with pytest.raises(BuildCorrupt, match="instead of 4"):
        load(tmp_path, dim=12)


def test_graph_that_is_cut_is_refused(tmp_path: Path) -> None:
    save(build(unit_vectors(20)), tmp_path)
    path = tmp_path / GRAPH_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BuildCorrupt, match="can't be read"):
        load(tmp_path, dim=12)


def test_search_with_several_threads_finds_the_same() -> None:
    vectors = clustered_vectors(500, 16, num_clusters=8)
    two = CONFIG.model_copy(update={"search_threads": 2})
    found = build(vectors, config=two).search(vectors[:50], k=5)
    assert np.array_equal(found.rows_QK, build(vectors).search(vectors[:50], k=5).rows_QK)
