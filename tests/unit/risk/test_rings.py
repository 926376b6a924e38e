import numpy as np
import pytest

from index.risk.config import RingsConfig
from index.risk.links import find_links
from index.risk.rings import Rings, chance_in_groups, choose_bar, describe_rings, find_rings
from index.vectors import Vectors
from store.sequences import Int64s
from tests.unit.risk.planted import with_groups, with_ring_in_a_crowd
from tests.unit.risk.reference_users import random_unit

CONFIG = RingsConfig()


def rings_of(vectors: Vectors, config: RingsConfig = CONFIG, label: Int64s | None = None) -> Rings:
    unknown = np.full(len(vectors), -1)
    return find_rings(
        vectors, np.full(len(vectors), 20), unknown if label is None else label, config
    )


def members(rings: Rings) -> set[tuple[int, ...]]:
    numbers = range(rings.table.num_rows)
    return {tuple(np.flatnonzero(rings.ring_N == ring).tolist()) for ring in numbers}


def group_members(group: Int64s, number: int) -> tuple[int, ...]:
    return tuple(np.flatnonzero(group == number).tolist())


@pytest.mark.parametrize("exact_users_max", [30_000, 100])
def test_planted_groups_are_found(exact_users_max: int) -> None:
    vectors, group = with_groups(3000, [(size, 0.15) for size in (8, 6, 5, 4, 4, 3)], seed=1)
    rings = rings_of(vectors, RingsConfig(exact_users_max=exact_users_max))
    assert members(rings) == {group_members(group, number) for number in range(6)}
    assert rings.chance_share <= CONFIG.chance_share


def test_among_random_users_there_are_hardly_any_rings() -> None:
    for seed in range(3):
        vectors = random_unit(np.random.default_rng(seed), 1500, 32)
        assert (rings_of(vectors).ring_N >= 0).mean() < 0.01


def test_a_ring_in_a_dense_crowd_is_found_and_the_crowd_is_none() -> None:
    vectors, group = with_ring_in_a_crowd(ring=6, crowd=600, num_users=2500)
    rings = rings_of(vectors)
    assert group_members(group, 1) in members(rings)
    assert group_members(group, 2) in members(rings)
    assert (rings.ring_N[group == 0] >= 0).mean() < 0.01


def test_a_crowd_does_not_hide_the_rings_elsewhere() -> None:
    vectors, group = with_groups(600, [(40, 0.05), (6, 0.05), (5, 0.05), (4, 0.05)])
    rings = rings_of(vectors)
    assert members(rings) == {group_members(group, number) for number in (1, 2, 3)}


def test_a_group_beyond_the_largest_size_is_no_ring_nor_are_its_parts() -> None:
    vectors, group = with_groups(5000, [(25, 0.05), (5, 0.05)])
    assert members(rings_of(vectors, RingsConfig(size_max=20))) == {group_members(group, 1)}
    larger = rings_of(vectors, RingsConfig(size_max=50))
    assert (larger.ring_N[group == 0] >= 0).all()
    assert larger.table.num_rows > 1


def test_equal_bots_are_a_ring_up_to_the_largest_size() -> None:
    for num_bots, found in ((3, True), (30, True), (300, True), (1001, False)):
        vectors, group = with_groups(2500, [(num_bots, 0.0), (6, 0.1)])
        bots = np.flatnonzero(group == 0)
        vectors[bots] = vectors[bots[0]]
        rings = rings_of(vectors)
        assert (tuple(bots.tolist()) in members(rings)) == found
        assert group_members(group, 1) in members(rings)


def test_where_all_are_equal_there_is_no_ring() -> None:
    vectors = np.repeat(random_unit(np.random.default_rng(0), 1, 8), 500, axis=0)
    assert rings_of(vectors).table.num_rows == 0
    few = np.repeat(random_unit(np.random.default_rng(0), 300, 8), 5, axis=0)
    assert rings_of(few).table.num_rows == 300


def test_users_of_too_few_events_are_in_no_ring() -> None:
    vectors, group = with_groups(600, [(6, 0.1), (5, 0.1)])
    num_events = np.where(group == 0, 1, 20)
    rings = find_rings(vectors, num_events, np.full(600, -1), CONFIG)
    assert members(rings) == {group_members(group, 1)}


def test_labels_do_not_decide_who_is_in_a_ring() -> None:
    vectors, group = with_groups(600, [(8, 0.1), (5, 0.1)])
    label = np.where(group == 0, 1, 0)
    some, others = rings_of(vectors), rings_of(vectors, label=label)
    assert (some.ring_N == others.ring_N).all()
    caught = [np.count_nonzero(group[list(ring)] == 0) for ring in members(others)]
    assert sorted(others.table["num_violators"].to_pylist()) == sorted(caught)
    assert max(caught) > 3


def test_rings_are_the_same_every_time_and_numbered_by_size() -> None:
    vectors, _ = with_groups(800, [(size, 0.15) for size in (5, 9, 7, 3, 4)])
    first, second = (rings_of(vectors) for _ in range(2))
    assert (first.ring_N == second.ring_N).all()
    assert first.table.equals(second.table)
    assert first.ring_N.dtype == np.int32
    sizes = first.table["num_users"].to_pylist()
    assert sizes == sorted(sizes, reverse=True)
    assert sizes == np.bincount(first.ring_N[first.ring_N >= 0]).tolist()


def test_what_a_ring_is_told_by_is_what_it_is() -> None:
    vectors, group = with_groups(600, [(7, 0.15), (4, 0.15)])
    label = np.where(np.isin(np.arange(600), np.flatnonzero(group == 0)[:5]), 1, 0)
    label[np.flatnonzero(group == 0)[5]] = -1
    table = describe_rings(vectors, group.astype(np.int32), label)
    assert table["num_users"].to_pylist() == [7, 4]
    assert table["num_violators"].to_pylist() == [5, 0]
    assert table["violator_rate_lower"][0].as_py() > table["violator_rate_lower"][1].as_py()
    for ring in (0, 1):
        mates = vectors[group == ring].astype(np.float64)
        cosine = mates @ mates.T
        pairs = cosine[~np.eye(len(mates), dtype=bool)]
        assert table["cohesion"][ring].as_py() == pytest.approx(pairs.mean(), abs=1e-6)


def test_more_chance_is_let_in_where_more_is_allowed() -> None:
    vectors, _ = with_groups(1500, [(6, 0.15)] * 5)
    links = find_links(vectors, np.full(1500, 20), CONFIG)
    bars = []
    for share in (0.1, 0.3, 0.6):
        bar, chance_share = choose_bar(links, RingsConfig(chance_share=share))
        assert chance_share <= share
        bars.append(bar)
    assert bars == sorted(bars)
    assert bars[0] < bars[-1]


@pytest.mark.parametrize("size_min", [2, 3, 5])
def test_chance_makes_the_groups_of_a_random_graph(size_min: int) -> None:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 40_000, (2, 6_000))
    graph = coo_matrix((np.ones(6_000), (one, other)), shape=(40_000, 40_000))
    _, group = connected_components(graph, directed=False)
    share = (np.bincount(group)[group] >= size_min).mean()
    assert chance_in_groups(2 * 6_000 / 40_000, size_min) == pytest.approx(share, rel=0.1)


@pytest.mark.parametrize("num_users", [0, 1, 2, 3, 4, 12, 60])
def test_few_users_are_no_obstacle(num_users: int) -> None:
    vectors = random_unit(np.random.default_rng(3), num_users, 8)
    rings = rings_of(vectors)
    assert len(rings.ring_N) == num_users
    assert rings.table.num_rows == len(set(rings.ring_N[rings.ring_N >= 0].tolist()))
