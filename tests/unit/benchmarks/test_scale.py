from typing import Any

import numpy as np
import pytest

from benchmarks.encoder.card_figures import cost_lines
from benchmarks.encoder.scale import ScaleConfig, fit_slope, slopes, summary
from benchmarks.encoder.scale_render import embed_speeds, scale_lines

EVENTS = (10_000, 100_000, 1_000_000, 3_000_000, 10_000_000)


def test_a_cost_in_proportion_has_slope_one_and_no_error() -> None:
    fitted = fit_slope([(events, events / 150_000) for events in EVENTS])
    assert fitted["slope"] == pytest.approx(1)
    assert fitted["standard_error"] == pytest.approx(0, abs=1e-6)


def test_the_standard_error_is_the_spread_of_the_slope_over_noise() -> None:
    """The oracle is the slope's spread over repeated draws of the noise."""
    rng = np.random.default_rng(0)
    fitted = [
        fit_slope([(events, events * float(np.exp(rng.normal(0, 0.1)))) for events in EVENTS])
        for _ in range(2_000)
    ]
    spread = float(np.std([one["slope"] for one in fitted]))
    told = float(np.sqrt(np.mean([one["standard_error"] ** 2 for one in fitted])))
    assert told == pytest.approx(spread, rel=0.05)


def test_two_sizes_have_a_slope_without_error_and_one_has_none() -> None:
    assert fit_slope([(10, 1.0), (100, 10.0)])["standard_error"] is None
    assert fit_slope([(10, 1.0)]) == {"slope": None, "standard_error": None, "num_sizes": 1}


def test_repetitions_give_the_median_time_and_the_highest_peak() -> None:
    rows = [
        {"seconds": seconds, "peak_mb": peak, "num_events": 5}
        for seconds, peak in ((3.0, 10.0), (1.0, 30.0), (2.0, 20.0))
    ]
    assert summary(rows) == {
        "seconds": 2.0,
        "peak_mb": 30.0,
        "num_events": 5,
        "all_seconds": [3.0, 1.0, 2.0],
    }


def point(events: int, *, rate: float = 200_000) -> dict[str, Any]:
    timed = {
        "num_events": events,
        "seconds": events / rate,
        "cpu_seconds": events / rate,
        "peak_mb": 500.0,
    }
    trained = {
        "seconds": 20 + events / 10_000,
        "cpu_seconds": 20 + events / 10_000,
        "peak_mb": 600 + events / 1_000,
        "events_kept": min(events, 2_000_000),
        "networks": {"behavior": "twin"},
    }
    presets = ("fast", "standard") if events == 1_000_000 else ("fast",)
    return {
        "events_wanted": events,
        "num_events": events,
        "num_users": events // 50,
        "train": dict.fromkeys(presets, trained),
        "encode": timed,
        "embed": {"fast": timed, "standard": timed},
        "tfidf": {**timed, "fit": timed},
    }


def result(points: list[dict[str, Any]]) -> dict[str, Any]:
    config = ScaleConfig()
    return {
        "seed": 0,
        "commit": "0" * 40,
        "command": "lookalike",
        "measured_at": "2026-01-01",
        "load_average_before": 0.1,
        "machine": {"cores": 2, "processor": "one"},
        "max_training_events": 2_000_000,
        "targets": {"events_per_second": 150_000, "train_seconds": 600, "train_peak_mb": 4_096},
        "config": config.model_dump(),
        "points": points,
        "slopes": slopes(points, config.slope_events_min),
    }


def test_training_that_keeps_fewer_events_has_no_part_in_its_slope() -> None:
    found = slopes([point(events) for events in EVENTS], 100_000)
    assert found["train_fast"]["num_sizes"] == 2
    assert found["embed_standard"]["num_sizes"] == 4


def test_targets_stand_beside_what_was_measured() -> None:
    slow, fast = point(10_000, rate=9_000), point(1_000_000)
    text = "\n".join(scale_lines(result([slow, fast])))
    assert "200,000 to 200,000 on platforms of 1,000,000 events or more, reached." in text
    assert "At 1,000,000: 120 seconds, 1,600 MB, reached." in text
    slower = "\n".join(scale_lines(result([slow, point(1_000_000, rate=149_000)])))
    assert "**not reached**" in slower


def test_small_platforms_speak_only_where_there_are_no_others() -> None:
    assert list(embed_speeds(result([point(10_000), point(100_000)]))) == [100_000]
    assert list(embed_speeds(result([point(10_000)]))) == [10_000]


def test_the_model_card_tells_targets_and_slopes() -> None:
    points = [point(events) for events in EVENTS]
    text = "\n".join(cost_lines(result(points)))
    assert "150,000 events a second" in text
    assert "embedding, `standard` 1.00" in text
