"""From a score to a probability that can be believed, and to the bands a person reads.

Isotonic regression over equal-mass bins where there are enough examples, Platt's logistic curve
otherwise. Both are kept as one piecewise linear, strictly increasing map from score to log odds, so
that ranks survive and log odds never saturate.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import beta
from sklearn.isotonic import IsotonicRegression

from index.risk.gallery import Floats
from store.sequences import Int64s

ISOTONIC_ROWS, ISOTONIC_OF_EACH, BINS = 1000, 150, 20
SLOPE_MIN = 1e-3
CONFIDENCE = 0.95

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Calibrator:
    """A piecewise linear map from score to log odds; beyond its ends Platt's slope goes on."""

    method: str
    score: tuple[float, ...]
    log_odds: tuple[float, ...]
    slope: float

    def to_log_odds(self, score: Floats) -> Floats:
        """Return calibrated log odds; strictly increasing in the score."""
        inner = np.interp(score, self.score, self.log_odds)
        below = np.minimum(score - self.score[0], 0.0)
        above = np.maximum(score - self.score[-1], 0.0)
        return np.asarray(inner + self.slope * (below + above))

    def of_population(self, thinning: float) -> "Calibrator":
        """Return the map for all users, of whom it was fitted on a sample of each class.

        The odds of everyone are those of the sample by `thinning`: how many times more of the
        others than of the violators were left out (prior correction, King and Zeng 2001).
        """
        shift = float(np.log(thinning))
        return replace(self, log_odds=tuple(value - shift for value in self.log_odds))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Calibrator":
        """Read what `to_dict` wrote."""
        return cls(
            values["method"], tuple(values["score"]), tuple(values["log_odds"]), values["slope"]
        )


def fit_calibrator(score: Floats, is_violator: Bools, weight: Floats) -> Calibrator:
    """Fit on scores of users that the scoring was not fitted on, each with a weight."""
    slope, offset = fit_platt(score, is_violator, weight)
    each = min(int(is_violator.sum()), int((~is_violator).sum()))
    if len(score) < ISOTONIC_ROWS or each < ISOTONIC_OF_EACH:
        ends = float(score.min()), float(score.max()) + 1e-6
        return Calibrator(
            "platt", ends, (slope * ends[0] + offset, slope * ends[1] + offset), slope
        )
    centre, value = binned_isotonic(score, is_violator, weight)
    rising = value + SLOPE_MIN * np.arange(len(value))
    return Calibrator("isotonic", tuple(centre.tolist()), tuple(rising.tolist()), slope)


def fit_platt(score: Floats, is_violator: Bools, weight: Floats) -> tuple[float, float]:
    """Return slope and offset of Platt's curve (Platt 1999), with his smoothed targets."""
    positives, negatives = is_violator.sum(), (~is_violator).sum()
    target = np.where(is_violator, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(weights: Floats) -> float:
        value = weights[0] * score + weights[1]
        return float(np.average(np.logaddexp(0.0, value) - target * value, weights=weight))

    found = minimize(
        loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.05, 20.0), (None, None)]
    )
    return float(found.x[0]), float(found.x[1])


def binned_isotonic(score: Floats, is_violator: Bools, weight: Floats) -> tuple[Floats, Floats]:
    """Return bin centres and isotonic log odds; half an example is added to each side of a bin."""
    order = np.argsort(score, kind="stable")
    reached = np.cumsum(weight[order]) / weight.sum()
    bins = np.split(order, np.searchsorted(reached, np.arange(1, BINS) / BINS))
    bins = [rows for rows in bins if len(rows)]
    centre = np.array([np.average(score[rows], weights=weight[rows]) for rows in bins])
    count = np.array([weight[rows].sum() for rows in bins])
    hits = np.array([weight[rows][is_violator[rows]].sum() for rows in bins])
    rate = (hits + 0.5) / (count + 1.0)
    smooth = IsotonicRegression().fit_transform(centre, rate, sample_weight=count)
    keep = np.append(np.diff(centre) > 1e-9, True)
    return centre[keep], np.asarray(logit(smooth))[keep]


@dataclass(frozen=True)
class Bands:
    """Log odds from which a user is likely or possible; None where no threshold was earned."""

    likely: float | None
    possible: float

    def name(self, log_odds: Floats, likely_Q: Sequence[float] | None = None) -> list[str]:
        """Return the band of each; thresholds of their own may be given for likely."""
        everyone = np.inf if self.likely is None else self.likely
        likely = np.full(len(log_odds), everyone) if likely_Q is None else np.array(likely_Q)
        names: list[str] = np.where(
            log_odds >= likely,
            "likely",
            np.where(log_odds >= self.possible, "possible", "unlikely"),
        ).tolist()
        return names


def choose_bands(
    log_odds: Floats,
    is_violator: Bools,
    user: Int64s,
    *,
    precision: float,
    possible_probability: float,
) -> Bands:
    """Choose the lowest threshold that proves the precision, and the one of possible."""
    likely = likely_from(log_odds, is_violator, user, precision=precision)
    return Bands(likely, float(logit(possible_probability)))


def likely_from(
    log_odds: Floats, is_violator: Bools, user: Int64s, *, precision: float
) -> float | None:
    """Return the lowest threshold whose precision, at its lower 95 % bound, is high enough.

    Several looks at one user are as good as one: the bound rests on how many users there are.
    None where no threshold is.
    """
    if len(log_odds) == 0:
        return None
    order = np.argsort(-log_odds, kind="stable")
    share = np.cumsum(is_violator[order]) / np.arange(1, len(order) + 1)
    is_first = np.zeros(len(order), dtype=bool)
    is_first[np.unique(user[order], return_index=True)[1]] = True
    users = np.cumsum(is_first).astype(np.float64)
    last_of_equals = np.append(np.diff(log_odds[order]) < 0, True)
    good = np.flatnonzero(last_of_equals & (precision_lower(share * users, users) >= precision))
    return float(log_odds[order[good[-1]]]) if len(good) else None


def precision_in_sample(precision: float, thinning: float) -> float:
    """Return the precision among sampled users that is `precision` among all; see `Calibrator`."""
    odds = thinning * precision / (1 - precision)
    return odds / (1 + odds)


def precision_lower(hits: Floats, count: Floats) -> Floats:
    """Return Clopper-Pearson lower bounds of hits / count; neither need be whole."""
    bound = beta.ppf(1 - CONFIDENCE, np.maximum(hits, 1e-9), count - hits + 1)
    return np.asarray(np.where(hits == 0, 0.0, bound))


def interval(probability: Floats, votes: Floats, *, coverage: float) -> tuple[Floats, Floats]:
    """Return how far a probability may be off, given as many look-alikes as were found.

    It is the central interval of a Beta distribution with that mean and as many observations as
    there were effective votes.
    """
    inside = np.clip(probability, 1e-6, 1 - 1e-6)
    a, b = inside * votes, (1 - inside) * votes
    tail = (1 - coverage) / 2
    low, high = beta.ppf(tail, a, b), beta.ppf(1 - tail, a, b)
    return np.minimum(low, probability), np.maximum(high, probability)


def to_probability(log_odds: Floats) -> Floats:
    """Return the probability of log odds."""
    return np.asarray(expit(log_odds))
