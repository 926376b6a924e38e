"""Quality metrics, each for many bootstrap resamples at once.

A resample is a weight per user: how often the user was drawn. Every function takes `weight_RN` and
returns one value per resample; with a single row of ones that is the plain metric. What is
undefined in a resample (no positives left, say) is NaN there.

Shape key: `N` users, `R` resamples, `G` groups of users with equal scores, `K` bins.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

RECALL_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Ladder:
    """Weights of positives and negatives per distinct score, highest score first."""

    positive_RG: Floats
    negative_RG: Floats


def make_ladder(score_N: Floats, is_positive_N: Flags, weight_RN: Floats) -> Ladder:
    """Sort users by score, highest first, and add up those with equal scores."""
    order = np.argsort(-score_N, kind="stable")
    ranked_N = score_N[order]
    starts = np.flatnonzero(np.append(True, ranked_N[1:] != ranked_N[:-1]))
    weight_RN = weight_RN[:, order]
    positive_RN = weight_RN * is_positive_N[order]
    positive_RG = np.add.reduceat(positive_RN, starts, axis=1)
    negative_RG = np.add.reduceat(weight_RN - positive_RN, starts, axis=1)
    return Ladder(positive_RG, negative_RG)


def area_under_roc(ladder: Ladder) -> Floats:
    """Return the chance that a positive scores above a negative; ties count half."""
    above_RG = np.cumsum(ladder.negative_RG, axis=1)
    total_R = above_RG[:, -1]
    below_RG = total_R[:, None] - above_RG
    won_R = (ladder.positive_RG * (below_RG + ladder.negative_RG / 2)).sum(axis=1)
    return _ratio(won_R, ladder.positive_RG.sum(axis=1) * total_R)


def precision_and_recall(ladder: Ladder) -> tuple[Floats, Floats]:
    """Return both at every threshold, highest first; recall is NaN without positives."""
    found_RG = np.cumsum(ladder.positive_RG, axis=1)
    shown_RG = found_RG + np.cumsum(ladder.negative_RG, axis=1)
    return _ratio(found_RG, shown_RG, nothing=0.0), _ratio(found_RG, found_RG[:, -1:])


def average_precision(ladder: Ladder) -> Floats:
    """Return the mean precision at each positive, with equal scores taken together."""
    precision_RG, _ = precision_and_recall(ladder)
    return mean_precision(ladder, precision_RG)


def mean_precision(ladder: Ladder, precision_RG: Floats) -> Floats:
    """Return the average precision where the precision is known already."""
    gained_R = (precision_RG * ladder.positive_RG).sum(axis=1)
    return _ratio(gained_R, ladder.positive_RG.sum(axis=1))


def recall_at_precision(ladder: Ladder, *, precision_min: float) -> Floats:
    """Return the largest recall at a threshold whose precision is high enough; 0 if none is."""
    return best_recall(*precision_and_recall(ladder), precision_min=precision_min)


def best_recall(precision_RG: Floats, recall_RG: Floats, *, precision_min: float) -> Floats:
    """Return the same where both are known already."""
    best_R: Floats = np.where(precision_RG >= precision_min, recall_RG, 0.0).max(axis=1)
    return best_R


def recall_at_false_positive_rate(ladder: Ladder, *, rate_max: float) -> Floats:
    """Return the largest recall at a threshold that few enough negatives reach; 0 if none is."""
    found_RG, alarm_RG = (
        _ratio(part, part[:, -1:])
        for part in (np.cumsum(ladder.positive_RG, axis=1), np.cumsum(ladder.negative_RG, axis=1))
    )
    best_R: Floats = np.where(alarm_RG <= rate_max, found_RG, 0.0).max(axis=1)
    return best_R


def precision_where(precision_RG: Floats, recall_RG: Floats, *, recall_min: float) -> Floats:
    """Return the precision at the highest threshold whose recall is high enough."""
    at_R = (recall_RG >= recall_min - RECALL_TOLERANCE).argmax(axis=1)
    chosen_R = np.take_along_axis(precision_RG, at_R[:, None], axis=1)[:, 0]
    return np.where(np.isfinite(recall_RG[:, -1]), chosen_R, np.nan)


def weighted_quantile(value_N: Floats, weight_RN: Floats, *, share: float) -> Floats:
    """Return the least value at which the share of the weight is reached; NaN without weight."""
    if not len(value_N):
        return np.full(len(weight_RN), np.nan)
    order = np.argsort(value_N, kind="stable")
    reached_RN = np.cumsum(weight_RN[:, order], axis=1)
    at_R = (reached_RN >= share * reached_RN[:, -1:]).argmax(axis=1)
    return np.where(reached_RN[:, -1] > 0, value_N[order][at_R], np.nan)


def brier(probability_N: Floats, is_positive_N: Flags, weight_RN: Floats) -> Floats:
    """Return the mean squared error of the probabilities."""
    error_N = (probability_N - is_positive_N) ** 2
    return _ratio(weight_RN @ error_N, weight_RN.sum(axis=1))


def calibration_error(
    probability_N: Floats, is_positive_N: Flags, weight_RN: Floats, *, num_bins: int = 10
) -> Floats:
    """Return the expected calibration error over bins of equal mass.

    The bins are made once, from all users; users with equal probabilities share a bin.
    """
    bin_N = equal_mass_bins(probability_N, num_bins)
    member_NK = (bin_N[:, None] == np.arange(bin_N.max() + 1)).astype(np.float64)
    excess_RK = weight_RN @ (member_NK * (probability_N - is_positive_N)[:, None])
    return _ratio(np.abs(excess_RK).sum(axis=1), weight_RN.sum(axis=1))


def equal_mass_bins(probability_N: Floats, num_bins: int) -> Int64s:
    """Return the bin of each probability, 0 for the lowest; empty bins do not exist."""
    _, place_N, count_G = np.unique(probability_N, return_inverse=True, return_counts=True)
    middle_G = (np.cumsum(count_G) - count_G / 2) / len(probability_N)
    bin_G = (middle_G * num_bins).astype(np.int64)
    return np.unique(bin_G, return_inverse=True)[1][place_N].astype(np.int64)


def weighted_mean(value_N: Floats, weight_RN: Floats) -> Floats:
    """Return the mean over users."""
    return _ratio(weight_RN @ value_N, weight_RN.sum(axis=1))


def _ratio(part: Floats, whole: Floats, *, nothing: float = np.nan) -> Floats:
    part, whole = np.broadcast_arrays(part, whole)
    filled = np.full(part.shape, nothing)
    np.divide(part, whole, out=filled, where=whole > 0)
    return filled
