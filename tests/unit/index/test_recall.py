import numpy as np
import pytest

from index.recall import lower_bound, sample_rows, share_upper_bound


def test_bound_is_below_the_mean_and_tightens() -> None:
    few = lower_bound(0.97, num=50, population=10**6, confidence=0.95)
    many = lower_bound(0.97, num=5_000, population=10**6, confidence=0.95)
    assert few < many < 0.97
    assert many == pytest.approx(0.97, abs=0.005)
    assert lower_bound(1.0, num=1_000, population=10**6, confidence=0.95) > 0.995
    assert lower_bound(0.9, num=80, population=80, confidence=0.95) == 0.9
    assert lower_bound(0.0, num=10, population=100, confidence=0.95) == 0.0


def test_bound_holds_as_often_as_it_says() -> None:
    """Recalls are drawn again and again; the bound exceeds the true mean in at most 5 %."""
    generator = np.random.default_rng(0)
    true_mean, num = 0.9, 200
    means = generator.binomial(num, true_mean, 2_000) / num
    bounds = [lower_bound(mean, num=num, population=10**9, confidence=0.95) for mean in means]
    assert np.mean(np.array(bounds) > true_mean) < 0.07


def test_sample_is_all_where_there_are_few() -> None:
    generator = np.random.default_rng(0)
    assert sample_rows(5, num=100, generator=generator).tolist() == [0, 1, 2, 3, 4]
    drawn = sample_rows(1_000, num=100, generator=generator)
    assert len(set(drawn.tolist())) == 100
    assert (np.diff(drawn) > 0).all()


def test_no_poor_query_among_three_thousand_proves_one_in_a_thousand() -> None:
    drawn = {"num": 3_000, "population": 10**6}
    assert share_upper_bound(0, **drawn, confidence=0.95) < 0.001
    assert share_upper_bound(1, **drawn, confidence=0.95) > 0.001
    assert share_upper_bound(0, num=300, population=10**6, confidence=0.95) > 0.005
    assert share_upper_bound(5, num=5, population=10**6, confidence=0.95) == 1.0
    assert share_upper_bound(2, num=100, population=100, confidence=0.95) == 0.02


def test_upper_bound_of_a_share_holds_as_often_as_it_says() -> None:
    true_share, num = 0.01, 500
    found = np.random.default_rng(0).binomial(num, true_share, 2_000)
    bounds = [
        share_upper_bound(int(one), num=num, population=10**9, confidence=0.95) for one in found
    ]
    assert np.mean(np.array(bounds) < true_share) < 0.06
