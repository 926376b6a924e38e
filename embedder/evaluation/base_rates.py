"""Precision and recall, as measured and at the base rates of a whole platform.

Among test users violators are common; on a platform one in a hundred or a thousand is one. What
the score does to a violator and to a benign user is taken to be the same there (label shift), and
each benign test user stands for `w = P / M * (1 - b) / b` of them, with P violators and M benign
users in the test and b the base rate (Saerens, Latinne, Decaestecker 2002, Neural Computation
14(1)). The precision at a threshold is then

    b * recall / (b * recall + (1 - b) * false-positive rate)

(Axelsson 2000, ACM TISSEC 3(3)), and recall does not change. A rare base rate needs a rate of false
alarms so small that few test users, or none, tell of it. Two things say so: lower ends of intervals
count unseen benign users above all thresholds (`bootstrap.Draw`), and a demand that even no false
alarm among all benign test users could prove is not measurable.

Shape key: `N` users, `R` resamples, `G` groups of users with equal scores.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from embedder.evaluation.bootstrap import Comparison, Draw, Estimate, Metrics, compare
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.metrics import (
    RECALL_TOLERANCE,
    Flags,
    Floats,
    Ladder,
    best_recall,
    make_ladder,
    mean_precision,
    precision_and_recall,
    precision_where,
    recall_at_false_positive_rate,
)

RECALLS = tuple(round(step / 20, 2) for step in range(1, 21))
NATURAL, ALARMS, AVERAGE_PRECISION = "natural", "alarms", "average_precision"
PESSIMIST = "pessimist:"


@dataclass(frozen=True)
class Demand:
    """The recall of every method where a precision, or a false-positive rate, is demanded.

    Attributes:
        value: The precision or the false-positive rate.
        false_positive_rate_max: What it allows at a recall of one.
        num_benign_needed: So many benign test users without a false alarm would prove that.
        recall_min: A recall below this can't be told from none with the benign users there are.
        why_not: Why it is not measurable, with the counts; None where it is.
        recall: By method.
        differences: The main method minus each other one.
        num_found: Violators over the threshold, by method.
        num_false_alarms: Benign users over it.
    """

    value: float
    false_positive_rate_max: float
    num_benign_needed: int
    recall_min: float
    why_not: str | None
    recall: dict[str, Estimate]
    differences: dict[str, Estimate]
    num_found: dict[str, int]
    num_false_alarms: dict[str, int]

    def to_dict(self) -> dict[str, object]:
        """Return a JSON form."""
        return {
            **vars(self),
            "recall": _plain(self.recall),
            "differences": _plain(self.differences),
        }


@dataclass(frozen=True)
class CurvePoint:
    """The precision at the highest threshold that reaches a recall, and who is over it."""

    recall: float
    precision: Estimate
    num_found: int
    num_false_alarms: int

    def to_dict(self) -> dict[str, object]:
        """Return a JSON form."""
        return {**vars(self), "precision": self.precision.to_dict()}


@dataclass(frozen=True)
class BaseRate:
    """What all methods do where this share of the users are violators.

    Attributes:
        base_rate: The share.
        is_natural: Whether it is that of the test users themselves.
        num_positives, num_negatives: Test users.
        benign_weight: How many users each benign test user stands for.
        average_precision, differences: By method.
        demands: Recall at demanded precisions.
        curve: Precision over recall, by method.
        provable: The highest precision that so many benign users can prove, at each of `RECALLS`.
    """

    base_rate: float
    is_natural: bool
    num_positives: int
    num_negatives: int
    benign_weight: float
    average_precision: dict[str, Estimate]
    differences: dict[str, Estimate]
    demands: tuple[Demand, ...]
    curve: dict[str, tuple[CurvePoint, ...]]
    provable: tuple[float, ...]

    def to_dict(self) -> dict[str, object]:
        """Return a JSON form."""
        curves = self.curve.items()
        return {
            **vars(self),
            "average_precision": _plain(self.average_precision),
            "differences": _plain(self.differences),
            "demands": [demand.to_dict() for demand in self.demands],
            "curve": {method: [point.to_dict() for point in points] for method, points in curves},
            "provable": list(self.provable),
        }


@dataclass(frozen=True)
class OperatingFigures:
    """Precision and recall at several base rates, and recall at several false-positive rates."""

    base_rates: tuple[BaseRate, ...]
    false_positive_rates: tuple[Demand, ...]

    def to_dict(self) -> dict[str, object]:
        """Return a JSON form."""
        return {
            "base_rates": [rate.to_dict() for rate in self.base_rates],
            "false_positive_rates": [demand.to_dict() for demand in self.false_positive_rates],
        }


def precision_at(base_rate: Floats | float, recall: Floats, false_positive_rate: Floats) -> Floats:
    """Return the precision by Bayes' rule; NaN where nobody is over the threshold."""
    found = np.asarray(base_rate * recall)
    shown = found + (1 - np.asarray(base_rate)) * false_positive_rate
    precision: Floats = np.full(shown.shape, np.nan)
    np.divide(found, shown, out=precision, where=shown > 0)
    return precision


def false_positive_rate_max(*, base_rate: float, precision: float, recall: float) -> float:
    """Return the rate of false alarms that a precision allows; at most 1."""
    return min(recall * base_rate * (1 - precision) / (precision * (1 - base_rate)), 1.0)


def false_positive_rate_provable(num_benign: int, *, confidence: float) -> float:
    """Return the upper bound of the rate where none of so many benign users is a false alarm."""
    return float(1 - (1 - confidence) ** (1 / num_benign))


def num_benign_needed(rate: float, *, confidence: float) -> int:
    """Return how many benign users without a false alarm prove a rate: about 3 / rate for 95 %."""
    if rate >= confidence:
        return 1
    return math.ceil(math.log(1 - confidence) / math.log1p(-rate))


def reweighted(ladder: Ladder, base_rate: float) -> Ladder:
    """Let the negatives of every resample stand for so many that positives are the base rate."""
    odds_R = ladder.positive_RG.sum(axis=1) * (1 - base_rate) / base_rate
    negative_R = np.maximum(ladder.negative_RG.sum(axis=1), 1e-12)
    return Ladder(ladder.positive_RG, ladder.negative_RG * (odds_R / negative_R)[:, None])


def with_unseen(ladder: Ladder, unseen_R: Floats) -> Ladder:
    """Put negatives whom nobody has seen above all others."""
    nobody_R1 = np.zeros((len(unseen_R), 1))
    return Ladder(
        np.hstack([nobody_R1, ladder.positive_RG]),
        np.hstack([unseen_R[:, None], ladder.negative_RG]),
    )


def measure_operating_figures(
    probabilities: Mapping[str, Floats], is_positive_N: Flags, config: EvaluationConfig
) -> OperatingFigures:
    """Measure all methods at the natural and at the configured base rates; the first is ours."""
    num_positives = int(is_positive_N.sum())
    measures = {
        method: _metrics_of(values, is_positive_N, config)
        for method, values in probabilities.items()
    }
    once = np.ones((1, len(is_positive_N)))
    measured = _Measured(
        compare(measures, num_users=len(is_positive_N), config=config),
        {name: make_ladder(values, is_positive_N, once) for name, values in probabilities.items()},
        num_positives,
        len(is_positive_N) - num_positives,
        config.confidence,
    )
    natural = num_positives / len(is_positive_N)
    rare = [rate for rate in config.base_rates if rate != natural]
    targets = config.precision_targets
    return OperatingFigures(
        (
            measured.base_rate(natural, NATURAL, targets),
            *(measured.base_rate(rate, str(rate), targets) for rate in rare),
        ),
        tuple(measured.alarms(rate) for rate in config.false_positive_rates),
    )


def _metrics_of(score_N: Floats, is_positive_N: Flags, config: EvaluationConfig) -> Metrics:
    def measure(draw: Draw) -> dict[str, Floats]:
        seen = make_ladder(score_N, is_positive_N, draw.weight_RN)
        unseen = with_unseen(seen, draw.unseen_R)
        figures = _figures(NATURAL, seen, config)
        for rate in config.base_rates:
            figures |= _figures(str(rate), reweighted(seen, rate), config)
            figures |= _figures(f"{PESSIMIST}{rate}", reweighted(unseen, rate), config)
        for rate in config.false_positive_rates:
            for prefix, ladder in (("", seen), (PESSIMIST, unseen)):
                recall_R = recall_at_false_positive_rate(ladder, rate_max=rate)
                figures[f"{prefix}{ALARMS}/{rate}"] = recall_R
        return figures

    return measure


def _figures(name: str, ladder: Ladder, config: EvaluationConfig) -> dict[str, Floats]:
    """Return all figures at one base rate, by keys that start with its name."""
    both = precision_and_recall(ladder)
    figures = {f"{name}/{AVERAGE_PRECISION}": mean_precision(ladder, both[0])}
    for precision in config.precision_targets:
        figures[f"{name}/recall/{precision}"] = best_recall(*both, precision_min=precision)
    for recall in RECALLS:
        figures[f"{name}/precision/{recall}"] = precision_where(*both, recall_min=recall)
    return figures


@dataclass(frozen=True)
class _Measured:
    """All that was measured, and the users themselves, to be read out demand by demand."""

    comparison: Comparison
    ladders: Mapping[str, Ladder]
    num_positives: int
    num_negatives: int
    confidence: float

    def base_rate(self, rate: float, name: str, targets: tuple[float, ...]) -> BaseRate:
        bound = false_positive_rate_provable(self.num_negatives, confidence=self.confidence)
        return BaseRate(
            rate,
            name == NATURAL,
            self.num_positives,
            self.num_negatives,
            self.num_positives / self.num_negatives * (1 - rate) / rate,
            self.estimates(f"{name}/{AVERAGE_PRECISION}"),
            self.differences(f"{name}/{AVERAGE_PRECISION}"),
            tuple(self.precision(precision, rate, name) for precision in targets),
            {
                method: tuple(self.point(recall, name, method) for recall in RECALLS)
                for method in self.ladders
            },
            tuple(precision_at(rate, np.array(RECALLS), np.full(len(RECALLS), bound)).tolist()),
        )

    def precision(self, precision: float, rate: float, name: str) -> Demand:
        """Return the recall of all methods at a precision."""
        allowed = false_positive_rate_max(base_rate=rate, precision=precision, recall=1.0)
        bound = false_positive_rate_provable(self.num_negatives, confidence=self.confidence)
        places = {}
        for method, ladder in self.ladders.items():
            weighted = ladder if name == NATURAL else reweighted(ladder, rate)
            precision_RG, _ = precision_and_recall(weighted)
            places[method] = _last(precision_RG[0] >= precision)
        asked = f"a precision of {precision:g} at a base rate of {rate:.3g}"
        key = f"{name}/recall/{precision}"
        return self.demand(precision, allowed, bound / allowed, asked, key, places)

    def alarms(self, rate: float) -> Demand:
        """Return the recall of all methods at a false-positive rate."""
        places = {
            method: _last(np.cumsum(ladder.negative_RG[0]) <= rate * self.num_negatives)
            for method, ladder in self.ladders.items()
        }
        asked = f"a false-positive rate of {rate:g}"
        return self.demand(rate, rate, 0.0, asked, f"{ALARMS}/{rate}", places)

    def demand(
        self,
        value: float,
        allowed: float,
        recall_min: float,
        asked: str,
        key: str,
        places: Mapping[str, int],
    ) -> Demand:
        """Return the figures of one demand, or why so few benign users can't tell."""
        needed = num_benign_needed(allowed, confidence=self.confidence)
        if needed > self.num_negatives:
            reason = (
                f"{asked} lets through {allowed:.2g} of the benign users at most, which takes "
                f"{needed:,} benign test users to see; there are {self.num_negatives:,}"
            )
            return Demand(value, allowed, needed, recall_min, reason, {}, {}, {}, {})
        found = {
            name: _reached(ladder.positive_RG, places[name])
            for name, ladder in self.ladders.items()
        }
        alarms = {
            name: _reached(ladder.negative_RG, places[name])
            for name, ladder in self.ladders.items()
        }
        recall, differences = self.estimates(key), self.differences(key)
        return Demand(value, allowed, needed, recall_min, None, recall, differences, found, alarms)

    def point(self, recall: float, name: str, method: str) -> CurvePoint:
        ladder = self.ladders[method]
        found_G = np.cumsum(ladder.positive_RG[0])
        place = int((found_G / found_G[-1] >= recall - RECALL_TOLERANCE).argmax())
        precision = self.estimates(f"{name}/precision/{recall}")[method]
        found, alarms = (_reached(part, place) for part in (ladder.positive_RG, ladder.negative_RG))
        return CurvePoint(recall, precision, found, alarms)

    def estimates(self, key: str) -> dict[str, Estimate]:
        """Return the figure by method; the lower end counts unseen users where that was asked."""
        found = {}
        for method, metrics in self.comparison.metrics.items():
            seen = metrics[key]
            low = metrics.get(f"{PESSIMIST}{key}", seen).low
            found[method] = Estimate(seen.value, low, seen.high)
        return found

    def differences(self, key: str) -> dict[str, Estimate]:
        return {method: metrics[key] for method, metrics in self.comparison.differences.items()}


def _last(good_G: Flags) -> int:
    """Return the last rung that is good, -1 where none is."""
    return int(np.flatnonzero(good_G).max(initial=-1))


def _reached(weight_RG: Floats, place: int) -> int:
    return int(weight_RG[0, : place + 1].sum())


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {name: estimate.to_dict() for name, estimate in estimates.items()}
