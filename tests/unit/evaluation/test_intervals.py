"""The metrics and the bootstrap are the oracle of the closed forms."""

import numpy as np
import pytest

from embedder.evaluation.bootstrap import compare_classifiers
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.intervals import estimate_area, estimate_share, standard_shares
from embedder.evaluation.metrics import area_under_roc, make_ladder


@pytest.mark.parametrize("decimals", [1, 3])
def test_area_is_that_of_the_ladder_whatever_the_ties(decimals: int) -> None:
    rng = np.random.default_rng(0)
    is_positive = rng.random(300) < 0.3
    score = np.round(rng.normal(is_positive * 0.7, 1.0), decimals)
    expected = area_under_roc(make_ladder(score, is_positive, np.ones((1, 300))))[0]
    assert estimate_area(score, is_positive, confidence=0.95).value == pytest.approx(expected)


def test_interval_of_an_area_is_about_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(1)
    is_positive = rng.random(500) < 0.4
    score = rng.normal(is_positive * 1.0, 1.0)
    config = EvaluationConfig(num_resamples=1000)
    chance = 1 / (1 + np.exp(-score))
    bootstrap = compare_classifiers({"it": chance}, is_positive, config).metrics["it"]["auc"]
    found = estimate_area(score, is_positive, confidence=0.95)
    assert found.low == pytest.approx(bootstrap.low, abs=0.006)
    assert found.high == pytest.approx(bootstrap.high, abs=0.006)


def test_area_of_one_class_alone_has_no_interval() -> None:
    assert estimate_area(np.arange(3.0), np.ones(3, dtype=bool), confidence=0.95).low is None


def test_share_of_none_is_not_surely_none() -> None:
    """Wilson's interval of 0 of 10 is [0, .278]."""
    found = estimate_share(np.zeros(10), np.ones(10), confidence=0.95)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(0.278, abs=0.001)


def test_events_of_one_user_are_no_independent_witnesses() -> None:
    """Half of all events are after the violation; those of 10 users, or of 1,000."""
    few = estimate_share(np.repeat([100.0, 0.0], 5), np.full(10, 100.0), confidence=0.95)
    many = estimate_share(np.repeat([1.0, 0.0], 500), np.ones(1000), confidence=0.95)
    assert few.value == many.value == 0.5
    assert (few.low or 0) < 0.25
    assert many.low == pytest.approx(0.469, abs=0.001)


def test_strata_weigh_as_told() -> None:
    """One in ten of the young have the sign, nine in ten of the old."""
    num_users_S, num_with_SV = np.array([1000.0, 100.0]), np.array([[100.0], [90.0]])
    alike = standard_shares(num_with_SV, num_users_S, np.array([1.0, 1.0]), confidence=0.95)
    young = standard_shares(num_with_SV, num_users_S, np.array([1.0, 0.0]), confidence=0.95)
    assert alike.value_V[0] == pytest.approx(0.5)
    assert young.value_V[0] == pytest.approx(0.1)
    assert alike.low_V[0] < 0.5 < alike.high_V[0]
    assert young.at(0).low == pytest.approx(0.083, abs=0.001)
