import numpy as np

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.early_risk import (
    DAY_US,
    TimeSplit,
    choose_cut,
    measure_early_risk,
    split_by_time,
    why_no_split,
)
from embedder.evaluation.reliability import reliability_bins

CONFIG = EvaluationConfig(num_resamples=50, min_positives=5, maturity_days=10)


def split(num_positives: int, num_negatives: int) -> TimeSplit:
    is_positive = np.arange(num_positives + num_negatives) < num_positives
    return TimeSplit(0, np.arange(len(is_positive)), is_positive, 3, 2)


def test_cut_leaves_the_configured_share_of_violators_before_it() -> None:
    known_us = np.arange(100) * DAY_US
    cut_us = choose_cut(known_us, CONFIG)
    assert cut_us is not None
    assert np.mean(known_us < cut_us) == 0.7
    assert choose_cut(np.empty(0, dtype=np.int64), CONFIG) is None


def test_only_labelled_users_first_seen_from_the_cut_on_are_tested() -> None:
    first_us = np.array([0, 5, 10, 11, 12, 38]) * DAY_US
    label = np.array([1, 0, 1, 0, -1, 0])
    found = split_by_time(
        first_us,
        label,
        cut_us=10 * DAY_US,
        end_us=40 * DAY_US,
        config=CONFIG,
        rng=np.random.default_rng(0),
    )
    assert found.test.tolist() == [2, 3, 5]
    assert found.is_positive_test.tolist() == [True, False, False]
    assert found.num_unlabelled == 1
    assert found.num_young_benign == 1  # the last is two days old


def test_a_sample_is_drawn_of_those_with_a_label() -> None:
    """Few have a label among many who are late: none of these is drawn away by the others."""
    label = np.full(5_000, -1)
    label[::100] = np.arange(50) % 2
    late = np.full(5_000, 20 * DAY_US)
    for size_max, tested in ((60, 50), (30, 30)):
        found = split_by_time(
            late,
            label,
            cut_us=10 * DAY_US,
            end_us=40 * DAY_US,
            config=CONFIG.model_copy(update={"max_users": size_max}),
            rng=np.random.default_rng(0),
        )
        assert len(found.test) == tested
        assert (label[found.test] >= 0).all()
        assert found.num_unlabelled == 4_950
    assert why_no_split(found, CONFIG) is None


def test_too_few_of_a_class_is_a_reason_with_its_count() -> None:
    assert why_no_split(split(5, 5), CONFIG) is None
    assert "only 4 violators" in (why_no_split(split(4, 50), CONFIG) or "")
    assert "only 3 benign" in (why_no_split(split(50, 3), CONFIG) or "")


def test_methods_are_measured_on_those_whom_the_main_one_answered() -> None:
    whole = split(20, 30)
    answered = np.arange(50) % 5 != 0
    good = whole.is_positive_test.astype(np.float64)
    good[~answered] = np.nan
    given = {"ours": good, "floor": 1 - whole.is_positive_test.astype(np.float64)}
    result = measure_early_risk(3, whole, given, answered, config=CONFIG)
    assert result.comparison is not None
    assert result.counts["answered"] == 40
    assert result.extra["answered_share"] == 0.8
    assert result.extra["auc_with_unanswered.floor"] == 0.0
    assert "auc_with_unanswered.ours" not in result.extra
    assert result.comparison.metrics["ours"]["auc"].value == 1.0
    assert result.comparison.metrics["floor"]["auc"].value == 0.0
    assert result.counts["young_benign"] == 2
    assert set(result.reliability) == {"ours", "floor"}


def test_nobody_answered_is_not_measurable() -> None:
    nothing = np.full(50, np.nan)
    unanswered = np.zeros(50, dtype=np.bool_)
    result = measure_early_risk(None, split(20, 30), {"ours": nothing}, unanswered, config=CONFIG)
    assert result.comparison is None
    assert "only 0 test users of one class got an answer" in (result.why_not or "")
    assert result.to_dict()["measured"] is False


def test_reliability_bins_hold_all_users() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(500)
    bins = reliability_bins(probability, rng.random(500) < probability)
    assert sum(item.num_users for item in bins) == 500
    assert all(abs(item.probability_mean - item.positive_share) < 0.25 for item in bins)
    assert [item.probability_mean for item in bins] == sorted(
        item.probability_mean for item in bins
    )
