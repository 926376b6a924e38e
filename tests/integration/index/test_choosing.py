"""The build's choice: what it takes, what it tells, and that the gate sees the same."""

from typing import Any

import numpy as np
import pytest

from index.approximate import ApproximateIndex
from index.build import load_build, write_build
from index.choosing import Chosen, choose_index
from index.config import GateConfig, IndexConfig
from index.distinct import group_identical
from index.exact import ExactIndex
from index.gate import gate
from index.ivf import REFINE, REFINE_MAX, REFINE_WIDER, InvertedFile
from index.kinds import effort_at_10_of, reach_of
from index.questions import Questions
from index.tuning import FIRST_QUERIES, tune
from index.vectors import Vectors
from store.workspace import Workspace
from tests.index_fakes import NOW, build_input, clustered_vectors, uneven_clusters, unit_vectors

QUICK = IndexConfig(exact_up_to=0, exact_budget_ms=0, tuning_queries=400, poor_share_target=0.02)
EXACT_US = 5_000.0


def choose(vectors: Vectors, config: IndexConfig) -> Chosen:
    return choose_index(ExactIndex(vectors), group_identical(vectors), config)


def changed(**settings: object) -> IndexConfig:
    return QUICK.model_copy(update=settings)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (changed(kind="exact"), "the settings name exact search"),
        (changed(exact_up_to=500), "no more than the 500 of exact_up_to"),
        (changed(exact_budget_ms=60_000), "of 60000 allowed"),
    ],
    ids=["named", "few", "quick"],
)
def test_exact_search_is_taken_while_it_is_enough(config: IndexConfig, reason: str) -> None:
    chosen = choose(unit_vectors(500), config)
    assert chosen.approximate is None
    assert reason in chosen.choice.reason
    assert chosen.choice.candidates == ()


@pytest.mark.parametrize(
    ("taken_us", "tried", "taken"),
    [
        ({"ivf_rabitq": 400.0}, ["ivf_rabitq"], "ivf_rabitq"),
        ({"ivf_rabitq": 700.0, "hnsw": 300.0}, ["ivf_rabitq", "hnsw"], "hnsw"),
        ({"ivf_rabitq": 700.0, "hnsw": 900.0}, ["ivf_rabitq", "hnsw"], "ivf_rabitq"),
        ({"ivf_rabitq": 5_100.0, "hnsw": 5_200.0}, ["ivf_rabitq", "hnsw"], None),
    ],
    ids=["no other is tried", "the other is quicker", "the first is quicker", "exact is quicker"],
)
def test_where_exact_search_is_slow_the_quickest_that_reaches_is_taken(
    taken_us: dict[str, float],
    tried: list[str],
    taken: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock is ours here: what another process does must not decide."""

    def told(index: ApproximateIndex | ExactIndex, query_QD: Vectors) -> float:
        return EXACT_US if isinstance(index, ExactIndex) else taken_us[index.inner.kind]

    monkeypatch.setattr("index.choosing.microseconds", told)
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 8)))
    vectors = (unit_vectors(12_000, 8) @ basis.T).astype(np.float32)
    chosen = choose(vectors, changed(recall_target=0.9))
    assert [one.kind for one in chosen.choice.candidates] == tried
    assert chosen.choice.exact_milliseconds == EXACT_US / 1e3
    for candidate in chosen.choice.candidates:
        assert candidate.reached
        assert candidate.recall_at_10 > candidate.recall_at_10_bound >= 0.9
        assert candidate.recall_at_100 > candidate.recall_at_100_bound >= 0.9
        assert candidate.poor_share_bound <= 0.02
        assert candidate.microseconds == taken_us[candidate.kind]
    if taken is None:
        assert chosen.approximate is None
        return
    assert chosen.approximate is not None
    (candidate,) = (one for one in chosen.choice.candidates if one.kind == taken)
    assert (candidate.kind, candidate.effort, candidate.refine) == (
        chosen.approximate.inner.kind,
        chosen.approximate.inner.effort,
        chosen.approximate.inner.refine,
    )


def test_exact_search_is_taken_where_nothing_reaches_the_target() -> None:
    """No sample of some of the users proves a recall of one."""
    config = changed(recall_target=1.0, m=4, ef_construction=8, ef_search=8, ef_search_max=8)
    chosen = choose(unit_vectors(2_000, 32), config)
    assert chosen.approximate is None
    assert [one.kind for one in chosen.choice.candidates] == ["ivf_rabitq", "hnsw"]
    assert not any(one.reached for one in chosen.choice.candidates)
    assert "neither" in chosen.choice.reason


def test_lists_must_be_proven_by_users_they_were_not_learned_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Questions] = []

    def told(
        exact: ExactIndex, index: ApproximateIndex, questions: Questions, **others: Any
    ) -> Any:
        asked.append(questions)
        return tune(exact, index, questions, **others)

    monkeypatch.setattr(
        "index.choosing.tune",
        lambda exact, index, questions, config, **others: told(
            exact, index, questions, config=config, **others
        ),
    )
    vectors = clustered_vectors(6_000, 16, num_clusters=40)
    choose(vectors, changed(kind="ivf_flat"))
    assert asked
    assert all(questions.has_newcomers for questions in asked)


def test_named_lists_are_tuned_though_they_cannot_find_it() -> None:
    """No sample of some of the users proves a recall of one."""
    vectors = unit_vectors(8_000, 48)
    config = changed(kind="ivf_rabitq", recall_target=1.0)
    (candidate,) = choose(vectors, config).choice.candidates
    assert not candidate.reached
    assert candidate.num_queries == QUICK.tuning_queries
    assert candidate.refine > REFINE["ivf_rabitq"], "more candidates find more"


def test_no_more_candidates_are_scored_than_find_more() -> None:
    """Bytes tell all neighbors apart; those missed are in lists that are not probed."""
    (candidate,) = choose(unit_vectors(8_000, 48), changed(kind="ivf_sq8")).choice.candidates
    assert not candidate.reached
    assert candidate.refine <= REFINE["ivf_sq8"] * REFINE_WIDER


def test_bits_that_cannot_tell_neighbors_apart_are_not_tuned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of vectors in all directions alike eight candidates a neighbor are not enough."""
    monkeypatch.setattr("index.choosing.REFINE_MAX", 8)
    chosen = choose(unit_vectors(12_000, 48), changed(tuning_queries=1_000, recall_target=0.95))
    lists, graph = chosen.choice.candidates
    assert (lists.kind, lists.reached) == ("ivf_rabitq", False)
    assert lists.num_queries == FIRST_QUERIES, "told by some of the queries, once"
    assert lists.recall_at_100 < 0.93
    assert (graph.kind, graph.reached, graph.num_queries) == ("hnsw", True, 1_000)
    assert graph.effort_at_10 is not None
    assert graph.effort_at_10 < graph.effort


def test_where_bits_tell_little_more_candidates_are_scored_until_the_target_is_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(REFINE, "ivf_rabitq", 2)
    parts = unit_vectors(12_000, 3), 0.5 * unit_vectors(12_000, 61, seed=1)
    vectors = (np.concatenate(parts, axis=1) / np.sqrt(1.25)).astype(np.float32)
    chosen = choose(vectors, changed(kind="ivf_rabitq", recall_target=0.98))
    (candidate,) = chosen.choice.candidates
    assert candidate.reached
    assert candidate.refine is not None
    assert 2 * REFINE_WIDER < candidate.refine <= REFINE_MAX


def test_bits_of_all_lists_are_read_where_neighbors_are_in_lists_everywhere() -> None:
    """They take far less to read than vectors do, and than a graph takes to build."""
    config = changed(kind="ivf_rabitq", tuning_queries=1_000, recall_target=0.95)
    chosen = choose(unit_vectors(20_000, 24), config)
    (candidate,) = chosen.choice.candidates
    assert candidate.reached
    assert chosen.approximate is not None
    lists = chosen.approximate.inner
    assert isinstance(lists, InvertedFile)
    assert lists.effort_max // 2 < candidate.effort <= lists.effort_max
    assert candidate.refine < REFINE_MAX


def test_a_reach_is_written_read_back_and_answers_as_it_was_proven(workspace: Workspace) -> None:
    vectors = uneven_clusters(8_000, 32, num_clusters=20)
    config = changed(kind="ivf_flat", recall_target=0.95)
    chosen = choose(vectors, config)
    assert chosen.approximate is not None
    reach = reach_of(chosen.approximate.inner)
    assert reach is not None
    assert chosen.choice.candidates[0].reach == reach
    config = config.model_copy(update={"hub_correction": False})
    staged = write_build(workspace, build_input(vectors), config, now=NOW)
    build = load_build(staged)
    assert build.approximate is not None
    assert reach_of(build.approximate.inner) == build.manifest.reach == reach
    near, again = (
        index.search(vectors[:300], k=10) for index in (chosen.approximate, build.approximate)
    )
    assert np.array_equal(near.rows_QK, again.rows_QK)


def test_vectors_stored_by_columns_are_built_and_found(workspace: Workspace) -> None:
    vectors = clustered_vectors(900, 16, num_clusters=20)
    config = IndexConfig.model_validate({"kind": "ivf_flat", "hub_correction": False})
    staged = write_build(workspace, build_input(np.asfortranarray(vectors)), config, now=NOW)
    build = load_build(staged)
    assert build.approximate is not None
    assert (build.approximate.search(vectors[:50], k=1).rows_QK[:, 0] == np.arange(50)).all()


def test_an_effort_for_ten_is_written_read_back_and_taken(workspace: Workspace) -> None:
    vectors = unit_vectors(6_000, 32)
    config = changed(kind="hnsw", hub_correction=False, recall_target=0.98)
    staged = write_build(workspace, build_input(vectors), config, now=NOW)
    build = load_build(staged)
    assert build.approximate is not None
    (candidate,) = build.manifest.choice.candidates
    at_10 = effort_at_10_of(build.approximate.inner)
    assert at_10 == candidate.effort_at_10 == build.manifest.effort_at_10
    assert at_10 is not None
    assert at_10 < build.approximate.inner.effort == build.manifest.effort
    found = build.approximate.search(vectors[:100], k=10)
    named = build.approximate.search(vectors[:100], k=10, effort=at_10)
    assert np.array_equal(found.rows_QK, named.rows_QK)


@pytest.mark.parametrize("kind", ["hnsw", "ivf_flat", "ivf_sq8", "ivf_rabitq", "symqg"])
def test_a_named_kind_is_built_read_back_and_passes_the_gate(
    workspace: Workspace, kind: str
) -> None:
    given = build_input(clustered_vectors(900, 16, num_clusters=20))
    staged = write_build(workspace, given, IndexConfig.model_validate({"kind": kind}), now=NOW)
    build = load_build(staged)
    assert build.approximate is not None
    assert build.approximate.inner.kind == build.manifest.index == kind
    assert build.approximate.inner.effort == build.manifest.effort
    assert build.approximate.inner.refine == build.manifest.refine
    assert reach_of(build.approximate.inner) == build.manifest.reach
    assert build.manifest.choice.candidates[0].reached
    report = gate(
        build, None, GateConfig(), known_users=build.users.ids, erased_users=(), violators=()
    )
    assert report.passed, report
