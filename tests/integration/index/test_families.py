"""Users of tight families come again: whose vector is equal is one behavior, whose is near is not.

Shape key: `N` users, `D` dimensions.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from index.answers import NeighborAnswer, NeighborRequest
from index.approximate import IndexKind
from index.build import AS_STORED, Build, load_build, write_build
from index.config import IndexConfig
from index.delta import SEEN_SCHEMA, ChangedUsers
from index.population import Population
from index.service import LookalikeService
from index.vectors import Vectors
from store.workspace import Workspace
from tests.index_fakes import NOW, SPACE_ID, FakeEmbedder, build_input, unit_vectors, user_name

DIM = 32
SIZE, NUM_FAMILIES = 50, 12
NUM_USERS = SIZE * NUM_FAMILIES
SPREADS = (0.001, 0.01, 0.1)
Stored = Callable[[IndexKind, float], Build]


def families(spread: float) -> Vectors:
    """Return families of vectors about `spread` from their centres."""
    centre = np.repeat(unit_vectors(NUM_FAMILIES, DIM, seed=3), SIZE, axis=0).astype(np.float64)
    offset = np.random.default_rng(4).normal(size=(NUM_USERS, DIM)) * spread / np.sqrt(DIM)
    vectors = centre + offset
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Return what gives the build of a kind with families of a spread; each is made once."""

    @cache
    def build(kind: IndexKind, spread: float) -> Build:
        workspace = Workspace.create(tmp_path_factory.mktemp("families") / "workspace")
        config = IndexConfig(kind=kind, hub_references=120, hub_nearest=10)
        given = build_input(families(spread))
        return load_build(write_build(workspace, given, config, now=NOW))

    return build


def coming(population: Population, vectors: Vectors, *, first: int) -> Population:
    """Return the population with new users, numbered from one on."""
    numbers = [1] * len(vectors)
    ids = [user_name(first + place) for place in range(len(vectors))]
    users = pa.table([ids, numbers, numbers, numbers, numbers], names=SEEN_SCHEMA.names)
    return population.with_changed(ChangedUsers(users, vectors, SPACE_ID, NOW), users_max=10_000)


@pytest.mark.parametrize("noise", [0.0, 3e-7, 5e-6])
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf_rabitq"])
def test_whoever_equals_one_of_a_tight_family_joins_that_one(
    stored: Stored, kind: IndexKind, spread: float, noise: float
) -> None:
    build = stored(kind, spread)
    assert build.entries.num_entries == NUM_USERS
    rows = np.arange(0, NUM_USERS, 3)
    moved = build.vectors_ND[rows] + np.float32(noise) * unit_vectors(len(rows), DIM, seed=5)
    population = coming(Population.of(build), moved.astype(np.float32), first=NUM_USERS)
    assert population.delta.entry_S.tolist() == build.entries.entry_N[rows].tolist()
    penalty_N = build.everyone.penalty_N
    assert penalty_N is not None
    assert population.delta.penalties[AS_STORED].tolist() == penalty_N[rows].tolist()

    service = LookalikeService(build, FakeEmbedder(dim=DIM), None, IndexConfig(), clock=lambda: NOW)
    request = NeighborRequest(k=SIZE, count="behaviors", members=1, exact=True)
    (answer,) = service.answering_for(population).neighbors_of_vectors(
        build.vectors_ND[rows[:1]], SPACE_ID, request
    )
    assert isinstance(answer, NeighborAnswer)
    came_as = {user_name(row): user_name(NUM_USERS + row // 3) for row in rows.tolist()}
    assert {hit.user_id for hit in answer.hits} == {user_name(row) for row in range(SIZE)}
    for hit in answer.hits:
        assert hit.members is not None
        others = [came_as[hit.user_id]] if hit.user_id in came_as else []
        assert [member.user_id for member in hit.members] == others


@pytest.mark.parametrize("spread", SPREADS)
def test_twins_of_a_tight_family_that_come_twice_are_one_group_each(
    stored: Stored, spread: float
) -> None:
    build = stored("exact", spread)
    new = np.ascontiguousarray(build.vectors_ND[:SIZE, ::-1])  # a family that no build knows
    once = coming(Population.of(build), new, first=NUM_USERS)
    noise = np.float32(1e-6) * unit_vectors(SIZE, DIM, seed=6)
    twice = coming(once, new + noise, first=NUM_USERS + SIZE)
    thrice = coming(twice, new[::-1].copy(), first=NUM_USERS + 2 * SIZE)
    own = list(range(SIZE))
    assert thrice.delta.first_slot_S.tolist() == own + own + own[::-1]
    assert thrice.delta.entry_S.tolist() == [-1] * 3 * SIZE
