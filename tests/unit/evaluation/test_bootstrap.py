import numpy as np
import pytest

from embedder.evaluation.bootstrap import (
    Comparison,
    Estimate,
    compare_classifiers,
    compare_rankings,
    draw_group_weights,
    draw_weights,
)
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.metrics import Floats, Int64s
from embedder.evaluation.ranking import Ranking

CONFIG = EvaluationConfig(num_resamples=200, seed=3)


def ranking(rank_Q: Floats) -> Ranking:
    better_Q = rank_Q.astype(np.int64) - 1
    nothing_Q = np.zeros_like(better_Q)
    return Ranking(better_Q, nothing_Q, nothing_Q + 1, (rank_Q == 1).astype(np.float64))


def compared(
    rankings: dict[str, Ranking], config: EvaluationConfig, group_Q: Int64s | None = None
) -> Comparison:
    """Compare rankings whose queries are each a group of its own, if nothing else is said."""
    num_queries = len(next(iter(rankings.values())).rank_Q)
    return compare_rankings(
        rankings, np.arange(num_queries) if group_Q is None else group_Q, config
    )


def width(estimate: Estimate) -> float:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.high - estimate.low


def test_every_resample_has_as_many_users_as_there_are() -> None:
    weight_RN = draw_weights(50, 7, np.random.default_rng(0))
    assert weight_RN.shape == (7, 50)
    assert (weight_RN.sum(axis=1) == 50).all()


def test_interval_of_a_share_is_about_the_binomial_one() -> None:
    rank_Q = np.where(np.arange(400) % 4 == 0, 1.0, 2.0)
    estimate = compared({"ours": ranking(rank_Q)}, CONFIG).metrics["ours"]["hit_at_1"]
    assert estimate.value == 0.25
    spread = 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert estimate.low == pytest.approx(0.25 - spread, abs=0.012)
    assert estimate.high == pytest.approx(0.25 + spread, abs=0.012)


def test_members_of_a_group_are_drawn_together_as_often_as_the_group() -> None:
    group_N = np.array([7, 3, 7, 5, 3, 7])
    weight_RN = draw_group_weights(group_N, 40, np.random.default_rng(0))
    assert weight_RN.shape == (40, 6)
    assert (weight_RN[:, 0] == weight_RN[:, 2]).all()
    assert (weight_RN[:, 0] == weight_RN[:, 5]).all()
    assert (weight_RN[:, 1] == weight_RN[:, 4]).all()
    assert (weight_RN[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(weight_RN[:, 0])) > 1


def test_groups_of_one_are_drawn_as_users_are() -> None:
    alone = draw_group_weights(np.arange(50) * 3, 7, np.random.default_rng(0))
    assert np.array_equal(alone, draw_weights(50, 7, np.random.default_rng(0)))


@pytest.mark.parametrize("size", [2, 9])
def test_members_who_fare_alike_widen_an_interval_by_the_root_of_their_number(size: int) -> None:
    config = CONFIG.model_copy(update={"num_resamples": 1000})
    group_Q = np.repeat(np.arange(200), size)
    ranks = {"ours": ranking(np.where(group_Q % 3 == 0, 1.0, 2.0))}
    together, apart = (
        compared(ranks, config, groups).metrics["ours"]["hit_at_1"] for groups in (group_Q, None)
    )
    assert together.value == apart.value
    assert width(together) == pytest.approx(width(apart) * np.sqrt(size), rel=0.1)


def test_intervals_hold_the_truth_as_often_as_they_say_though_members_fare_alike() -> None:
    """Groups of one to five: a group is found with chance .3, and all of its members with it."""
    rng = np.random.default_rng(1)
    held = {"groups": 0, "queries": 0}
    for _ in range(100):
        group_Q = np.repeat(np.arange(80), rng.integers(1, 6, 80))
        found_Q = (rng.random(80) < 0.3)[group_Q]
        ranks = {"ours": ranking(np.where(found_Q, 1.0, 2.0))}
        for name, groups in (("groups", group_Q), ("queries", None)):
            estimate = compared(ranks, CONFIG, groups).metrics["ours"]["hit_at_1"]
            assert estimate.low is not None
            assert estimate.high is not None
            held[name] += estimate.low <= 0.3 <= estimate.high
    assert 0.9 <= held["groups"] / 100 <= 0.985
    assert held["queries"] / 100 < 0.8


def test_equal_seeds_give_equal_intervals_and_others_do_not() -> None:
    ranks = {"ours": ranking(np.random.default_rng(0).integers(1, 20, 100).astype(np.float64))}
    other = CONFIG.model_copy(update={"seed": 4})
    assert compared(ranks, CONFIG) == compared(ranks, CONFIG)
    assert compared(ranks, CONFIG) != compared(ranks, other)


def test_paired_difference_of_a_method_with_itself_is_exactly_zero() -> None:
    ranks = ranking(np.random.default_rng(0).integers(1, 20, 100).astype(np.float64))
    comparison = compared({"ours": ranks, "floor": ranks}, CONFIG)
    difference = comparison.differences["floor"]["mrr"]
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_pairing_narrows_the_interval_of_a_constant_lead() -> None:
    """Each alone varies with the users drawn; the lead of one over the other does not."""
    rng = np.random.default_rng(0)
    worse = rng.integers(2, 50, 100).astype(np.float64)
    comparison = compared({"ours": ranking(worse - 1), "floor": ranking(worse)}, CONFIG)
    own, lead = comparison.metrics["ours"]["mrr"], comparison.differences["floor"]["mrr"]
    assert width(lead) < width(own)
    assert lead.low is not None
    assert lead.low > 0


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
