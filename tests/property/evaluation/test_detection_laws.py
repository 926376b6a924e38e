import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.detection import UNKNOWN_END, Looks, look_ages, measure_detection
from embedder.evaluation.metrics import weighted_quantile
from embedder.evaluation.reliability import reliability_bins

SEEDS = st.integers(0, 2**32 - 1)
CONFIG = EvaluationConfig(num_resamples=50, false_positive_rates=(0.05,))


@given(SEEDS, st.integers(70, 200), st.integers(1, 60), st.floats(0.05, 0.95))
def test_the_detected_never_grow_fewer(
    seed: int, num_users: int, num_events_max: int, likely: float
) -> None:
    rng = np.random.default_rng(seed)
    num_events = rng.integers(1, num_events_max + 1, num_users)
    age = look_ages(int(num_events.max()))
    there = num_events[:, None] > np.append(0, age[:-1])
    probability = np.where(there, rng.random((num_users, len(age))), np.nan)
    looks = Looks(
        age, num_events, probability, np.nan_to_num(probability) > likely, np.zeros_like(there, int)
    )
    is_positive = np.arange(num_users) < 5
    ended = np.full(num_users, UNKNOWN_END)
    for threshold in measure_detection(looks, is_positive, ended, CONFIG, rng).thresholds:
        if threshold.why_not is not None:
            continue
        detected = [step.num_detected for step in threshold.curve]
        alarmed = [step.num_alarmed for step in threshold.curve]
        assert detected == sorted(detected)
        assert alarmed == sorted(alarmed)
        assert detected[-1] == threshold.num_detected
        assert alarmed[-1] == threshold.num_alarmed
        values = [step.detected.value for step in threshold.curve]
        assert values == sorted(values)


@given(st.integers(1, 100_000))
def test_looks_start_at_the_first_event_and_end_at_the_last(num_events: int) -> None:
    ages = look_ages(num_events)
    assert (ages[0], ages[-1]) == (1, num_events)
    assert (np.diff(ages) > 0).all()
    assert ages.sum() <= 11 * num_events + 10


@given(SEEDS, st.integers(1, 40), st.floats(0.01, 0.99))
def test_a_weighted_quantile_is_that_of_repeated_values(
    seed: int, count: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    value = rng.integers(0, 10, count).astype(np.float64)
    weight = rng.integers(0, 4, count)
    weight[0] += 1
    found = weighted_quantile(value, weight[None].astype(np.float64), share=share)[0]
    repeated = np.repeat(value, weight)
    assert found == np.quantile(repeated, share, method="inverted_cdf")


@given(SEEDS, st.integers(1, 300), st.integers(1, 12))
def test_reliability_bins_sum_to_the_users(seed: int, count: int, num_bins: int) -> None:
    rng = np.random.default_rng(seed)
    probability = np.round(rng.random(count), 2)
    happened = rng.random(count) < probability
    bins = reliability_bins(probability, happened, num_bins=num_bins)
    assert sum(item.num_users for item in bins) == count
    assert sum(item.num_positives for item in bins) == happened.sum()
    assert len(bins) <= num_bins
    assert all(0 <= item.low <= item.positive_share <= item.high <= 1 for item in bins)
