"""Early detection, counted by hand on few users."""

import json
from dataclasses import replace

import numpy as np
import pytest

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.detection import (
    HOUR_US,
    LIKELY,
    NEVER,
    UNKNOWN_END,
    Looks,
    choose_threshold,
    first_look,
    look_ages,
    measure_detection,
)
from embedder.evaluation.metrics import Floats, Int64s

CONFIG = EvaluationConfig(num_resamples=60, false_positive_rates=(0.05, 0.0001))


def looks_of(probability_NA: Floats, age_A: Int64s, num_events_N: Int64s) -> Looks:
    """Return looks an hour apart for every event; `likely` is from .9 on."""
    seen_NA = np.minimum(age_A, num_events_N[:, None])
    before_A = np.append(0, age_A[:-1])
    probability_NA = np.where(num_events_N[:, None] > before_A, probability_NA, np.nan)
    return Looks(
        age_A,
        num_events_N,
        probability_NA,
        np.nan_to_num(probability_NA) >= 0.9,
        (seen_NA * HOUR_US).astype(np.int64),
    )


def test_looks_are_after_every_event_at_first_and_then_ever_rarer() -> None:
    assert look_ages(1).tolist() == [1]
    assert look_ages(7).tolist() == list(range(1, 8))
    ages = look_ages(2000)
    assert ages[:20].tolist() == list(range(1, 21))
    assert ages[-1] == 2000
    assert len(ages) == 40
    assert (ages[20:] / ages[19:-1]).max() < 1.3
    assert ages.sum() < 6 * 2000, "the cost of all looks is linear in the events"


def test_the_first_look_over_the_threshold_counts() -> None:
    over = np.array([[False, True, False], [False, False, False], [True, True, True]])
    assert first_look(over).tolist() == [1, NEVER, 0]


def test_at_most_the_share_exceeds_the_chosen_threshold() -> None:
    highest = np.random.default_rng(0).random(200)
    assert (highest > choose_threshold(highest, 0.05)).sum() == 10
    assert (highest > choose_threshold(np.round(highest, 1), 0.05)).mean() <= 0.12
    assert (np.full(10, -np.inf) > choose_threshold(np.full(10, -np.inf), 0.3)).sum() == 0


@pytest.fixture
def looks() -> Looks:
    """Violators cross at the second event, at the last, never; one of the benign once."""
    age_A = np.array([1, 2, 3, 4])
    rows = [[0, 0.95, 0.1, 0.2], [0.2, 0.3, 0.4, 0.99], [0.1, 0.1, 0.1, 0.1], [0.5, 0.99, 0, 0]]
    rows += [[0.1, 0.2, 0.3, 0.2]] * 3
    return looks_of(np.array(rows), age_A, np.array([4, 4, 2, 3, 4, 4, 1]))


def test_detected_false_alarms_and_lead_are_counted_by_users(looks: Looks) -> None:
    is_positive = np.arange(7) < 3
    ended = np.full(7, UNKNOWN_END)
    ended[0] = 10 * HOUR_US
    (likely, *others) = measure_detection(
        looks, is_positive, ended, CONFIG, np.random.default_rng(0)
    ).thresholds
    assert likely.name == LIKELY
    assert (likely.num_detected, likely.num_positives) == (2, 3)
    assert (likely.num_alarmed, likely.num_benign) == (1, 4)
    assert [step.num_detected for step in likely.curve] == [0, 1, 1, 2]
    assert [step.num_alarmed for step in likely.curve] == [0, 1, 1, 1]
    assert [step.num_positives_alive for step in likely.curve] == [3, 3, 2, 2]
    assert [step.num_positives_over for step in likely.curve] == [0, 1, 0, 1]
    assert [step.num_benign_over for step in likely.curve] == [0, 1, 0, 0]
    assert [step.num_benign_alive for step in likely.curve] == [4, 3, 3, 2]
    assert likely.curve[-1].detected.value == pytest.approx(2 / 3)
    assert [item.value for item in likely.lead_events] == [0.0, 0.0, 2.0]
    assert [item.value for item in likely.lead_hours] == [8.0, 8.0, 8.0]
    assert likely.num_lead_hours == 1
    assert likely.precision is not None
    assert likely.precision["0.01"].value == pytest.approx(
        0.01 * (2 / 3) / (0.01 * (2 / 3) + 0.99 * 0.25)
    )
    assert all("choosing it takes" in (other.why_not or "") for other in others)


def test_a_threshold_is_chosen_on_some_benign_users_and_counted_on_others() -> None:
    rng = np.random.default_rng(3)
    is_positive = np.arange(1_000) < 200
    probability = rng.random((1_000, 5)) * np.where(is_positive, 1.2, 1.0)[:, None]
    looks = looks_of(probability, np.arange(1, 6), np.full(1_000, 5))
    found = measure_detection(looks, is_positive, np.full(1_000, UNKNOWN_END), CONFIG, rng)
    _, five_percent, rare = found.thresholds
    assert five_percent.num_benign == 400
    assert 0.01 < five_percent.num_alarmed / five_percent.num_benign < 0.1
    assert five_percent.num_detected > 0.5 * five_percent.num_positives
    assert "choosing it takes 29,956 benign users" in (rare.why_not or "")


def test_nobody_detected_has_no_lead_and_a_json_form(looks: Looks) -> None:
    never = replace(looks, is_likely_NA=np.zeros_like(looks.is_likely_NA))
    found = measure_detection(
        never, np.arange(7) < 3, np.full(7, UNKNOWN_END), CONFIG, np.random.default_rng(0)
    )
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))["early_detection"][0]
    assert document["num_detected"] == 0
    assert document["lead_events"]["median"]["value"] is None
    assert document["curve"][-1]["detected"]["value"] == 0.0


def test_no_threshold_is_chosen_where_too_few_ever_got_an_answer() -> None:
    """Otherwise anybody answered would be over it, and it would have no JSON form."""
    answered = np.zeros(2000, dtype=bool)
    answered[::50] = True
    probability_NA = np.where(answered, 0.3, np.nan)[:, None]
    looks = looks_of(probability_NA, np.array([1]), np.ones(2000, dtype=np.int64))
    is_positive = np.arange(2000) < 200
    config = EvaluationConfig(num_resamples=60, false_positive_rates=(0.05,))
    ended_us = np.full(2000, UNKNOWN_END)
    detection = measure_detection(looks, is_positive, ended_us, config, np.random.default_rng(0))
    (_, chosen) = detection.thresholds
    assert chosen.probability is None
    assert chosen.why_not == "not even 5 % of benign users ever got an answer"
    json.dumps(detection.to_dict(), allow_nan=False)
