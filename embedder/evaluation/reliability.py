"""Reliability: what was said against what happened, for all users and for kinds of them.

Shape key: `N` users, `K` bins.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from embedder.evaluation.bootstrap import Comparison, Draw, Estimate, Metrics, compare
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.metrics import (
    Flags,
    Floats,
    Int64s,
    brier,
    calibration_error,
    equal_mass_bins,
)
from store.sequences import SequenceBatch

RELIABILITY_BINS = 10
USERS_PER_BIN_MIN = 40
BIN_CONFIDENCE = 0.95
THIRDS = ("busiest third", "middle third", "quietest third")


@dataclass(frozen=True)
class ReliabilityBin:
    """Users of similar probability, and how many of them were violators.

    `low` and `high` are the exact (Clopper-Pearson) interval of the share.
    """

    probability_mean: float
    positive_share: float
    num_users: int
    num_positives: int
    low: float
    high: float


@dataclass(frozen=True)
class ReliabilityGroup:
    """Reliability among users of one kind.

    Attributes:
        name: The kind.
        about: What makes the kind, in numbers, for people.
        num_users, num_positives: How many there are.
        bins: Bins of equal mass, by method.
        comparison: Calibration error over these bins and Brier score; None where there are too few.
        why_not: Why there is none.
    """

    name: str
    about: str
    num_users: int
    num_positives: int
    bins: dict[str, tuple[ReliabilityBin, ...]]
    comparison: Comparison | None
    why_not: str | None

    def to_dict(self) -> dict[str, object]:
        """Return a JSON form."""
        figures = Comparison({}, {}) if self.comparison is None else self.comparison
        return {
            "name": self.name,
            "about": self.about,
            "num_users": self.num_users,
            "num_positives": self.num_positives,
            "bins": {name: [vars(item) for item in items] for name, items in self.bins.items()},
            **figures.to_dict(),
            "why_not": self.why_not,
        }


def reliability_bins(
    probability_N: Floats, is_positive_N: Flags, *, num_bins: int = RELIABILITY_BINS
) -> tuple[ReliabilityBin, ...]:
    """Compare probabilities with what happened, in bins of equal mass."""
    bin_N = equal_mass_bins(probability_N, num_bins)
    size_K = np.bincount(bin_N).astype(np.float64)
    mean_K = np.bincount(bin_N, probability_N) / size_K
    hits_K = np.bincount(bin_N, is_positive_N.astype(np.float64)).astype(np.float64)
    low_K, high_K = exact_interval(hits_K, size_K, confidence=BIN_CONFIDENCE)
    columns = (
        mean_K,
        hits_K / size_K,
        size_K.astype(np.int64),
        hits_K.astype(np.int64),
        low_K,
        high_K,
    )
    return tuple(map(ReliabilityBin, *(column.tolist() for column in columns)))


def exact_interval(
    hits: Floats | Int64s, count: Floats | Int64s, *, confidence: float
) -> tuple[Floats, Floats]:
    """Return the two-sided Clopper-Pearson interval of hits / count."""
    tail = (1 - confidence) / 2
    low = np.where(hits > 0, beta.ppf(tail, np.maximum(hits, 1e-9), count - hits + 1), 0.0)
    high = beta.ppf(1 - tail, hits + 1, np.maximum(count - hits, 1e-9))
    return low, np.where(hits < count, high, 1.0)


def exact_share(hits: int, count: int, *, confidence: float) -> Estimate:
    """Return a share of users with its exact interval: none of few is not none for certain."""
    low, high = exact_interval(np.array([hits]), np.array([count]), confidence=confidence)
    return Estimate(hits / count, float(low[0]), float(high[0]))


def seconds_between_events(batch: SequenceBatch) -> Floats:
    """Return each user's mean time from one event to the next; NaN for users of one event."""
    some_B = np.flatnonzero(batch.num_events > 1)
    span_us = batch.ts_us[batch.offsets[1:][some_B] - 1] - batch.ts_us[batch.offsets[:-1][some_B]]
    mean_B = np.full(batch.num_users, np.nan)
    mean_B[some_B] = span_us / 1e6 / (batch.num_events[some_B] - 1)
    return mean_B


def reliability_by_activity(
    probabilities: Mapping[str, Floats],
    is_positive_N: Flags,
    seconds_N: Floats,
    config: EvaluationConfig,
) -> tuple[ReliabilityGroup, ...]:
    """Measure calibration among the busiest, the middle and the quietest third of the users.

    Busy is who lets little time pass between events. It is no matter of how many events there are:
    that is age, which is held equal here, and looked at by itself.
    """
    known_N = np.isfinite(seconds_N)
    if not known_N.any():
        return ()
    edges = np.quantile(seconds_N[known_N], [1 / 3, 2 / 3])
    third_N = np.where(known_N, np.searchsorted(edges, seconds_N), -1)
    groups = []
    for place, name in enumerate(THIRDS):
        inside_N = third_N == place
        if inside_N.any():
            median = float(np.median(seconds_N[inside_N]))
            about = f"median of {format_duration(median)} from one event to the next"
            given = {method: values[inside_N] for method, values in probabilities.items()}
            groups.append(_group(name, about, given, is_positive_N[inside_N], config))
    return tuple(groups)


def format_duration(seconds: float) -> str:
    """Write a time for people, as `35 s`, `12 min`, `5.0 h` or `3.1 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _group(
    name: str,
    about: str,
    probabilities: Mapping[str, Floats],
    is_positive_N: Flags,
    config: EvaluationConfig,
) -> ReliabilityGroup:
    num_users, num_positives = len(is_positive_N), int(is_positive_N.sum())
    smaller = min(num_positives, num_users - num_positives)
    if smaller < config.min_positives:
        reason = f"only {smaller} users of one class; {config.min_positives} are needed"
        return ReliabilityGroup(name, about, num_users, num_positives, {}, None, reason)
    num_bins = min(max(num_users // USERS_PER_BIN_MIN, 1), RELIABILITY_BINS)
    bins = {
        method: reliability_bins(values, is_positive_N, num_bins=num_bins)
        for method, values in probabilities.items()
    }
    measures = {
        method: _calibration(values, is_positive_N, num_bins)
        for method, values in probabilities.items()
    }
    comparison = compare(measures, num_users=num_users, config=config)
    return ReliabilityGroup(name, about, num_users, num_positives, bins, comparison, None)


def _calibration(probability_N: Floats, is_positive_N: Flags, num_bins: int) -> Metrics:
    def measure(draw: Draw) -> dict[str, Floats]:
        weight_RN = draw.weight_RN
        return {
            "calibration_error": calibration_error(
                probability_N, is_positive_N, weight_RN, num_bins=num_bins
            ),
            "brier": brier(probability_N, is_positive_N, weight_RN),
        }

    return measure
