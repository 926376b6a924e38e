from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from index.alike import find_alike
from index.build import AS_STORED, load_build, write_build
from index.config import IndexConfig
from index.delta import SEEN_SCHEMA, Alike, ChangedUsers, Delta
from index.distinct import group_identical
from index.errors import BuildInvalid
from index.grown_rows import GrownRows
from index.hubness import HubReferences, hub_penalty
from index.vectors import Floats, Rows, Vectors
from store.workspace import Workspace
from tests.index_fakes import (
    DIM,
    NOW,
    SPACE_ID,
    build_input,
    clustered_vectors,
    unit_vectors,
    user_name,
)

CONFIG = IndexConfig(delta_exact_multiplications=0)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "workspace")


def seen(first: int, num: int) -> pa.Table:
    numbers = [1] * num
    ids = [user_name(first + place) for place in range(num)]
    return pa.table([ids, numbers, numbers, numbers, numbers], names=SEEN_SCHEMA.names)


def no_rows(num: int) -> Rows:
    return np.full(num, -1, dtype=np.int64)


def delta_of(vectors: Vectors, *, first: int = 0, delta: Delta | None = None) -> Delta:
    num = len(vectors)
    delta = delta or Delta.none(vectors.shape[1])
    penalty = (0.2 + vectors[:, 0] / 5).astype(np.float32)  # equal for equal vectors
    whole = group_identical(np.concatenate([delta.vectors.rows_SD, vectors]))
    first_slot_S = whole.first_rows_E[whole.entry_N]
    return delta.adding(
        seen(first, num),
        vectors,
        {AS_STORED: penalty},
        own_rows_M=no_rows(num),
        alike=Alike(first_slot_S[delta.num_slots :], no_rows(num)),
        seen_us_M=no_rows(num),
    )


def test_a_delta_in_use_is_never_changed() -> None:
    vectors = unit_vectors(40)
    before = delta_of(vectors[:20])
    first = before.search(vectors[:3], k=30)
    after = delta_of(vectors[20:], first=10, delta=before)
    other = delta_of(vectors[20:][::-1], first=10, delta=before)
    again = before.search(vectors[:3], k=30)
    assert again.rows_QK.tolist() == first.rows_QK.tolist()
    assert (before.num_users, after.num_users, after.num_slots) == (20, 30, 40)
    np.testing.assert_array_equal(after.vectors.rows_SD, vectors)
    np.testing.assert_array_equal(other.vectors.rows_SD[20:], vectors[20:][::-1])


def test_rows_are_shared_until_there_is_no_room() -> None:
    rows = GrownRows.none(2).adding(np.zeros((3, 2), dtype=np.float32))
    more = rows.adding(np.ones((4, 2), dtype=np.float32))
    assert more.storage is rows.storage
    branch = rows.adding(np.full((1, 2), 2, dtype=np.float32))
    assert branch.storage is not rows.storage
    assert more.rows_SD[3:].tolist() == [[1, 1]] * 4
    large = more.adding(np.ones((5_000, 2), dtype=np.float32))
    assert large.storage is not more.storage
    assert large.adding(np.ones((4_000, 2), dtype=np.float32)).storage is large.storage


@pytest.mark.parametrize("num_dead", [0, 100])
def test_a_grown_graph_finds_what_exact_search_finds(num_dead: int) -> None:
    vectors = clustered_vectors(1_500, 24, num_clusters=30, seed=2)
    vectors[200:400] = vectors[7]  # bots, of whom many come twice
    delta = delta_of(vectors[:600])
    delta = delta.adopting(delta.grown_graph(CONFIG), delta)
    delta = delta_of(vectors[600:1_200], first=600, delta=delta)
    delta = delta.adopting(delta.grown_graph(CONFIG), delta)
    delta = delta_of(vectors[1_200:], first=1_200, delta=delta)
    delta = delta.without([user_name(row) for row in range(num_dead)])
    assert delta.graph is not None
    assert (delta.num_slots, delta.groups.num_entries, delta.graph.num_entries) == (
        1_500,
        1_300,
        1_000,
    )
    queries = vectors[[7, 150, 800, 1_300]]
    exact = delta.search(queries, k=10, exact=True)
    found = delta.search(queries, k=10)
    np.testing.assert_allclose(found.score_QK, exact.score_QK, atol=1e-6)
    dead = set(range(num_dead))
    groups = delta.groups
    for group in found.rows_QK.ravel().tolist():
        slots = groups.rows_N[groups.offsets_E[group] : groups.offsets_E[group + 1]]
        assert not set(slots.tolist()) <= dead


def test_a_graph_grows_when_exact_search_costs_too_much() -> None:
    delta = delta_of(unit_vectors(20))
    assert not delta.wants_graph(IndexConfig(delta_exact_multiplications=20 * DIM))
    config = IndexConfig(delta_exact_multiplications=20 * DIM - 1)
    assert delta.wants_graph(config)
    linked = delta.adopting(delta.grown_graph(config), delta)
    assert not linked.wants_graph(config)


def test_a_graph_of_slots_that_were_packed_meanwhile_is_not_adopted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("index.delta.DEAD_MIN", 5)
    vectors = unit_vectors(20)
    before = delta_of(vectors)
    graph = before.grown_graph(CONFIG)
    fewer = before.without([user_name(3)])
    assert fewer.adopting(graph, before).graph is graph
    packed = before.without([user_name(row) for row in range(15)])
    assert packed.num_slots == packed.num_users == 5
    assert packed.adopting(graph, before).graph is None
    (best, *_) = packed.search(vectors[[17]], k=5).rows_QK[0].tolist()
    slot = int(packed.groups.first_rows_E[best])
    assert packed.table["user_id"][slot].as_py() == user_name(17)


def test_changed_users_must_fit_together() -> None:
    changed = ChangedUsers(seen(0, 3), unit_vectors(3), SPACE_ID, NOW)
    with pytest.raises(BuildInvalid, match="3 users and 2 vectors"):
        replace(changed, vectors_MD=unit_vectors(2))
    with pytest.raises(BuildInvalid, match="not of length 1"):
        replace(changed, vectors_MD=unit_vectors(3) * 2, seen_at=NOW + timedelta(days=1))
    with pytest.raises(BuildInvalid, match="once"):
        replace(changed, gone=frozenset([user_name(1)]))


@pytest.mark.parametrize("scale", [None, 0.5])
def test_hub_corrections_of_the_delta_are_those_of_the_build(scale: float | None) -> None:
    """Equal vectors get equal corrections, and one's own former self is no reference."""
    config = IndexConfig(hub_references=50, hub_nearest=5)
    vectors = clustered_vectors(300, DIM, num_clusters=8)
    vectors[40:60] = vectors[39]
    entries = group_identical(vectors)
    scale_D = None if scale is None else np.linspace(scale, 1, DIM, dtype=np.float32)
    references = HubReferences.of(vectors, entries, config, {"purpose": scale_D})
    rows = np.arange(300, dtype=np.int64)
    built = hub_penalty(vectors, entries, config, scale_D=scale_D)

    def corrections(of: Vectors, own_rows: Rows) -> Floats:
        return references.penalties(of, own_rows)["purpose"]

    np.testing.assert_allclose(corrections(vectors, no_rows(300)), built, atol=1e-6)
    np.testing.assert_allclose(corrections(vectors, rows), built, atol=1e-6)
    moved = vectors + np.float32(1e-3)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    alone = references.rows_R[references.alone_R]
    own = corrections(moved, rows)[alone]
    np.testing.assert_allclose(own, built[alone], atol=2e-3)
    assert (corrections(moved, no_rows(300))[alone] > own + 1e-3).any()


def test_users_who_come_join_those_who_behave_alike(workspace: Workspace) -> None:
    """Alike in the build, in the delta, among themselves, or through an entry of the build."""
    vectors = clustered_vectors(200, DIM, num_clusters=20)
    vectors[150] = vectors[30]
    given = build_input(vectors)
    build = load_build(write_build(workspace, given, IndexConfig(kind="hnsw"), now=NOW))
    delta = Delta.none(DIM)
    new = unit_vectors(3, seed=9)
    noise = np.float32(1e-7)
    first = np.concatenate([vectors[[150]], new[[0]], new[[0]] + noise, new[[1]]])
    alike = find_alike(build, delta, first)
    entry = int(build.entries.entry_N[30])
    assert alike.first_slot_M.tolist() == [0, 1, 1, 3]
    assert alike.entry_M.tolist() == [entry, -1, -1, -1]
    delta = delta.adding(
        seen(0, 4),
        first,
        {},
        own_rows_M=no_rows(4),
        alike=alike,
        seen_us_M=no_rows(4),
    )
    second = np.concatenate([new[[1]] - noise, vectors[[30]] + noise, new[[2]], vectors[[7]]])
    alike = find_alike(build, delta, second)
    assert alike.first_slot_M.tolist() == [3, 0, 6, 7]
    assert alike.entry_M.tolist() == [-1, entry, -1, int(build.entries.entry_N[7])]
    gone = delta.without([user_name(row) for row in range(4)])
    assert find_alike(build, gone, second).first_slot_M.tolist() == [4, 0, 6, 7]


def test_who_equals_any_row_of_an_entry_joins_it_and_a_chain_goes_no_farther(
    workspace: Workspace,
) -> None:
    """Rows of an entry lie up to 5e-5 from its first; users who come one by one add no more."""
    vectors = unit_vectors(40, seed=2)
    step = np.float32(8e-6) * unit_vectors(1, seed=3)[0]
    vectors[1:5] = vectors[0] + step * np.arange(1, 5, dtype=np.float32)[:, None]
    build = load_build(write_build(workspace, build_input(vectors), IndexConfig(), now=NOW))
    assert build.entries.entry_N[:5].tolist() == [0] * 5
    alike = find_alike(build, Delta.none(DIM), vectors[[4, 20]])
    assert alike.entry_M.tolist() == [0, build.entries.entry_N[20]]
    delta = Delta.none(DIM)
    for place in range(5, 20):
        came = (vectors[0] + step * np.float32(place))[None]
        alike = find_alike(build, delta, came)
        delta = delta.adding(
            seen(place, 1),
            came,
            {},
            own_rows_M=no_rows(1),
            alike=alike,
            seen_us_M=no_rows(1),
        )
    in_entry_S = delta.entry_S == 0
    assert in_entry_S.tolist() == [True] * 8 + [False] * 7  # as far as 1e-4
    assert delta.first_slot_S.tolist() == [0] * 8 + [8] * 7


def test_users_who_come_together_join_as_if_they_came_one_after_another(
    workspace: Workspace,
) -> None:
    vectors = unit_vectors(40, seed=2)
    step = np.float32(8e-6) * unit_vectors(1, seed=3)[0]
    build = load_build(write_build(workspace, build_input(vectors), IndexConfig(), now=NOW))
    near = vectors[7] + step * np.arange(1, 4, dtype=np.float32)[:, None]
    alike = find_alike(build, Delta.none(DIM), np.concatenate([near[::-1], vectors[[8]] + 1]))
    assert alike.entry_M.tolist() == [build.entries.entry_N[7]] * 3 + [-1]
    assert alike.first_slot_M.tolist() == [0, 0, 0, 3]


@pytest.mark.parametrize("seed", range(5))
def test_users_who_come_are_grouped_as_a_new_build_would(seed: int, workspace: Workspace) -> None:
    """Copies of a tight family's vectors, moved by noise, in the build and in two rounds."""
    generator = np.random.default_rng(seed)
    family = unit_vectors(1, seed=seed) + 0.002 * unit_vectors(60, seed=seed + 10)
    family /= np.linalg.norm(family, axis=1, keepdims=True)
    rows = generator.integers(0, 60, 240)
    noise = unit_vectors(240, seed=seed + 20) * generator.uniform(0, 4.9e-6, (240, 1))
    vectors = (family[rows] + noise).astype(np.float32)
    vectors[::7] = family[rows[::7]]
    given = build_input(vectors[:80])
    build = load_build(write_build(workspace, given, IndexConfig(), now=NOW))
    delta = Delta.none(DIM)
    for start in (80, 160):
        came = vectors[start : start + 80]
        delta = delta.adding(
            seen(start, 80),
            came,
            {},
            own_rows_M=no_rows(80),
            alike=find_alike(build, delta, came),
            seen_us_M=no_rows(80),
        )
    whole = group_identical(vectors)
    first_N = whole.first_rows_E[whole.entry_N]
    in_build_S = np.where(first_N[80:] < 80, build.entries.entry_N[first_N[80:] % 80], -1)
    assert delta.entry_S.tolist() == in_build_S.tolist()
    together = first_N[80:, None] == first_N[80:]
    assert delta.first_slot_S.tolist() == together.argmax(axis=1).tolist()
