"""Looks right after an event, and what a silence since tells."""

import json

import numpy as np
import pytest

from index.risk.calibration import Calibrator
from index.risk.flight import Flight, Silence, mix
from index.risk.flight_fitting import ENDLESS, STOPPED, fit_silence
from index.risk.neighbors import FEATURES
from index.risk.stack import Scales, Stack
from tests.unit.risk.reference_users import random_unit

MINUTE, DAY = 60_000_000, 86_400_000_000
SILENCE = Silence((2, 10), (0.5, 0.1), (MINUTE, 2 * MINUTE, 3 * MINUTE, DAY))
COEFFICIENTS = np.array([0.8, 0.4])
FLIGHT = Flight(
    Stack(np.zeros(len(FEATURES)), np.ones(len(FEATURES)), Scales(1.0), COEFFICIENTS, -0.3),
    Calibrator("platt", (-2.0, 2.0), (-1.5, 1.5), 0.75),
    SILENCE,
)
RNG = np.random.default_rng(4)
QUERY, FEATURES_QF = random_unit(RNG, 30, 8), RNG.normal(size=(30, len(FEATURES)))
AGES, STOPPED_LOG_ODDS = RNG.integers(2, 40, 30), RNG.normal(size=30) * 3


def log_odds(silence_us: int) -> np.ndarray:
    silent = np.full(30, silence_us)
    return FLIGHT.log_odds(FEATURES_QF, QUERY, AGES, silent, STOPPED_LOG_ODDS)


def test_right_after_an_event_a_user_is_in_flight_and_after_long_silence_has_stopped() -> None:
    flying = FLIGHT.calibrator.to_log_odds(FLIGHT.stack.score(FEATURES_QF, QUERY))
    assert log_odds(0) == pytest.approx(flying)
    assert log_odds(-DAY) == pytest.approx(flying)
    assert log_odds(DAY + 1) == pytest.approx(STOPPED_LOG_ODDS)


def test_the_longer_the_silence_the_nearer_to_who_stopped() -> None:
    distance = [
        np.abs(log_odds(time) - STOPPED_LOG_ODDS)
        for time in (0, MINUTE, MINUTE + 1, 2 * MINUTE + 1, 5 * MINUTE, DAY + 1)
    ]
    for nearer, farther in zip(distance[1:], distance[:-1], strict=True):
        assert (nearer <= farther + 1e-9).all()


def test_a_silence_mixes_the_two_as_counting_users_does() -> None:
    """Simulated: stoppers and goers of known rates; among the silent, rates are as told."""
    rng = np.random.default_rng(0)
    stops = rng.random(400_000) < 0.3
    violator = rng.random(len(stops)) < np.where(stops, 0.8, 0.2)
    gap_us = np.where(stops, STOPPED, rng.exponential(10 * MINUTE, len(stops)).astype(np.int64))
    silence = fit_silence(np.full(len(stops), 3), gap_us, np.full(len(stops), ENDLESS))
    for time in (0, 5 * MINUTE, 20 * MINUTE, 60 * MINUTE):
        silent = stops | (gap_us >= time)
        share = silence.stopped(np.array([3]), np.array([time]))
        mixed = mix(odds(violator.mean()), odds(violator[stops].mean()), share)
        assert 1 / (1 + np.exp(-mixed[0])) == pytest.approx(violator[silent].mean(), abs=0.01)


def test_who_is_active_when_the_data_end_has_not_stopped() -> None:
    """Watched for half an hour on average, of whom three tenths stop, at gaps of ten minutes."""
    rng = np.random.default_rng(1)
    stops = rng.random(200_000) < 0.3
    gap_us = rng.exponential(10 * MINUTE, len(stops)).astype(np.int64)
    watched_us = rng.integers(0, 60 * MINUTE, len(stops))
    is_seen = ~stops & (gap_us <= watched_us)
    age = rng.choice([2, 5], len(stops))
    told = fit_silence(age, np.where(is_seen, gap_us, STOPPED), watched_us)
    assert (~is_seen).mean() > 0.4
    assert told.age_A == (2, 5)
    assert told.stopped_A == pytest.approx((0.3, 0.3), abs=0.01)
    median_us = np.quantile(gap_us[gap_us < 60 * MINUTE], 0.5)
    assert np.quantile(told.gap_us_G, 0.5) == pytest.approx(median_us, rel=0.03)


def test_an_age_seen_only_at_the_end_stops_as_all_do() -> None:
    told = fit_silence(
        np.array([2, 2, 2, 3]),
        np.array([MINUTE, MINUTE, STOPPED, STOPPED]),
        np.array([DAY, DAY, ENDLESS, 0]),
    )
    assert told.stopped_A == pytest.approx((1 / 3, 1 / 3))


def odds(rate: float) -> np.ndarray:
    return np.array([np.log(rate / (1 - rate))])


def test_a_clock_that_tells_nothing_leaves_a_user_in_flight_until_time_passes() -> None:
    watched = np.full(4, ENDLESS)
    silence = fit_silence(np.array([2, 2, 3, 3]), np.array([0, STOPPED, 0, 0]), watched)
    assert silence.stopped(np.array([2, 3]), np.array([0, 0])).tolist() == [0.0, 0.0]
    assert silence.stopped(np.array([2, 3]), np.array([1, 1])).tolist() == [1.0, 1.0]
    nobody_went_on = fit_silence(np.array([2, 2]), np.array([STOPPED, STOPPED]), watched[:2])
    assert nobody_went_on.stopped(np.array([2]), np.array([DAY])).tolist() == [1.0]


def test_no_rounding_makes_a_share_more_than_all() -> None:
    shares = tuple(np.linspace(0.01, 0.99, 99).tolist())
    silence = Silence(tuple(range(2, 101)), shares, (0, MINUTE))
    stopped = silence.stopped(np.arange(2, 101), np.full(99, DAY))
    assert (stopped == 1.0).all()


def test_mixtures_do_not_saturate() -> None:
    mixed = mix(np.array([60.0, -60.0]), np.array([70.0, -70.0]), np.array([0.5, 0.5]))
    assert (np.abs(mixed) > 60).all()
    assert np.isfinite(mixed).all()


def test_a_flight_read_back_says_the_same() -> None:
    read = Flight.from_dict(json.loads(json.dumps(FLIGHT.to_dict())))
    assert read.silence == SILENCE
    silent = np.full(30, 2 * MINUTE)
    again = read.log_odds(FEATURES_QF, QUERY, AGES, silent, STOPPED_LOG_ODDS)
    assert (again == log_odds(2 * MINUTE)).all()
