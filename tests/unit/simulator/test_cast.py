import numpy as np
import pytest

from jobs.simulator.cast import NOBODY, Part, make_cast
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.world import make_world, opaque_ids


@pytest.mark.parametrize("size", [1, 7, 100, 999])
def test_everyone_has_a_part_and_rings_have_four_members_at_least(size: int) -> None:
    cast = make_cast(SimulatorConfig(), size, np.random.default_rng(0))
    assert len(cast.part_U) == size
    members = cast.ring_U[cast.ring_U != NOBODY]
    if len(members) >= 4:
        assert np.bincount(members).min() >= 4
    assert ((cast.policy_U >= 0) == (cast.part_U <= Part.EVADER)).all()


def test_leaders_belong_to_the_group_they_lead() -> None:
    cast = make_cast(SimulatorConfig(), 1000, np.random.default_rng(0))
    for group_U in (cast.ring_U, cast.household_U):
        members = np.flatnonzero(group_U != NOBODY)
        assert (group_U[cast.leader_U[members]] == group_U[members]).all()


def test_ids_are_distinct_and_do_not_keep_the_order() -> None:
    ids = opaque_ids("u", np.arange(100_000), 3)
    assert len(set(ids)) == 100_000
    assert len(set(map(len, ids))) == 1
    assert 0.45 < np.mean(np.array(ids[1:]) > np.array(ids[:-1])) < 0.55


def test_taste_prefers_its_genres() -> None:
    world = make_world(SimulatorConfig(num_users=5000), np.random.default_rng(0))
    drawn = world.draw(world.taste({"market": 9}), 20_000, np.random.default_rng(1))
    plain = world.draw(world.taste({}), 20_000, np.random.default_rng(1))
    market = 2
    assert np.mean(world.genre_P[drawn] == market) > 2 * np.mean(world.genre_P[plain] == market)
