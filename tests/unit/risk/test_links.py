import numpy as np
import pytest

from index.risk.config import RingsConfig
from index.risk.links import Links, background, find_links
from index.vectors import Vectors
from store.sequences import Int64s
from tests.unit.risk.planted import with_groups, with_ring_in_a_crowd
from tests.unit.risk.reference_users import random_unit

CONFIG = RingsConfig()


def links_of(vectors: Vectors, config: RingsConfig = CONFIG) -> Links:
    return find_links(vectors, np.full(len(vectors), 20), config)


def pairs(links: Links) -> set[tuple[int, int]]:
    return set(zip(links.first_L.tolist(), links.second_L.tolist(), strict=True))


def test_links_are_between_users_mutually_among_their_nearest() -> None:
    vectors, _ = with_groups(600, [(8, 0.15), (5, 0.15)])
    links = links_of(vectors, RingsConfig(neighbors=4))
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -1)
    nearest = [set(row) for row in np.argsort(-cosine, axis=1)[:, :4].tolist()]
    expected = {
        (one, other)
        for one in range(600)
        for other in nearest[one]
        if one < other and one in nearest[other]
    }
    assert pairs(links) == expected
    assert (links.chance_L > 0).all()


def test_strangers_come_as_close_as_they_are_said_to() -> None:
    """The chance of a link counts strangers; of random users, all are strangers."""
    vectors = random_unit(np.random.default_rng(1), 3000, 24)
    links = links_of(vectors)
    for chance in (0.03, 0.1, 0.3):
        per_user = 2 * np.count_nonzero(links.chance_L <= chance) / 3000
        assert 0.2 * chance < per_user < 1.3 * chance


def test_what_is_close_in_a_crowd_is_no_surprise_there() -> None:
    vectors, group = with_ring_in_a_crowd(ring=6, crowd=600, num_users=2500)
    links = links_of(vectors)
    both = np.stack([group[links.first_L], group[links.second_L]])
    crowd, ring = (both == 0).all(axis=0), (both == 1).all(axis=0)
    cosine = (vectors[links.first_L] * vectors[links.second_L]).sum(axis=1)
    strangers = (both == -1).all(axis=0)
    assert cosine[crowd].min() > np.quantile(cosine[strangers], 0.99)
    assert np.median(links.chance_L[crowd]) > 0.3
    assert links.chance_L[ring].max() < 0.05


def test_equal_bots_are_one_witness_and_twins() -> None:
    vectors, _ = with_groups(600, [])
    vectors[100:140] = vectors[100]
    links = links_of(vectors)
    assert links.entries.num_entries == 561
    bots = int(np.argmax(links.users_E))
    assert links.users_E[bots] == 40
    assert links.twins_E[bots] < 1e-3
    assert np.isinf(links.twins_E[np.arange(561) != bots]).all()
    alone = links_of(np.delete(vectors, np.arange(101, 140), axis=0))
    assert pairs(links) == pairs(alone)
    assert links.chance_L == pytest.approx(alone.chance_L)


def test_background_is_where_one_in_a_hundred_and_one_in_ten_of_strangers_are() -> None:
    vectors = random_unit(np.random.default_rng(2), 2000, 16)
    near, spread = background(vectors, RingsConfig(references=2000))
    ranked = np.sort(vectors @ vectors.T, axis=1)
    assert near == pytest.approx(ranked[:, -20], abs=1e-5)
    assert near - spread == pytest.approx(ranked[:, -200], abs=1e-5)


@pytest.mark.parametrize("config", [CONFIG, RingsConfig(exact_users_max=100)])
def test_links_are_the_same_every_time(config: RingsConfig) -> None:
    vectors, _ = with_groups(700, [(6, 0.2)] * 4)
    first, second = (links_of(vectors, config) for _ in range(2))
    for name in ("first_L", "second_L", "chance_L", "twins_E"):
        assert (getattr(first, name) == getattr(second, name)).all(), name


def test_users_of_few_events_are_judged_among_their_like() -> None:
    """Half of the users are close to many because they did little; that says nothing of them."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(4000, 24))
    vectors[:2000] = 0.8 * vectors[rng.integers(0, 40, 2000)] + 0.5 * vectors[:2000]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    num_events: Int64s = np.where(np.arange(4000) < 2000, 3, 60)
    links = find_links(vectors.astype(np.float32), num_events, CONFIG)
    close = links.chance_L <= 0.1
    few = (links.first_L < 2000) & (links.second_L < 2000)
    assert np.count_nonzero(close & few) < 0.15 * 2000
    assert np.count_nonzero(close & ~few) < 0.15 * 2000


@pytest.mark.parametrize("num_users", [0, 1, 3, 12, 39])
def test_so_few_users_tell_nothing_of_chance(num_users: int) -> None:
    links = links_of(random_unit(np.random.default_rng(3), num_users, 8))
    assert len(links.chance_L) == 0
    assert np.isinf(links.twins_E).all()
