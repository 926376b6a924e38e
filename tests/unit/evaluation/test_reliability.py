import numpy as np
import pytest

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.reliability import (
    THIRDS,
    exact_interval,
    format_duration,
    reliability_bins,
    reliability_by_activity,
    seconds_between_events,
)
from tests.unit.evaluation.sequences import at, make_batch

CONFIG = EvaluationConfig(num_resamples=60, min_positives=5)


def test_bins_hold_all_users_and_all_violators() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(500)
    happened = rng.random(500) < probability
    bins = reliability_bins(probability, happened)
    assert sum(item.num_users for item in bins) == 500
    assert sum(item.num_positives for item in bins) == happened.sum()
    assert all(item.low <= item.positive_share <= item.high for item in bins)
    assert all(
        item.positive_share == pytest.approx(item.num_positives / item.num_users) for item in bins
    )


def test_exact_intervals_are_those_of_the_books() -> None:
    low, high = exact_interval(np.array([0.0, 5.0, 10.0]), np.full(3, 10.0), confidence=0.95)
    assert low == pytest.approx([0.0, 0.1871, 0.6915], abs=1e-4)
    assert high == pytest.approx([0.3085, 0.8129, 1.0], abs=1e-4)


def test_time_between_events_is_their_mean_and_unknown_for_one_event() -> None:
    batch = make_batch({"a": at([0, 1, 4]), "b": at([7]), "c": at([3, 3])})
    assert seconds_between_events(batch) == pytest.approx([7200.0, np.nan, 0.0], nan_ok=True)


def test_busy_and_quiet_users_are_measured_apart() -> None:
    """A method that is right about the busy and too sure of the quiet is shown as such."""
    rng = np.random.default_rng(1)
    seconds = rng.permutation(900).astype(np.float64)
    truth = rng.random(900)
    is_positive = rng.random(900) < truth
    bragging = np.where(seconds >= 600, np.where(truth > 0.5, 0.999, 0.001), truth)
    groups = reliability_by_activity({"ours": bragging}, is_positive, seconds, CONFIG)
    assert tuple(group.name for group in groups) == THIRDS
    assert [group.num_users for group in groups] == [300, 300, 300]
    assert sum(group.num_positives for group in groups) == is_positive.sum()
    errors = []
    for group in groups:
        assert group.comparison is not None
        errors.append(group.comparison.metrics["ours"]["calibration_error"].value)
        assert sum(item.num_users for item in group.bins["ours"]) == 300
    assert errors[2] > 2 * max(errors[:2])


def test_users_of_one_event_are_neither_busy_nor_quiet() -> None:
    seconds = np.append(np.arange(90.0), np.full(10, np.nan))
    is_positive = np.arange(100) % 2 == 0
    groups = reliability_by_activity({"ours": np.full(100, 0.5)}, is_positive, seconds, CONFIG)
    assert sum(group.num_users for group in groups) == 90
    assert reliability_by_activity({}, is_positive, np.full(100, np.nan), CONFIG) == ()


def test_equal_times_make_fewer_kinds_and_too_few_of_a_class_are_said() -> None:
    is_positive = np.arange(60) < 3
    groups = reliability_by_activity({"ours": np.zeros(60)}, is_positive, np.zeros(60), CONFIG)
    assert [group.num_users for group in groups] == [60]
    assert groups[0].comparison is None
    assert "only 3 users of one class" in (groups[0].why_not or "")
    assert groups[0].to_dict()["metrics"] == {}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (90, "2 min"), (5400, "1.5 h"), (1e6, "11.6 d")]
)
def test_times_are_written_in_a_unit_that_fits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
