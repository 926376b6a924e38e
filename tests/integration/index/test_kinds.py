"""What every kind of index must do; a new kind is one more line of KINDS."""

from pathlib import Path

import numpy as np
import pytest

from index import ivf
from index.approximate import ApproximateIndex, LocalKind
from index.config import IndexConfig
from index.distinct import Entries, group_identical
from index.errors import BuildCorrupt, DimensionMismatch
from index.exact import ExactIndex
from index.faiss_files import write_faiss
from index.hubness import hub_penalty
from index.ivf import FILE_NAME, InvertedFile
from index.kinds import build_index, load_index
from index.vectors import Neighbors, Vectors
from tests.index_fakes import clustered_vectors, unit_vectors

KINDS: tuple[LocalKind, ...] = ("hnsw", "ivf_flat", "ivf_sq8", "ivf_rabitq", "symqg")
CONFIG = IndexConfig(hub_references=200)
EFFORT_OF_ALL = 1_000

every_kind = pytest.mark.parametrize("kind", KINDS)
hub_corrected_or_not = pytest.mark.parametrize("hub", [True, False], ids=["hub", "plain"])


def exact_of(vectors: Vectors, *, hub: bool) -> tuple[ExactIndex, Entries]:
    entries = group_identical(vectors)
    return ExactIndex(vectors, hub_penalty(vectors, entries, CONFIG) if hub else None), entries


def build(kind: LocalKind, vectors: Vectors, *, hub: bool = True) -> ApproximateIndex:
    exact, entries = exact_of(vectors, hub=hub)
    return build_index(kind, exact, entries, CONFIG)


def load(
    saved: ApproximateIndex, directory: Path, vectors: Vectors, *, hub: bool = True
) -> ApproximateIndex:
    exact, entries = exact_of(vectors, hub=hub)
    inner = saved.inner
    assert inner.kind != "milvus"
    return load_index(
        inner.kind,
        directory,
        exact,
        entries,
        effort=inner.effort,
        refine=inner.refine,
        num_threads=1,
    )


def assert_same(found: Neighbors, expected: Neighbors) -> None:
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    assert np.array_equal(found.score_QK, expected.score_QK)


def reached_share(found: Neighbors, expected: Neighbors) -> float:
    return float((found.score_QK >= expected.score_QK[:, -1:] - 1e-5).mean())


@every_kind
@hub_corrected_or_not
@pytest.mark.parametrize("k", [1, 10, 100])
def test_nearly_all_true_neighbors_are_found(kind: LocalKind, hub: bool, k: int) -> None:
    vectors = clustered_vectors(3_000, 24, num_clusters=60)
    exact, entries = exact_of(vectors[:2_800], hub=hub)
    wide = build_index(kind, exact, entries, CONFIG).with_effort(EFFORT_OF_ALL)
    queries = vectors[2_800:]
    assert reached_share(wide.search(queries, k=k), exact.search(queries, k=k)) > 0.9


@every_kind
@hub_corrected_or_not
def test_scores_are_inner_products_less_the_penalty_and_descend(kind: LocalKind, hub: bool) -> None:
    vectors = clustered_vectors(600, 20, num_clusters=8)
    exact, entries = exact_of(vectors, hub=hub)
    found = build_index(kind, exact, entries, CONFIG).search(vectors[:30], k=12)
    for query in range(30):
        expected = exact.score(vectors[query], found.rows_QK[query])
        np.testing.assert_allclose(found.score_QK[query], expected, atol=1e-5)
    assert (np.diff(found.score_QK, axis=1) <= 0).all()


@every_kind
def test_one_query_is_answered_as_among_many(kind: LocalKind) -> None:
    vectors = clustered_vectors(600, 20, num_clusters=8)
    index = build(kind, vectors)
    together = index.search(vectors[:20], k=10)
    for query in range(20):
        alone = index.search(vectors[[query]], k=10)
        np.testing.assert_allclose(alone.score_QK[0], together.score_QK[query], atol=1e-6)


@every_kind
@pytest.mark.parametrize("num", [1, 2, 5, 40])
def test_more_neighbors_than_stored_are_padded(kind: LocalKind, num: int) -> None:
    found = build(kind, unit_vectors(num)).search(unit_vectors(3, seed=4), k=60)
    assert (found.rows_QK[:, num:] == -1).all()
    assert np.isneginf(found.score_QK[:, num:]).all()
    assert np.array_equal(np.sort(found.rows_QK[:, :num]), np.tile(np.arange(num), (3, 1)))


@every_kind
def test_as_many_are_found_as_are_asked_for(kind: LocalKind) -> None:
    """Lists that hold fewer than k are not the end of the search."""
    vectors = clustered_vectors(3_000, 16, num_clusters=40)
    found = build(kind, vectors).search(vectors[:10], k=1_000, effort=1)
    assert (found.rows_QK >= 0).all()
    assert all(len(set(rows)) == 1_000 for rows in found.rows_QK.tolist())


@every_kind
def test_crowds_of_equal_vectors_hide_nobody(kind: LocalKind) -> None:
    vectors = clustered_vectors(3_000, 16, num_clusters=30)
    for crowd, start in enumerate(range(500, 2_500, 200)):
        vectors[start : start + 200] = vectors[crowd]
    exact, entries = exact_of(vectors, hub=False)
    wide = build_index(kind, exact, entries, CONFIG).with_effort(EFFORT_OF_ALL)
    queries = vectors[np.r_[:500, 2_500:3_000]]
    assert reached_share(wide.search(queries, k=10), exact.search(queries, k=10)) > 0.97


@every_kind
def test_equal_vectors_are_all_returned_by_row(kind: LocalKind) -> None:
    vectors = unit_vectors(300)
    vectors[[200, 100]] = vectors[7]
    found = build(kind, vectors).search(vectors[[7]], k=3)
    assert found.rows_QK[0].tolist() == [7, 100, 200]


@every_kind
@hub_corrected_or_not
def test_mapped_index_answers_as_the_one_that_was_saved(
    kind: LocalKind, hub: bool, tmp_path: Path
) -> None:
    vectors = clustered_vectors(800, 18, num_clusters=8)
    saved = build(kind, vectors, hub=hub)
    saved.inner.save(tmp_path)
    loaded = load(saved, tmp_path, vectors, hub=hub)
    assert loaded.inner.kind == kind
    for k in (1, 7, 300):
        assert_same(loaded.search(vectors[:50], k=k), saved.search(vectors[:50], k=k))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "symqg"])  # has no seed
def test_same_input_gives_the_same_file(kind: LocalKind, tmp_path: Path) -> None:
    vectors = clustered_vectors(900, 16, num_clusters=8)
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build(kind, vectors).inner.save(tmp_path / name)
        contents.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert contents[0] == contents[1]


@every_kind
def test_file_that_is_cut_or_of_other_vectors_is_refused(kind: LocalKind, tmp_path: Path) -> None:
    vectors = unit_vectors(200)
    saved = build(kind, vectors)
    saved.inner.save(tmp_path)
    with pytest.raises(BuildCorrupt, match="not fit"):
        load(saved, tmp_path, vectors, hub=False)
    with pytest.raises(BuildCorrupt, match="instead of"):
        load(saved, tmp_path, vectors[:150])
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-100])
        with pytest.raises(BuildCorrupt, match=r"can't be read|instead of|not fit"):
            load(saved, tmp_path, vectors)
        path.unlink()
        with pytest.raises(BuildCorrupt, match="can't be read"):
            load(saved, tmp_path, vectors)
        path.write_bytes(whole)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "symqg"])  # that one is copied
def test_a_loaded_index_is_read_where_it_lies_so_that_processes_share_it(
    kind: LocalKind, tmp_path: Path
) -> None:
    """What changes in the file shows in the answers, so nothing was copied from it."""
    vectors = clustered_vectors(5_000, 24, num_clusters=50)
    saved = build(kind, vectors, hub=False)
    saved.inner.save(tmp_path)
    loaded = load(saved, tmp_path, vectors, hub=False)
    loaded = loaded.with_effort(EFFORT_OF_ALL)
    largest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    before = loaded.search(vectors[::50], k=10)
    size = largest.stat().st_size
    with largest.open("r+b") as file:
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    after = loaded.search(vectors[::50], k=10)
    assert not np.array_equal(before.rows_QK, after.rows_QK)


def test_lists_of_a_build_of_format_2_are_read_as_they_were(tmp_path: Path) -> None:
    """Then all of an inverted file was in one file."""
    vectors = clustered_vectors(800, 18, num_clusters=8)
    saved = build("ivf_rabitq", vectors)
    assert isinstance(saved.inner, InvertedFile)
    write_faiss(saved.inner.file, tmp_path / FILE_NAME)
    loaded = load(saved, tmp_path, vectors)
    assert_same(loaded.search(vectors[:50], k=10), saved.search(vectors[:50], k=10))


@pytest.mark.parametrize("kind", ["ivf_flat", "ivf_sq8", "ivf_rabitq"])
def test_many_lists_are_made_in_two_levels_and_find_as_much(
    kind: LocalKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered_vectors(6_200, 24, num_clusters=80)
    exact, entries = exact_of(vectors[:6_000], hub=True)
    queries, effort = vectors[6_000:], 12
    expected = exact.search(queries, k=10)
    monkeypatch.setitem(ivf.LIST_SIZE_MIN, kind, 8)
    one_level = build_index(kind, exact, entries, CONFIG).with_effort(effort)
    monkeypatch.setattr(ivf, "TWO_LEVELS_FROM", 100)
    two_levels = build_index(kind, exact, entries, CONFIG).with_effort(effort)
    assert two_levels.inner.num_entries == entries.num_entries
    recall = reached_share(two_levels.search(queries, k=10), expected)
    assert recall > reached_share(one_level.search(queries, k=10), expected) - 0.02
    every_list = two_levels.with_effort(EFFORT_OF_ALL).search(queries, k=10)
    assert reached_share(every_list, expected) > 0.98


@every_kind
def test_file_of_another_kind_is_refused(kind: LocalKind, tmp_path: Path) -> None:
    vectors = unit_vectors(200)
    exact, entries = exact_of(vectors, hub=True)
    saved = build(kind, vectors)
    saved.inner.save(tmp_path)
    for other in KINDS:
        if other != kind:
            with pytest.raises(BuildCorrupt):
                load_index(other, tmp_path, exact, entries, effort=8, refine=1, num_threads=1)


@every_kind
def test_another_dimension_is_refused(kind: LocalKind) -> None:
    with pytest.raises(DimensionMismatch):
        build(kind, unit_vectors(5)).search(unit_vectors(1, 3), k=1)


@every_kind
def test_no_query_gives_no_answer(kind: LocalKind) -> None:
    found = build(kind, unit_vectors(5)).search(np.empty((0, 12), dtype=np.float32), k=3)
    assert found.rows_QK.shape == (0, 3)


@every_kind
def test_more_effort_finds_more(kind: LocalKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ivf.LIST_SIZE_MIN, "ivf_rabitq", 8)
    vectors = unit_vectors(3_000, 32)
    exact, entries = exact_of(vectors, hub=False)
    index = build_index(kind, exact, entries, CONFIG)
    expected = exact.search(vectors[:100], k=10)

    def recall(effort: int) -> float:
        return reached_share(index.search(vectors[:100], k=10, effort=effort), expected)

    assert recall(200) > recall(10)
