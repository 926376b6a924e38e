"""Intervals in closed form, for figures that are measured of many fields or of all events.

Users are what is independent, as in `embedder.evaluation.bootstrap`; resampling them for hundreds
of figures would cost more than the figures. Shares have Wilson's interval, which is honest at none
and at all; an area under the curve has DeLong's.

Shape key: `N` users, `S` strata of users, `V` signs.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from embedder.evaluation.bootstrap import Estimate
from embedder.evaluation.metrics import Flags, Floats


@dataclass(frozen=True)
class Shares:
    """Shares of users with a sign, for many signs at once; all in [0, 1]."""

    value_V: Floats
    low_V: Floats
    high_V: Floats

    def at(self, place: int) -> Estimate:
        """Return one of them."""
        return Estimate(
            float(self.value_V[place]), float(self.low_V[place]), float(self.high_V[place])
        )


def estimate_share(part_N: Floats, whole_N: Floats, *, confidence: float) -> Estimate:
    """Return the sum of the parts over the sum of the wholes, users being drawn.

    Args:
        part_N: What counts of each user, such as the events after a violation.
        whole_N: What there is of each user; ones for a share of users.
        confidence: Coverage of the interval.
    """
    total = float(whole_N.sum())
    if total <= 0:
        return Estimate(float("nan"), None, None)
    share = float(part_N.sum()) / total
    variance = float(np.square(part_N - share * whole_N).sum()) / total**2
    certain = variance == 0.0 or share <= 0.0 or share >= 1.0
    num = float((whole_N > 0).sum()) if certain else share * (1 - share) / variance
    return _wilson(np.array([share]), np.array([num]), confidence).at(0)


def standard_shares(
    num_with_SV: Floats, num_users_S: Floats, weight_S: Floats, *, confidence: float
) -> Shares:
    """Return the shares that a class would have, were its strata as large as the weights say.

    Args:
        num_with_SV: Users of each stratum with each sign.
        num_users_S: Users of each stratum; where the weight is not 0, at least one.
        weight_S: Of each stratum; they need not sum to 1, and one is not 0.
        confidence: Coverage of the intervals.
    """
    used = weight_S > 0
    weight_S, num_users_S = weight_S[used] / weight_S.sum(), num_users_S[used]
    share_SV = num_with_SV[used] / num_users_S[:, None]
    value_V = weight_S @ share_SV
    spread_S = weight_S**2 / num_users_S
    variance_V = spread_S @ (share_SV * (1 - share_SV))
    num_V = np.full(len(value_V), 1.0 / spread_S.sum())
    varies = variance_V > 0
    num_V[varies] = (value_V * (1 - value_V))[varies] / variance_V[varies]
    return _wilson(value_V, num_V, confidence)


def estimate_area(score_N: Floats, is_positive_N: Flags, *, confidence: float) -> Estimate:
    """Return the chance that a positive scores above a negative, ties counting half.

    The interval is DeLong's. Cost: a sort of the scores.
    """
    positive, negative = score_N[is_positive_N], score_N[~is_positive_N]
    if min(len(positive), len(negative)) < 2:
        return Estimate(float("nan"), None, None)
    above = _placement(positive, negative)
    below = 1.0 - _placement(negative, positive)
    variance = above.var(ddof=1) / len(positive) + below.var(ddof=1) / len(negative)
    area, reach = float(above.mean()), _z(confidence) * float(np.sqrt(variance))
    return Estimate(area, max(area - reach, 0.0), min(area + reach, 1.0))


def _placement(one: Floats, other: Floats) -> Floats:
    """Return for each score the share of the others below it, ties counting half."""
    ranked = np.sort(other)
    low, high = np.searchsorted(ranked, one, "left"), np.searchsorted(ranked, one, "right")
    placement: Floats = (low + high) / (2 * len(other))
    return placement


def _wilson(share_V: Floats, num_V: Floats, confidence: float) -> Shares:
    squared = _z(confidence) ** 2
    middle_V = (share_V + squared / (2 * num_V)) / (1 + squared / num_V)
    inner_V = share_V * (1 - share_V) / num_V + squared / (4 * num_V**2)
    reach_V = np.sqrt(squared * np.maximum(inner_V, 0.0)) / (1 + squared / num_V)
    low_V, high_V = np.maximum(middle_V - reach_V, 0.0), np.minimum(middle_V + reach_V, 1.0)
    return Shares(share_V, np.minimum(low_V, share_V), np.maximum(high_V, share_V))


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)
