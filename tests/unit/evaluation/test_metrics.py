"""scikit-learn is the oracle; resamples are checked against users repeated by hand."""

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_recall_curve,
    roc_auc_score,
)

from embedder.evaluation.bootstrap import draw_weights
from embedder.evaluation.metrics import (
    Flags,
    Floats,
    area_under_roc,
    average_precision,
    brier,
    calibration_error,
    equal_mass_bins,
    make_ladder,
    recall_at_precision,
    weighted_mean,
)

ONES = np.ones((1, 400))


@pytest.fixture(params=["distinct", "tied"])
def scored(request: pytest.FixtureRequest) -> tuple[Floats, Flags]:
    rng = np.random.default_rng(4)
    is_positive_N = rng.random(400) < 0.3
    score_N = 1 / (1 + np.exp(-rng.normal(is_positive_N * 1.2, 1.0)))
    return (score_N if request.param == "distinct" else np.round(score_N, 1)), is_positive_N


def test_auc_and_average_precision_are_those_of_scikit_learn(scored: tuple[Floats, Flags]) -> None:
    score_N, is_positive_N = scored
    ladder = make_ladder(score_N, is_positive_N, ONES)
    assert area_under_roc(ladder)[0] == pytest.approx(roc_auc_score(is_positive_N, score_N))
    expected = average_precision_score(is_positive_N, score_N)
    assert average_precision(ladder)[0] == pytest.approx(expected)


def test_recall_at_precision_is_the_best_on_the_curve(scored: tuple[Floats, Flags]) -> None:
    score_N, is_positive_N = scored
    precision, recall, _ = precision_recall_curve(is_positive_N, score_N)
    for least in (0.5, 0.7, 0.95):
        found = recall_at_precision(make_ladder(score_N, is_positive_N, ONES), precision_min=least)
        assert found[0] == pytest.approx(recall[precision >= least].max())


def test_brier_is_that_of_scikit_learn(scored: tuple[Floats, Flags]) -> None:
    score_N, is_positive_N = scored
    expected = brier_score_loss(is_positive_N, score_N)
    assert brier(score_N, is_positive_N, ONES)[0] == pytest.approx(expected)


def test_weights_are_repeated_users(scored: tuple[Floats, Flags]) -> None:
    score_N, is_positive_N = scored
    weight_RN = draw_weights(400, 3, np.random.default_rng(0))
    ladder = make_ladder(score_N, is_positive_N, weight_RN)
    for row, weight_N in enumerate(weight_RN.astype(np.int64)):
        score, is_positive = np.repeat(score_N, weight_N), np.repeat(is_positive_N, weight_N)
        assert area_under_roc(ladder)[row] == pytest.approx(roc_auc_score(is_positive, score))
        expected = average_precision_score(is_positive, score)
        assert average_precision(ladder)[row] == pytest.approx(expected)


def test_a_resample_without_positives_is_undefined() -> None:
    ladder = make_ladder(np.array([0.2, 0.8]), np.array([False, True]), np.array([[2.0, 0.0]]))
    assert np.isnan(area_under_roc(ladder)[0])
    assert np.isnan(average_precision(ladder)[0])


def test_calibration_error_is_small_for_true_probabilities_and_large_for_bragging() -> None:
    rng = np.random.default_rng(1)
    probability_N = rng.random(20_000)
    is_positive_N = rng.random(20_000) < probability_N
    ones = np.ones((1, 20_000))
    assert calibration_error(probability_N, is_positive_N, ones)[0] < 0.02
    bragging_N = np.where(probability_N > 0.5, 0.99, 0.01)
    assert calibration_error(bragging_N, is_positive_N, ones)[0] == pytest.approx(0.24, abs=0.02)


def test_calibration_error_of_one_bin_is_the_difference_of_the_means() -> None:
    probability_N = np.full(10, 0.3)
    is_positive_N = np.arange(10) < 5
    assert calibration_error(probability_N, is_positive_N, np.ones((1, 10)))[0] == pytest.approx(
        0.2
    )


def test_bins_have_equal_mass_and_equal_probabilities_share_one() -> None:
    assert np.bincount(equal_mass_bins(np.linspace(0, 1, 100), 10)).tolist() == [10] * 10
    assert np.bincount(equal_mass_bins(np.repeat([0.1, 0.9], [95, 5]), 10)).tolist() == [95, 5]


def test_mean_counts_users_as_often_as_they_were_drawn() -> None:
    weight_RN = np.array([[1.0, 1.0], [3.0, 1.0], [0.0, 0.0]])
    mean_R = weighted_mean(np.array([0.0, 1.0]), weight_RN)
    assert mean_R[:2].tolist() == [0.5, 0.25]
    assert np.isnan(mean_R[2])
