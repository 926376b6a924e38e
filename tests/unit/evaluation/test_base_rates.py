"""What so many test users can tell of precision and recall at another base rate."""

import json

import numpy as np
import pytest

from embedder.evaluation.base_rates import (
    RECALLS,
    OperatingFigures,
    false_positive_rate_provable,
    measure_operating_figures,
    num_benign_needed,
    precision_at,
)
from embedder.evaluation.bootstrap import compare_classifiers
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.metrics import Flags, Floats

CONFIG = EvaluationConfig(
    num_resamples=200,
    base_rates=(0.01, 0.001),
    precision_targets=(0.5, 0.95),
    false_positive_rates=(0.05, 0.001),
)


def scored(num_positives: int, num_negatives: int, *, seed: int = 0) -> tuple[Floats, Flags]:
    rng = np.random.default_rng(seed)
    is_positive = np.arange(num_positives + num_negatives) < num_positives
    return rng.normal(2.0 * is_positive), is_positive


def measured(num_positives: int, num_negatives: int) -> OperatingFigures:
    score, is_positive = scored(num_positives, num_negatives)
    floor = np.random.default_rng(9).random(len(score))
    return measure_operating_figures({"ours": score, "floor": floor}, is_positive, CONFIG)


def test_the_natural_base_rate_has_the_figures_of_the_comparison() -> None:
    score, is_positive = scored(150, 250)
    figures = measure_operating_figures({"ours": score}, is_positive, CONFIG).base_rates[0]
    table = compare_classifiers({"ours": score}, is_positive, CONFIG).metrics["ours"]
    assert figures.is_natural
    assert figures.base_rate == 150 / 400
    assert figures.benign_weight == pytest.approx(1.0)
    assert figures.average_precision["ours"] == table["average_precision"]
    (demand,) = (one for one in figures.demands if one.value == 0.95)
    assert demand.recall["ours"] == table["recall_at_95_precision"]


def test_rare_violators_cost_precision_and_not_recall() -> None:
    natural, percent, permille = measured(400, 4000).base_rates
    for often, rarely in ((natural, percent), (percent, permille)):
        assert often.average_precision["ours"].value > rarely.average_precision["ours"].value
        for before, after in zip(often.curve["ours"], rarely.curve["ours"], strict=True):
            assert before.precision.value >= after.precision.value
            assert (before.num_found, before.num_false_alarms) == (
                after.num_found,
                after.num_false_alarms,
            )


def test_each_benign_user_stands_for_so_many_that_violators_are_the_base_rate() -> None:
    for rate in measured(300, 600).base_rates:
        benign = rate.num_negatives * rate.benign_weight
        assert rate.num_positives / (rate.num_positives + benign) == pytest.approx(rate.base_rate)


def test_what_so_few_benign_users_cannot_tell_is_not_measurable_and_says_how_many_could() -> None:
    permille = measured(400, 4000).base_rates[2]
    (demand,) = (one for one in permille.demands if one.value == 0.95)
    assert demand.false_positive_rate_max == pytest.approx(0.001 / 0.999 * 0.05 / 0.95)
    assert demand.num_benign_needed == pytest.approx(56_860, rel=1e-3)
    assert demand.recall == {}
    assert "there are 4,000" in (demand.why_not or "")
    assert f"{demand.num_benign_needed:,}" in (demand.why_not or "")


def test_a_recall_that_so_few_benign_users_cannot_tell_from_none_has_a_bound() -> None:
    """Half of the violators are above all 6,000 benign users: that proves less than half."""
    is_positive = np.arange(6_200) < 200
    score = np.where(np.arange(6_200) < 100, 2.0, 1.0)
    percent = measure_operating_figures({"ours": score}, is_positive, CONFIG).base_rates[1]
    (demand,) = (one for one in percent.demands if one.value == 0.95)
    assert demand.why_not is None
    assert demand.recall["ours"].value == 0.5
    assert 0.5 < demand.recall_min < 1.0
    assert demand.num_found["ours"] == 100
    assert demand.num_false_alarms["ours"] == 0


def test_without_a_false_alarm_the_interval_still_knows_of_benign_users_nobody_has_seen() -> None:
    """Resampling alone would say: all over the threshold are violators, for certain."""
    is_positive = np.arange(1_100) < 100
    score = is_positive.astype(np.float64)
    natural, percent, _ = measure_operating_figures({"ours": score}, is_positive, CONFIG).base_rates
    certain, doubted = natural.curve["ours"][-1].precision, percent.curve["ours"][-1].precision
    assert (certain.low, certain.value, certain.high) == (1.0, 1.0, 1.0)
    assert doubted.value == 1.0
    exact = precision_at(0.01, np.ones(1), np.array([1 - 0.025 ** (1 / 1_000)]))[0]
    assert doubted.low == pytest.approx(exact, abs=0.06)
    assert percent.provable[-1] == pytest.approx(
        precision_at(0.01, np.ones(1), np.array([1 - 0.05 ** (1 / 1_000)]))[0]
    )


def test_enough_benign_users_are_those_whose_bound_is_low_enough() -> None:
    for rate in (0.3, 0.05, 0.001, 5e-5):
        needed = num_benign_needed(rate, confidence=0.95)
        assert false_positive_rate_provable(needed, confidence=0.95) <= rate
        if needed > 1:
            assert false_positive_rate_provable(needed - 1, confidence=0.95) > rate


def test_false_positive_rates_count_who_is_let_through() -> None:
    often, rarely = measured(400, 2_000).false_positive_rates
    assert often.why_not is None
    assert often.num_false_alarms["ours"] <= 0.05 * 2_000
    assert often.recall["ours"].value == often.num_found["ours"] / 400
    assert often.differences["floor"].value > 0.3
    assert "takes 2,995 benign test users" in (rarely.why_not or "")


def test_figures_have_a_json_form_with_counts_beside_them() -> None:
    document = json.loads(json.dumps(measured(100, 400).to_dict(), allow_nan=False))
    point = document["base_rates"][1]["curve"]["ours"][len(RECALLS) - 1]
    assert point["recall"] == 1.0
    assert point["num_found"] == 100
    assert set(document["base_rates"][0]["demands"][0]["recall"]["ours"]) == {
        "value",
        "low",
        "high",
    }
