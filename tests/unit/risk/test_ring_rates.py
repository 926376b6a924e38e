import numpy as np
import pytest
from scipy.stats import beta

from index.risk.ring_rates import Asked, Floats, RingRates
from store.sequences import Int64s


def many_rings(seed: int = 0, *, num_rings: int = 40) -> RingRates:
    rng = np.random.default_rng(seed)
    users = rng.integers(3, 30, num_rings)
    return RingRates(users, rng.binomial(users, 0.4), 5000, 700)


def lower_of(rates: RingRates, rings: Int64s) -> Floats:
    return rates.rate_lower(Asked.by_strangers(rings))


def test_users_and_violators_are_counted_per_ring() -> None:
    ring = np.array([0, 0, 2, -1, 2, 2, -1])
    is_violator = np.array([True, False, True, True, True, False, False])
    rates = RingRates.count(ring, is_violator, num_rings=4)
    assert rates.users_R.tolist() == [2, 0, 3, 0]
    assert rates.violators_R.tolist() == [1, 0, 2, 0]
    assert (rates.num_users, rates.num_violators) == (7, 4)


def test_the_lower_bound_is_below_the_rate_and_grows_with_violators() -> None:
    rates = many_rings()
    lower = lower_of(rates, np.arange(40))
    share = rates.violators_R / rates.users_R
    assert ((lower >= 0) & (lower <= 1)).all()
    assert (lower[share > 0.4] < share[share > 0.4]).all()
    same_size = RingRates(np.full(30, 9), np.arange(30) % 10, 1000, 100)
    assert (np.diff(lower_of(same_size, np.arange(10))) > 0).all()


def test_the_prior_of_few_rings_is_a_weak_one_at_the_rate_of_all() -> None:
    rates = RingRates(np.array([3, 4]), np.array([3, 0]), 100, 10)
    expected = beta.ppf(0.05, 2 * 0.1 + np.array([3, 0]), 2 * 0.9 + np.array([0, 4]))
    assert lower_of(rates, np.array([0, 1])) == pytest.approx(expected)
    assert lower_of(rates, np.array([-1]))[0] == pytest.approx(beta.ppf(0.05, 0.2, 1.8))


def test_the_prior_of_many_rings_has_their_mean_and_spread() -> None:
    rng = np.random.default_rng(1)
    users = np.full(4000, 50)
    violators = rng.binomial(users, rng.beta(2.0, 6.0, 4000))
    lower = lower_of(RingRates(users, violators, 300_000, 3000), np.array([-1]))
    assert lower[0] == pytest.approx(beta.ppf(0.05, 2.0, 6.0), rel=0.1)


@pytest.mark.parametrize("num_rings", [5, 40])
def test_whoever_is_asked_about_is_out_of_the_ring_the_prior_and_the_rate(num_rings: int) -> None:
    rates = many_rings(num_rings=num_rings)
    for ring, violator in ((0, True), (1, False)):
        users, violators = rates.users_R.copy(), rates.violators_R.copy()
        users[ring] -= 1
        violators[ring] -= violator
        left = RingRates(users, violators, 5000, 700 - violator)
        asked = Asked(np.array([ring]), np.array([True]), np.array([violator]))
        stranger = Asked.by_strangers(np.array([ring]))
        assert rates.rate_lower(asked) == pytest.approx(left.rate_lower(stranger), rel=1e-6)
        assert rates.others(asked) == (users[ring], violators[ring])


def test_who_is_in_no_ring_is_told_nothing_by_rings() -> None:
    excess = many_rings().excess_log_odds(Asked.by_strangers(np.array([-1, 0])))
    assert excess[0] == 0
    assert excess[1] != 0


def test_rings_speak_for_their_members_as_far_as_others_tell() -> None:
    rates = RingRates(np.full(20, 5), np.where(np.arange(20) < 4, 5, 2), 1000, 40)
    excess = rates.excess_log_odds(Asked.by_strangers(np.array([0, 10, -1])))
    assert excess[0] > max(excess[1], 0)
    assert np.isfinite(excess).all()


def test_without_rings_there_is_nothing_to_say() -> None:
    nothing = RingRates(np.empty(0, np.int64), np.empty(0, np.int64), 0, 0)
    strangers = Asked.by_strangers(np.array([-1, -1]))
    assert nothing.excess_log_odds(strangers).tolist() == [0.0, 0.0]
    assert nothing.rate_lower(Asked.by_strangers(np.empty(0, np.int64))).tolist() == []
