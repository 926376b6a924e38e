import numpy as np
import pytest

from embedder.evaluation.bootstrap import (
    compare_classifiers,
    compare_rankings,
    draw_weights,
)
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.metrics import Floats
from embedder.evaluation.ranking import Ranking

CONFIG = EvaluationConfig(num_resamples=200, seed=3)


def ranking(rank_Q: Floats) -> Ranking:
    better_Q = rank_Q.astype(np.int64) - 1
    nothing_Q = np.zeros_like(better_Q)
    return Ranking(better_Q, nothing_Q, nothing_Q + 1, (rank_Q == 1).astype(np.float64))


def test_every_resample_has_as_many_users_as_there_are() -> None:
    weight_RN = draw_weights(50, 7, np.random.default_rng(0))
    assert weight_RN.shape == (7, 50)
    assert (weight_RN.sum(axis=1) == 50).all()


def test_interval_of_a_share_is_about_the_binomial_one() -> None:
    rank_Q = np.where(np.arange(400) % 4 == 0, 1.0, 2.0)
    estimate = compare_rankings({"ours": ranking(rank_Q)}, CONFIG).metrics["ours"]["hit_at_1"]
    assert estimate.value == 0.25
    spread = 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert estimate.low == pytest.approx(0.25 - spread, abs=0.012)
    assert estimate.high == pytest.approx(0.25 + spread, abs=0.012)


def test_equal_seeds_give_equal_intervals_and_others_do_not() -> None:
    ranks = {"ours": ranking(np.random.default_rng(0).integers(1, 20, 100).astype(np.float64))}
    other = CONFIG.model_copy(update={"seed": 4})
    assert compare_rankings(ranks, CONFIG) == compare_rankings(ranks, CONFIG)
    assert compare_rankings(ranks, CONFIG) != compare_rankings(ranks, other)


def test_paired_difference_of_a_method_with_itself_is_exactly_zero() -> None:
    ranks = ranking(np.random.default_rng(0).integers(1, 20, 100).astype(np.float64))
    comparison = compare_rankings({"ours": ranks, "floor": ranks}, CONFIG)
    difference = comparison.differences["floor"]["mrr"]
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_pairing_narrows_the_interval_of_a_constant_lead() -> None:
    """Each alone varies with the users drawn; the lead of one over the other does not."""
    rng = np.random.default_rng(0)
    worse = rng.integers(2, 50, 100).astype(np.float64)
    comparison = compare_rankings({"ours": ranking(worse - 1), "floor": ranking(worse)}, CONFIG)
    own, lead = comparison.metrics["ours"]["mrr"], comparison.differences["floor"]["mrr"]
    assert own.low is not None
    assert own.high is not None
    assert lead.low is not None
    assert lead.high is not None
    assert lead.low > 0
    assert lead.high - lead.low < own.high - own.low


def test_better_probabilities_win_in_every_metric() -> None:
    rng = np.random.default_rng(2)
    is_positive_N = rng.random(1000) < 0.4
    good_N = np.where(is_positive_N, 0.9, 0.1)
    poor_N = rng.random(1000)
    comparison = compare_classifiers({"ours": good_N, "floor": poor_N}, is_positive_N, CONFIG)
    lead = comparison.differences["floor"]
    assert min(lead[name].low or 0 for name in ("auc", "average_precision")) > 0.3
    assert (lead["brier"].high or 0) < 0
    assert (lead["calibration_error"].high or 0) < 0


def test_an_interval_of_what_is_undefined_is_none() -> None:
    is_positive_N = np.zeros(3, dtype=np.bool_)
    estimate = compare_classifiers({"ours": np.zeros(3)}, is_positive_N, CONFIG).metrics["ours"]
    assert estimate["auc"].low is None
    assert estimate["brier"].low == 0.0
