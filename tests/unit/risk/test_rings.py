import numpy as np
import pytest
from scipy.stats import beta

from index.risk.config import RingsConfig
from index.risk.rings import (
    beta_prior,
    chance_similarity,
    describe_rings,
    find_rings,
    mutual_graph,
    rate_lower,
)
from index.vectors import Vectors
from store.sequences import Int64s
from tests.unit.risk.reference_users import random_unit, unit_rows

NOBODY = np.zeros(600, dtype=np.int64)


def with_planted(
    sizes: list[int], *, spread: float = 0.15, seed: int = 0
) -> tuple[Vectors, Int64s]:
    """Return 600 random users of whom some stand in tight groups, and the group of each."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(600, 32))
    group = np.full(600, -1)
    places = rng.permutation(600)
    for number, size in enumerate(sizes):
        mine, places = places[:size], places[size:]
        group[mine] = number
        vectors[mine] = rng.normal(size=32) + spread * rng.normal(size=(size, 32))
    return unit_rows(vectors), group


def test_planted_groups_are_found() -> None:
    vectors, group = with_planted([8, 6, 5, 4, 4, 3])
    rings = find_rings(vectors, NOBODY, RingsConfig())
    found = {tuple(np.flatnonzero(rings.ring_N == ring)) for ring in range(rings.table.num_rows)}
    planted = {tuple(np.flatnonzero(group == number)) for number in range(6)}
    assert planted <= found
    assert len(found - planted) <= 2


def test_among_random_users_there_are_hardly_any_rings() -> None:
    vectors = random_unit(np.random.default_rng(1), 600, 32)
    rings = find_rings(vectors, NOBODY, RingsConfig())
    assert (rings.ring_N >= 0).mean() < 0.02


def test_a_crowd_does_not_hide_the_rings() -> None:
    """Pairs of the crowd are no chance: their closeness is no bar for others."""
    vectors, group = with_planted([40, 6, 5, 4], spread=0.05)
    rings = find_rings(vectors, NOBODY, RingsConfig())
    for number in (1, 2, 3):
        mates = rings.ring_N[group == number]
        assert mates[0] >= 0
        assert (rings.ring_N == mates[0]).sum() == len(mates)


def test_a_crowd_is_no_ring() -> None:
    vectors, group = with_planted([120, 6, 5])
    config = RingsConfig(size_max=100, resolution=0.1, tail_share=0.05)
    rings = find_rings(vectors, NOBODY, config)
    assert rings.table["num_users"].to_numpy().max() <= 100
    sizes = find_rings(vectors, NOBODY, config.model_copy(update={"size_max": 1000})).table
    assert sizes["num_users"].to_numpy().max() >= 6
    assert group.max() == 2


def test_rings_are_the_same_every_time_and_numbered_by_size() -> None:
    vectors, _ = with_planted([5, 9, 7, 3, 4])
    first, second = (find_rings(vectors, NOBODY, RingsConfig()) for _ in range(2))
    assert (first.ring_N == second.ring_N).all()
    assert first.table.equals(second.table)
    assert first.ring_N.dtype == np.int32
    sizes = first.table["num_users"].to_pylist()
    assert sizes == sorted(sizes, reverse=True)
    assert sizes == np.bincount(first.ring_N[first.ring_N >= 0]).tolist()


def test_what_a_ring_is_told_by_is_what_it_is() -> None:
    vectors, group = with_planted([7, 4])
    label = np.where(np.isin(np.arange(600), np.flatnonzero(group == 0)[:5]), 1, 0)
    label[np.flatnonzero(group == 0)[5]] = -1
    table = describe_rings(vectors, group.astype(np.int32), label, RingsConfig())
    assert table["num_users"].to_pylist() == [7, 4]
    assert table["num_violators"].to_pylist() == [5, 0]
    for ring in (0, 1):
        mates = vectors[group == ring].astype(np.float64)
        cosine = mates @ mates.T
        pairs = cosine[~np.eye(len(mates), dtype=bool)]
        assert table["cohesion"][ring].as_py() == pytest.approx(pairs.mean(), abs=1e-6)


def test_the_lower_bound_is_below_the_rate_and_between_0_and_1() -> None:
    rng = np.random.default_rng(0)
    size = rng.integers(3, 30, 40)
    violators = rng.binomial(size, 0.4)
    lower = rate_lower(violators, size, base_rate=0.05)
    assert ((lower >= 0) & (lower <= 1)).all()
    caught = violators / size > 0.4
    assert (lower[caught] < (violators / size)[caught]).all()
    many, few = rate_lower(np.array([30, 3]), np.array([30, 3]), base_rate=0.05)
    assert many > few
    assert rate_lower(np.array([], int), np.array([], int), base_rate=0.1).tolist() == []


def test_the_prior_of_few_rings_is_a_weak_one_at_the_base_rate() -> None:
    a, b = beta_prior(np.array([1, 0]), np.array([3, 4]), base_rate=0.1)
    assert (a, b) == pytest.approx((0.2, 1.8))
    lower = rate_lower(np.array([3]), np.array([3]), base_rate=0.1)
    assert lower[0] == pytest.approx(beta.ppf(0.05, 3.2, 1.8))


def test_the_prior_of_many_rings_has_their_mean_and_spread() -> None:
    rng = np.random.default_rng(1)
    size = np.full(4000, 50)
    violators = rng.binomial(size, rng.beta(2.0, 6.0, 4000))
    a, b = beta_prior(violators, size, base_rate=0.01)
    assert a == pytest.approx(2.0, rel=0.15)
    assert b == pytest.approx(6.0, rel=0.15)


def test_only_the_tail_share_of_random_pairs_is_closer_than_chance() -> None:
    vectors = random_unit(np.random.default_rng(2), 800, 16)
    cosine = vectors @ vectors.T
    pairs = cosine[np.triu_indices(800, 1)]
    for share in (1e-2, 1e-3):
        least = chance_similarity(vectors, RingsConfig(tail_share=share))
        assert (pairs > least).mean() == pytest.approx(share, rel=0.35)


def test_links_are_mutual_symmetric_and_closer_than_chance() -> None:
    vectors, _ = with_planted([8, 5])
    config = RingsConfig(neighbors=4)
    graph = mutual_graph(vectors, 0.5, config)
    assert (graph != graph.T).nnz == 0
    assert graph.diagonal().sum() == 0
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -1)
    nearest = np.argsort(-cosine, axis=1)[:, :4]
    rows, columns = graph.nonzero()
    assert len(rows) > 0
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        assert column in nearest[row]
        assert row in nearest[column]
        assert cosine[row, column] > 0.5


def test_the_inverted_file_finds_the_same_rings() -> None:
    vectors, group = with_planted([8, 6, 5, 4])
    rings = find_rings(vectors, NOBODY, RingsConfig(exact_users_max=100))
    for number in range(4):
        mates = rings.ring_N[group == number]
        assert (mates == mates[0]).all()
        assert mates[0] >= 0


@pytest.mark.parametrize("num_users", [0, 1, 2, 3, 4, 12])
def test_few_users_are_no_obstacle(num_users: int) -> None:
    vectors = random_unit(np.random.default_rng(3), num_users, 8)
    rings = find_rings(vectors, np.zeros(num_users, np.int64), RingsConfig())
    assert len(rings.ring_N) == num_users
    assert rings.table.num_rows == len(set(rings.ring_N[rings.ring_N >= 0].tolist()))
