"""Intervals: how far a figure would move had other users been drawn.

Users, not events or pairs, are resampled: they are what is independent. Where users ask for others
of their own ring or person, those who belong together find each other, or fail, together: there,
whole groups are resampled (the cluster bootstrap; Field and Welsh, "Bootstrapping clustered data",
JRSS B 69, 2007; Cameron, Gelbach and Miller, Review of Economics and Statistics 90, 2008, who warn
of fewer than some thirty groups). Two methods measured on the same users are compared within each
resample, so that their difference has its own interval.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.metrics import (
    Flags,
    Floats,
    Int64s,
    area_under_roc,
    average_precision,
    brier,
    calibration_error,
    make_ladder,
    recall_at_precision,
    weighted_mean,
)
from embedder.evaluation.ranking import Ranking

RESAMPLES_PER_BLOCK = 50  # bounds the memory to this many rows of weights


@dataclass(frozen=True)
class Draw:
    """Some resamples of the users.

    Attributes:
        weight_RN: How often each user was drawn, alone or with the user's group.
        unseen_R: How many users that nobody has seen are there besides; exponential with mean 1,
            so that 95 % of the resamples have fewer than 3: what the exact (Clopper-Pearson) bound
            says of an event that never happened. Rare-event figures count them, others do not.
    """

    weight_RN: Floats
    unseen_R: Floats


Metrics = Callable[[Draw], dict[str, Floats]]


@dataclass(frozen=True)
class Estimate:
    """A figure with its bootstrap interval; `low` and `high` are None where undefined."""

    value: float
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Return a JSON form; a figure that is undefined is null."""
        value = self.value if math.isfinite(self.value) else None
        return {"value": value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Comparison:
    """All methods measured on the same users.

    Attributes:
        metrics: Method, then metric.
        differences: The main method minus each other one: method, then metric.
    """

    metrics: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]

    def to_dict(self) -> dict[str, object]:
        """Return a JSON form."""
        return {"metrics": _nested(self.metrics), "differences": _nested(self.differences)}


def compare_classifiers(
    probabilities: Mapping[str, Floats], is_positive_N: Flags, config: EvaluationConfig
) -> Comparison:
    """Compare methods that give every user a probability; the first is the main one."""
    measures = {
        name: classifier_metrics(values, is_positive_N) for name, values in probabilities.items()
    }
    return compare(measures, num_users=len(is_positive_N), config=config)


def classifier_metrics(probability_N: Floats, is_positive_N: Flags) -> Metrics:
    """Return how good the probabilities are, for any weights of the users."""

    def measure(draw: Draw) -> dict[str, Floats]:
        weight_RN = draw.weight_RN
        ladder = make_ladder(probability_N, is_positive_N, weight_RN)
        return {
            "auc": area_under_roc(ladder),
            "average_precision": average_precision(ladder),
            "recall_at_95_precision": recall_at_precision(ladder, precision_min=0.95),
            "calibration_error": calibration_error(probability_N, is_positive_N, weight_RN),
            "brier": brier(probability_N, is_positive_N, weight_RN),
        }

    return measure


def compare_rankings(
    rankings: Mapping[str, Ranking], group_Q: Int64s, config: EvaluationConfig
) -> Comparison:
    """Compare methods by how well they answered the same queries; the first is the main one.

    Args:
        rankings: By method.
        group_Q: Queries of the same group are resampled together.
        config: How intervals are drawn.
    """
    measures = {name: ranking_metrics(ranking) for name, ranking in rankings.items()}
    return compare(measures, num_users=len(group_Q), config=config, group_N=group_Q)


def ranking_metrics(ranking: Ranking) -> Metrics:
    """Return how well queries were answered, for any weights of the queries."""

    def measure(draw: Draw) -> dict[str, Floats]:
        weight_RN = draw.weight_RN
        return {
            "hit_at_1": weighted_mean(ranking.hit_Q(1), weight_RN),
            "hit_at_10": weighted_mean(ranking.hit_Q(10), weight_RN),
            "mrr": weighted_mean(1 / ranking.rank_Q, weight_RN),
            "purity": weighted_mean(ranking.purity_Q, weight_RN),
        }

    return measure


def compare(
    measures: Mapping[str, Metrics],
    *,
    num_users: int,
    config: EvaluationConfig,
    group_N: Int64s | None = None,
) -> Comparison:
    """Measure all methods, if any, on all users, and on the same resamples of them.

    Args:
        measures: By method.
        num_users: N.
        config: How many resamples, their seed, and what share of them intervals hold.
        group_N: Users of the same group are drawn together; each alone without.
    """
    if group_N is None:
        group_N = np.arange(num_users)
    plain = {name: _single(measure, num_users) for name, measure in measures.items()}
    resampled = _resample(measures, group_N, config)
    main = next(iter(measures), None)
    metrics, differences = {}, {}
    for name in measures:
        metrics[name] = _estimates(plain[name], resampled[name], config)
        if main is not None and name != main:
            gap = {key: plain[main][key] - plain[name][key] for key in plain[main]}
            gap_R = {key: resampled[main][key] - resampled[name][key] for key in plain[main]}
            differences[name] = _estimates(gap, gap_R, config)
    return Comparison(metrics, differences)


def _single(measure: Metrics, num_users: int) -> dict[str, float]:
    everyone_once = Draw(np.ones((1, num_users)), np.zeros(1))
    return {key: float(value[0]) for key, value in measure(everyone_once).items()}


def _resample(
    measures: Mapping[str, Metrics], group_N: Int64s, config: EvaluationConfig
) -> dict[str, dict[str, Floats]]:
    num_users = len(group_N)
    rng = np.random.default_rng([config.seed, num_users])
    rng_unseen = np.random.default_rng([config.seed, num_users, 1])
    parts: dict[str, list[dict[str, Floats]]] = {name: [] for name in measures}
    for first in range(0, config.num_resamples, RESAMPLES_PER_BLOCK):
        size = min(RESAMPLES_PER_BLOCK, config.num_resamples - first)
        draw = Draw(draw_group_weights(group_N, size, rng), rng_unseen.exponential(size=size))
        for name, measure in measures.items():
            parts[name].append(measure(draw))
    return {
        name: {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
        for name, blocks in parts.items()
    }


def draw_weights(num_users: int, num_resamples: int, rng: np.random.Generator) -> Floats:
    """Draw how often each user is in each resample, as many users as there are."""
    drawn = rng.integers(0, num_users, (num_resamples, num_users))
    drawn += np.arange(num_resamples)[:, None] * num_users
    counts: npt.NDArray[np.int64] = np.bincount(drawn.ravel(), minlength=num_resamples * num_users)
    return counts.reshape(num_resamples, num_users).astype(np.float64)


def draw_group_weights(group_N: Int64s, num_resamples: int, rng: np.random.Generator) -> Floats:
    """Draw how often each user is in each resample: as often as the user's group is drawn.

    As many groups are drawn as there are, so that the number of users varies with their sizes.
    Returns float64 of shape (num_resamples, N).
    """
    distinct, place_N = np.unique(group_N, return_inverse=True)
    weight_RN: Floats = draw_weights(len(distinct), num_resamples, rng)[:, place_N]
    return weight_RN


def _estimates(
    plain: Mapping[str, float], resampled: Mapping[str, Floats], config: EvaluationConfig
) -> dict[str, Estimate]:
    tail = (1 - config.confidence) / 2
    estimates = {}
    for key, value in plain.items():
        defined = resampled[key][np.isfinite(resampled[key])]
        if len(defined) < config.num_resamples / 2:
            estimates[key] = Estimate(value, None, None)
            continue
        low, high = np.quantile(defined, [tail, 1 - tail])
        estimates[key] = Estimate(value, float(low), float(high))
    return estimates


def _nested(
    figures: Mapping[str, Mapping[str, Estimate]],
) -> dict[str, dict[str, dict[str, float | None]]]:
    return {
        method: {metric: estimate.to_dict() for metric, estimate in metrics.items()}
        for method, metrics in figures.items()
    }
