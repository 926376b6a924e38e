"""Lists within reach of a query: fewer are probed, and nearly as much is found."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from index.approximate import ApproximateIndex
from index.choice import Reach
from index.config import IndexConfig
from index.distinct import group_identical
from index.exact import ExactIndex
from index.ivf import InvertedFile
from index.kinds import build_index
from index.questions import Questions, ask
from index.reach import SPARE_EFFORT, WORTH, with_least_reach
from index.refine import ExactScores
from index.stages import REACHED_UP_TO, FileKind, Stages
from index.tuning import quality_of, reaches, tune
from index.vectors import Floats, Neighbors, Rows, Vectors
from tests.index_fakes import clustered_vectors, uneven_clusters, unit_vectors

NUM, DIM = 6_000, 32
CONFIG = IndexConfig(tuning_queries=600, recall_target=0.95, poor_share_target=0.02)
EVERYWHERE = Reach(ratio=1, gap=4)
NEAREST = Reach(ratio=1, gap=0)
KINDS: tuple[FileKind, ...] = ("ivf_flat", "ivf_sq8", "ivf_rabitq")


def lists_of(
    vectors: Vectors, kind: FileKind, penalty: Floats | None = None
) -> tuple[ExactIndex, ApproximateIndex, InvertedFile]:
    exact = ExactIndex(vectors, penalty)
    index = build_index(kind, exact, group_identical(vectors), CONFIG)
    assert isinstance(index.inner, InvertedFile)
    return exact, index, index.inner


def penalties() -> Floats:
    drawn = np.random.default_rng(3).random(NUM)
    return (0.1 * drawn).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_penalized", [False, True])
@pytest.mark.parametrize("num_queries", [1, 40])
def test_a_reach_beyond_all_lists_finds_what_is_found_without(
    kind: FileKind, is_penalized: bool, num_queries: int
) -> None:
    vectors = clustered_vectors(NUM, DIM, num_clusters=40)
    _, _, lists = lists_of(vectors, kind, penalties() if is_penalized else None)
    queries = unit_vectors(num_queries, DIM, seed=9)
    found = lists.with_reach(EVERYWHERE).search_entries(queries, k=10)
    without = lists.search_entries(queries, k=10)
    assert np.array_equal(found.rows_QK, without.rows_QK)
    assert np.array_equal(found.score_QK, without.score_QK)


def test_which_lists_are_probed_does_not_depend_on_how_many_neighbors_are_asked_for() -> None:
    vectors = clustered_vectors(NUM, DIM, num_clusters=40)
    _, _, lists = lists_of(vectors, "ivf_flat")
    narrow, queries = lists.with_effort(60).with_reach(NEAREST), unit_vectors(200, DIM, seed=9)
    of_hundred = narrow.search_entries(queries, k=100).rows_QK
    for k in (1, 3, 10):
        assert np.array_equal(narrow.search_entries(queries, k=k).rows_QK, of_hundred[:, :k])
        alone = [narrow.search_entries(query[None], k=k).rows_QK for query in queries]
        assert np.array_equal(np.concatenate(alone), of_hundred[:, :k])


@pytest.mark.parametrize("kind", KINDS)
def test_only_lists_within_reach_are_probed(
    kind: FileKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.stages.REACHED_UP_TO", 5)
    vectors = clustered_vectors(NUM, DIM, num_clusters=40)
    _, _, lists = lists_of(vectors, kind)
    queries = vectors[:200]
    wide, narrow = lists.with_effort(16), lists.with_effort(16).with_reach(NEAREST)
    one = lists.with_effort(1)
    is_same_Q = (
        narrow.search_entries(queries, k=5).rows_QK == one.search_entries(queries, k=5).rows_QK
    ).all(axis=1)
    assert is_same_Q.mean() > 0.95, "but for queries whose nearest list holds too few"
    found, of_all = (lists.search_entries(queries, k=5).rows_QK for lists in (narrow, wide))
    assert not np.array_equal(found, of_all)
    alone = np.concatenate([narrow.search_entries(one[None], k=5).rows_QK for one in queries])
    assert np.array_equal(found, alone), "those that find too few change nothing for others"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reach", [None, NEAREST])
def test_many_queries_are_searched_in_blocks_and_find_the_same(
    kind: FileKind, reach: Reach | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered_vectors(NUM, DIM, num_clusters=40)
    _, _, lists = lists_of(vectors, kind)
    lists, queries = lists.with_effort(8).with_reach(reach), unit_vectors(50, DIM, seed=9)
    at_once = lists.search_entries(queries, k=10)
    monkeypatch.setattr("index.ivf.TABLES_BYTES", 3 * lists._query_bytes(10, 8))
    sizes: list[int] = []
    best = ExactScores.best

    def noted(scores: ExactScores, query_QD: Vectors, entry_QC: Rows, *, k: int) -> Neighbors:
        sizes.append(len(query_QD))
        return best(scores, query_QD, entry_QC, k=k)

    monkeypatch.setattr(ExactScores, "best", noted)
    in_blocks = lists.search_entries(queries, k=10)
    assert sizes == [3] * 16 + [2]
    assert np.array_equal(in_blocks.rows_QK, at_once.rows_QK)
    assert np.array_equal(in_blocks.score_QK, at_once.score_QK)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_query_finds_does_not_depend_on_who_asks_with_it(kind: FileKind) -> None:
    """Where one list holds too few for some, more are probed for these alone."""
    vectors = uneven_clusters(700, DIM, num_clusters=20)
    _, _, lists = lists_of(vectors, kind)
    lists, queries = lists.with_effort(1), vectors[:45]
    found = lists.search_entries(queries, k=10)
    for number, query in enumerate(queries):
        alone = lists.search_entries(query[None], k=10)
        assert np.array_equal(alone.rows_QK[0], found.rows_QK[number])


def test_where_too_few_are_within_reach_all_lists_are_probed() -> None:
    vectors = clustered_vectors(1_000, DIM, num_clusters=40)
    _, _, lists = lists_of(vectors, "ivf_flat")
    narrow = lists.with_effort(lists.effort_max).with_reach(NEAREST)
    found = narrow.search_entries(vectors[:20], k=120)
    without = narrow.with_reach(None).search_entries(vectors[:20], k=120)
    assert np.array_equal(found.rows_QK, without.rows_QK)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_penalized", [False, True])
def test_who_is_far_from_every_list_probes_all_of_the_effort(
    kind: FileKind, is_penalized: bool
) -> None:
    vectors = clustered_vectors(NUM, DIM, num_clusters=40)
    _, _, lists = lists_of(vectors, kind, penalties() if is_penalized else None)
    wide, queries = lists.with_effort(16), unit_vectors(200, DIM, seed=9)
    nearest_Q = wide.centroid_distances(queries)[:, 0]
    far = float(np.median(nearest_Q))
    found, of_near, of_all = (
        index.search_entries(queries, k=5).rows_QK
        for index in (
            wide.with_reach(NEAREST.model_copy(update={"far": far})),
            wide.with_reach(NEAREST),
            wide,
        )
    )
    is_far_Q = nearest_Q > far
    assert np.array_equal(found[is_far_Q], of_all[is_far_Q])
    assert np.array_equal(found[~is_far_Q], of_near[~is_far_Q])
    assert not np.array_equal(of_near[is_far_Q], of_all[is_far_Q])
    alone = wide.with_reach(NEAREST.model_copy(update={"far": far}))
    one_by_one = [alone.search_entries(query[None], k=5).rows_QK for query in queries]
    assert np.array_equal(np.concatenate(one_by_one), found)


def test_a_named_effort_and_very_many_neighbors_have_no_reach() -> None:
    vectors = clustered_vectors(NUM, DIM, num_clusters=10)
    _, _, lists = lists_of(vectors, "ivf_flat")
    narrow, queries = lists.with_effort(30).with_reach(NEAREST), vectors[:50]
    for k, effort in ((5, 30), (REACHED_UP_TO + 1, None)):
        found = narrow.search_entries(queries, k=k, effort=effort)
        without = lists.with_effort(30).search_entries(queries, k=k)
        assert np.array_equal(found.rows_QK, without.rows_QK)


def questions_of(exact: ExactIndex) -> Questions:
    return ask(exact, num=CONFIG.tuning_queries, generator=np.random.default_rng(1))


@pytest.mark.parametrize("is_penalized", [False, True])
def test_the_least_reach_that_keeps_the_target_is_taken_and_holds_for_newcomers(
    is_penalized: bool,
) -> None:
    drawn = uneven_clusters(NUM + 400, DIM, num_clusters=20)
    vectors, newcomers = np.ascontiguousarray(drawn[:NUM]), np.ascontiguousarray(drawn[NUM:])
    exact = ExactIndex(vectors, penalties() if is_penalized else None)
    questions = replace(questions_of(exact), are_newcomers=True)
    untrained = questions.stored_rows
    entries = group_identical(vectors)
    index = build_index("ivf_flat", exact, entries, CONFIG, untrained=untrained)
    lists = index.inner
    assert isinstance(lists, InvertedFile)
    tuned, quality = tune(exact, index, questions, CONFIG, effort_max=lists.effort_max)
    assert reaches(quality, CONFIG)
    pruned = with_least_reach(exact, tuned, [questions], CONFIG)
    assert pruned is not None
    reached, shown = pruned
    inner = reached.inner
    assert isinstance(inner, InvertedFile)
    assert inner.reach is not None
    assert inner.effort <= SPARE_EFFORT * tuned.inner.effort
    assert shown == quality_of(exact, reached, questions, confidence=CONFIG.confidence)
    assert reaches(shown, CONFIG)
    num_probed = inner.num_probed(newcomers, inner.reach).mean()
    assert num_probed < 1.1 * WORTH * tuned.inner.effort
    floor_Q1 = exact.search(newcomers, k=100).score_QK[:, -1:] - 1e-5
    recall = (reached.search(newcomers, k=100).score_QK >= floor_Q1).mean()
    assert recall > CONFIG.recall_target - 0.01


def test_lists_of_few_entries_get_no_reach_that_sends_queries_to_all_of_them() -> None:
    """Then more lists would be scanned than without one."""
    generator = np.random.default_rng(4)
    centre = generator.normal(size=(100, 16))
    drawn = centre[generator.integers(0, 100, 3_000)] + generator.normal(size=(3_000, 16)) * 0.6
    vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    exact, index, lists = lists_of(vectors, "ivf_flat")
    questions = questions_of(exact)
    tuned, _ = tune(exact, index, questions, CONFIG, effort_max=lists.effort_max)
    assert with_least_reach(exact, tuned, [questions], CONFIG) is None


@pytest.mark.parametrize("reach", [NEAREST, Reach(ratio=1.5, gap=0.1), Reach.of(0.5, 0.2, far=0.3)])
def test_as_many_lists_are_scanned_as_are_counted(
    reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = uneven_clusters(NUM, DIM, num_clusters=20)
    _, _, lists = lists_of(vectors, "ivf_flat")
    lists = lists.with_effort(20).with_reach(reach)
    counted: list[int] = []
    scan = Stages._scan

    def noted(stages: Stages, query: Vectors, k: int, params: Any, *nearest: Any) -> Rows:
        counted.append(params.nprobe if len(query) == 1 else int((nearest[1] >= 0).sum()))
        return scan(stages, query, k, params, *nearest)

    monkeypatch.setattr(Stages, "_scan", noted)
    for query in vectors[:60]:
        lists.search_entries(query[None], k=5)
    num_Q = lists.num_probed(vectors[:60], reach)
    assert counted == num_Q.tolist()
    assert 1 < num_Q.mean() < 20
    lists.search_entries(vectors[:60], k=5)
    assert counted[-1] == num_Q.sum()


def test_where_nearest_lists_tell_little_all_of_the_effort_is_probed() -> None:
    vectors = unit_vectors(NUM, DIM)
    exact, index, lists = lists_of(vectors, "ivf_flat")
    questions = questions_of(exact)
    tuned, quality = tune(exact, index, questions, CONFIG, effort_max=lists.effort_max)
    assert reaches(quality, CONFIG)
    assert with_least_reach(exact, tuned, [questions], CONFIG) is None
