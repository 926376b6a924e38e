"""Every backend answers alike: the same assertions on every kind of index, and on Milvus.

A backend is a configuration and a way to open what was written with it; adding one is a line.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from index.answers import Filter, NeighborRequest, SearchMode
from index.build import Build, load_build, write_build
from index.config import IndexConfig
from index.delta import SEEN_SCHEMA, ChangedUsers
from index.errors import BuildInvalid, DimensionMismatch
from index.everywhere import find_everywhere
from index.filters import FilterTable
from index.milvus.collections import MilvusCollections
from index.overlay import CHANGES_SCHEMA
from index.population import Population
from index.search import find_neighbors
from index.tombstones import Tombstones
from index.vectors import Neighbors, Rows, Vectors
from store.workspace import Workspace
from tests.index_fakes import (
    FIRST_TS,
    NOW,
    SPACE_ID,
    build_input,
    clustered_vectors,
    unit_vectors,
    user_name,
)
from tests.milvus_servers import embedded_milvus, milvus_config

DIM = 24
TOLERANCE = 1e-5
GROUP = 1_000


@dataclass(frozen=True)
class Backend:
    """How a build is written, and how it is opened for the first time and again."""

    config: IndexConfig
    first_opened: Callable[[Build], Build] = lambda build: build
    opened: Callable[[Build], Build] = lambda build: build


def milvus(uri: str) -> Backend:
    config = milvus_config(uri, timeout_seconds=60)  # the machine may be busy
    collections = MilvusCollections(config)
    return Backend(config, collections.load, collections.open)


def in_process(**options: object) -> Callable[[pytest.FixtureRequest], Backend]:
    quick = {"tuning_queries": 1_000, "poor_share_target": 0.01}
    return lambda request: Backend(IndexConfig.model_validate(quick | options))


def on_server(request: pytest.FixtureRequest) -> Backend:
    return milvus(request.getfixturevalue("milvus_server"))


def embedded(request: pytest.FixtureRequest) -> Backend:
    folders: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    return milvus(embedded_milvus(folders.mktemp("milvus-lite")))


BACKENDS = [
    pytest.param(in_process(kind="exact"), id="exact"),
    pytest.param(in_process(kind="hnsw"), id="hnsw"),
    pytest.param(in_process(kind="ivf_flat"), id="ivf_flat"),
    pytest.param(in_process(kind="ivf_sq8"), id="ivf_sq8"),
    pytest.param(in_process(kind="ivf_rabitq"), id="ivf_rabitq"),
    pytest.param(in_process(kind="symqg"), id="symqg"),
    pytest.param(embedded, id="milvus-lite", marks=pytest.mark.slow),
    pytest.param(on_server, id="milvus", marks=[pytest.mark.slow, pytest.mark.milvus]),
]


class World:
    """Builds of one backend, each written and opened once."""

    def __init__(self, backend: Backend, workspace: Workspace) -> None:
        self.backend = backend
        self.build = cache(self._build)
        self._workspace = workspace
        self._num_written = 0

    def _build(self, name: str) -> Build:
        vectors, hub_correction = GALLERIES[name]()
        config = self.backend.config.model_copy(update={"hub_correction": hub_correction})
        violators = range(0, len(vectors), 10)
        given = build_input(vectors, violators=violators)
        self._num_written += 1
        now = NOW + timedelta(minutes=self._num_written)
        return self.backend.first_opened(
            load_build(write_build(self._workspace, given, config, now=now))
        )


def crowded() -> Vectors:
    """Users in clusters, and three groups of 1,000 with the same vector."""
    vectors = clustered_vectors(2_000 + 3 * GROUP, DIM, num_clusters=40)
    vectors[2_000 : 2_000 + GROUP] = vectors[7]
    vectors[2_000 + GROUP : 2_000 + 2 * GROUP] = vectors[8]
    vectors[2_000 + 2 * GROUP :] = unit_vectors(1, DIM, seed=5)
    return vectors


GALLERIES: dict[str, Callable[[], tuple[Vectors, bool]]] = {
    "crowded": lambda: (crowded(), True),
    "plain": lambda: (clustered_vectors(3_000, DIM, num_clusters=30, seed=1), False),
    "few": lambda: (unit_vectors(5, DIM, seed=3), True),
    "one": lambda: (unit_vectors(1, DIM, seed=4), True),
}


@pytest.fixture(scope="module", params=BACKENDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    workspace = Workspace.create(tmp_path_factory.mktemp("conformance") / "workspace")
    return World(request.param(request), workspace)


def search(build: Build, query: Vectors, *, k: int) -> Neighbors:
    index = build.approximate or build.everyone
    return index.search(query, k=k)


def queries(build: Build, num: int = 60) -> Vectors:
    """Some users, and some who are nobody."""
    rows = np.random.default_rng(9).choice(len(build.users), num, replace=len(build.users) < num)
    return np.concatenate([build.vectors_ND[rows], unit_vectors(10, DIM, seed=77)])


def recall(build: Build, query: Vectors, found: Neighbors, *, k: int) -> float:
    """Return the share of true neighbors, by recomputed score: which of equal rows is no matter."""
    true = build.everyone.search(query, k=k)
    reached = [
        (build.everyone.score(query[place], rows[rows >= 0]) >= floor - TOLERANCE).sum()
        for place, (rows, floor) in enumerate(zip(found.rows_QK, true.score_QK[:, -1], strict=True))
    ]
    return float(np.sum(reached) / found.rows_QK.size)


def assert_well_formed(build: Build, query: Vectors, found: Neighbors) -> None:
    """Scores are the recomputed ones and descend, equal ones by row; no row comes twice."""
    for place, (rows, scores) in enumerate(zip(found.rows_QK, found.score_QK, strict=True)):
        num = int((rows >= 0).sum())
        assert (rows[num:] == -1).all()
        assert np.isneginf(scores[num:]).all()
        assert len(set(rows[:num].tolist())) == num
        np.testing.assert_allclose(
            scores[:num], build.everyone.score(query[place], rows[:num]), atol=TOLERANCE
        )
        falls = np.diff(scores[:num])
        assert (falls <= 0).all()
        assert (np.diff(rows[:num])[falls == 0] > 0).all()


@pytest.mark.parametrize("gallery", ["crowded", "plain"])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_the_true_neighbors_are_found_with_their_scores(world: World, gallery: str, k: int) -> None:
    build = world.build(gallery)
    query = queries(build)
    found = search(build, query, k=k)
    assert recall(build, query, found, k=k) >= 0.98
    assert_well_formed(build, query, found)


def test_identical_users_are_all_found_and_hide_nobody(world: World) -> None:
    build = world.build("crowded")
    query = np.ascontiguousarray(build.vectors_ND[[7, 8, 4_999, 100]])
    found = search(build, query, k=GROUP + 20)
    assert_well_formed(build, query, found)
    for place in range(3):
        same = np.flatnonzero((build.vectors_ND == query[place]).all(axis=1))
        assert len(same) >= GROUP
        assert found.rows_QK[place, : len(same)].tolist() == same.tolist()
    assert recall(build, query, found, k=GROUP + 20) >= 0.98


def test_hub_penalties_are_taken_off(world: World) -> None:
    """Without the penalty the order would be another one, so they can't have been left out."""
    build = world.build("crowded")
    penalty = build.everyone.penalty_N
    assert penalty is not None
    assert np.ptp(penalty) > 0.05
    query = queries(build)
    found = search(build, query, k=5)
    cosine = np.einsum("qkd,qd->qk", build.vectors_ND[found.rows_QK], query)
    np.testing.assert_allclose(found.score_QK, cosine - penalty[found.rows_QK], atol=TOLERANCE)


@pytest.mark.parametrize(("gallery", "num"), [("few", 5), ("one", 1)])
def test_fewer_users_than_neighbors_are_padded(world: World, gallery: str, num: int) -> None:
    build = world.build(gallery)
    query = unit_vectors(3, DIM, seed=8)
    found = search(build, query, k=9)
    assert_well_formed(build, query, found)
    assert (np.sort(found.rows_QK[:, :num], axis=1) == np.arange(num)).all()
    assert (found.rows_QK[:, num:] == -1).all()


def test_no_query_gives_no_answer(world: World) -> None:
    found = search(world.build("few"), np.empty((0, DIM), dtype=np.float32), k=3)
    assert found.rows_QK.shape == found.score_QK.shape == (0, 3)


def test_a_build_of_nobody_is_refused(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    workspace = Workspace.create(tmp_path_factory.mktemp("nobody") / "workspace")
    nobody = build_input(np.empty((0, DIM), dtype=np.float32))
    with pytest.raises(BuildInvalid):
        write_build(workspace, nobody, world.backend.config, now=NOW)


def test_vectors_of_another_length_are_refused(world: World) -> None:
    with pytest.raises(DimensionMismatch):
        search(world.build("few"), unit_vectors(2, DIM + 1), k=3)


def test_what_is_opened_again_answers_as_before(world: World) -> None:
    before = world.build("plain")
    again = world.backend.opened(load_build(before.directory))
    query = queries(before)
    found, expected = search(again, query, k=10), search(before, query, k=10)
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    np.testing.assert_allclose(found.score_QK, expected.score_QK, atol=TOLERANCE)


def test_threads_get_the_answers_of_one(world: World) -> None:
    build = world.build("plain")
    parts = np.array_split(queries(build, 120), 12)
    expected = [search(build, part, k=10) for part in parts]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda part: search(build, part, k=10), parts))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.score_QK, other.score_QK, atol=TOLERANCE)


def after(days: int) -> Filter:
    return Filter(first_seen_after=FIRST_TS + timedelta(days=days))


FILTERS = {
    "nobody": Filter(policies=("no such policy", 'a "quoted" \\ one\n')),
    "nobody at such a time": after(10_000),
    "one": Filter(min_events=17, max_events=17),
    "more events than a number holds": Filter(min_events=2**70),
    "one in a thousand": Filter(max_events=5),
    "one in ten": after(4_500),
    "half": Filter(first_seen_before=FIRST_TS + timedelta(days=2_500)),
    "all but one": Filter(min_events=2),
    "everyone": Filter(max_events=2**70),
    "violators": Filter(label=1),
    "benign": Filter(label=0),
    "a policy": Filter(policies=("spam", "no such policy")),
    "several conditions": Filter(
        label=0,
        min_events=900,
        max_events=2_600,
        last_seen_after=FIRST_TS + timedelta(days=1_000),
        last_seen_before=FIRST_TS + timedelta(days=4_000),
    ),
}


@pytest.mark.parametrize("known_violators", [False, True])
@pytest.mark.parametrize("condition", FILTERS.values(), ids=FILTERS.keys())
@pytest.mark.parametrize("gallery", ["crowded", "plain"])
def test_a_filter_lets_the_same_users_pass_everywhere(
    world: World, gallery: str, condition: Filter, known_violators: bool
) -> None:
    build = world.build(gallery)
    passing = FilterTable(build.users).rows_passing(condition, known_violators=known_violators)
    query = queries(build, 20)
    request = NeighborRequest(
        k=10, filter=condition, known_violators=known_violators, count="behaviors"
    )
    assert_best_behaviors(build, query, request, passing)


@pytest.mark.parametrize("gallery", ["crowded", "plain"])
def test_known_violators_are_found_alone(world: World, gallery: str) -> None:
    build = world.build(gallery)
    request = NeighborRequest(k=10, known_violators=True, count="behaviors")
    modes = assert_best_behaviors(build, queries(build), request, build.violator_rows)
    assert modes == {"exact"}


def assert_best_behaviors(
    build: Build, query: Vectors, request: NeighborRequest, passing: Rows
) -> set[SearchMode]:
    """Each hit may be one, is a behavior of its own, and as good as what exact search finds."""
    found, modes = find_neighbors(build, query, request, Tombstones.none(len(build.users)))
    entries = build.entries
    firsts = entries.first_rows_E[np.unique(entries.entry_N[passing])]
    expected = build.everyone.search_rows(query, firsts, k=request.k)
    reached = []
    for place, (hits, scores) in enumerate(zip(found, expected.score_QK, strict=True)):
        assert set(hits.rows_K.tolist()) <= set(passing.tolist())
        entry_K = entries.entry_N[hits.rows_K]
        assert len(set(entry_K.tolist())) == len(entry_K) == np.isfinite(scores).sum()
        if len(entry_K):
            score_K = build.everyone.score(query[place], entries.first_rows_E[entry_K])
            reached.append(score_K >= scores[: len(entry_K)].min() - TOLERANCE)
    exactly = {"exact", "exact_filtered"}
    assert set(modes) <= {*exactly, "approximate_filtered", "milvus_filtered"}
    least = 1.0 if set(modes) <= exactly else 0.95  # some queries lie where no user does
    assert not reached or np.concatenate(reached).mean() >= least
    return set(modes)


@pytest.mark.parametrize(
    "request_of",
    [
        NeighborRequest(k=10),
        NeighborRequest(k=10, known_violators=True),
        NeighborRequest(k=10, filter=Filter(max_events=4_500)),
    ],
    ids=["everyone", "violators", "filtered"],
)
def test_erased_users_take_no_place(world: World, request_of: NeighborRequest) -> None:
    """A quarter of all users is gone, and the whole of one group of the same vector but for one."""
    build = world.build("crowded")
    query = queries(build)
    gone = [*range(0, len(build.users), 4), *range(2_000, 2_999)]
    tombstones = Tombstones.none(len(build.users)).adding(build.users, map_names(gone))
    found, _ = find_neighbors(build, query, request_of, tombstones)
    assert {len(hits.rows_K) for hits in found} == {10}
    assert not tombstones.hidden_N[np.concatenate([hits.rows_K for hits in found])].any()


@pytest.mark.parametrize(
    "request_of",
    [
        NeighborRequest(k=10),
        NeighborRequest(k=10, known_violators=True),
        NeighborRequest(k=10, filter=Filter(label=0)),
        NeighborRequest(k=10, filter=Filter(min_events=1_000), count="behaviors"),
    ],
    ids=["everyone", "violators", "benign", "behaviors"],
)
def test_changes_beside_the_build_are_seen(world: World, request_of: NeighborRequest) -> None:
    """Violators are cleared, benign users convicted, and users move, come and are erased."""
    build = world.build("plain")
    population = changed_population(build)
    query = queries(build)
    found, _ = find_everywhere(population, query, request_of)
    expected, _ = find_everywhere(population, query, replace(request_of, exact=True))
    shared = [
        len(np.intersect1d(some.rows_K, others.rows_K)) / len(others.rows_K)
        for some, others in zip(found, expected, strict=True)
    ]
    assert np.mean(shared) >= 0.95
    rows = np.unique(np.concatenate([hits.rows_K for hits in found]))
    assert not population.hidden.hidden_N[rows[rows < population.first_slot]].any()
    if request_of.known_violators:
        assert population.is_violator(rows).all()


def changed_population(build: Build) -> Population:
    """Return who is answered for once labels, users and erasures have changed."""
    relabelled = [
        {"user_id": user_name(row), "label": int(row % 10 != 0)} for row in range(0, 1_000, 5)
    ]
    moved = [*range(1, 200, 4), *range(3_000, 3_040)]
    users = pa.table(
        {
            "user_id": [user_name(row) for row in moved],
            **{name: np.arange(len(moved)) + 1_000 for name in SEEN_SCHEMA.names[1:]},
        },
        schema=SEEN_SCHEMA,
    )
    arrived = ChangedUsers(users, build.vectors_ND[500 : 500 + len(moved)], SPACE_ID, NOW)
    population = Population.of(build).with_labels(
        pa.Table.from_pylist(relabelled, schema=CHANGES_SCHEMA)
    )
    population = population.with_changed(arrived, users_max=1_000)
    return population.without_users(map_names(list(range(2, 600, 3))))


def map_names(rows: list[int]) -> set[str]:
    return {user_name(row) for row in rows}
