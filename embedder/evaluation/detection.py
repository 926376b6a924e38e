"""Early detection: when the risk of a violator first crosses a threshold, looked at event by event.

A user who is looked at again and again has many chances to be called risky. So both classes are
counted by users: a violator is detected at the first look over the threshold, and a benign user is
a false alarm if any look is over it.

Shape key: `N` users, `A` looks, `P` violators, `R` resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from embedder.evaluation.base_rates import num_benign_needed, precision_at
from embedder.evaluation.bootstrap import Draw, Estimate, Metrics, compare
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.metrics import Flags, Floats, Int64s, weighted_mean, weighted_quantile
from embedder.evaluation.reliability import exact_share

LIKELY = "likely"
EVERY_EVENT_UNTIL, LOOKS_PER_TENFOLD = 20, 10
QUARTILES = (0.25, 0.5, 0.75)
NEVER = -1
HOUR_US = 3.6e9
UNKNOWN_END = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Looks:
    """What was said of N users at A looks; a user's last look is at the whole life.

    Attributes:
        age_A: Events seen at each look, ascending; a user who has fewer shows all of them, once.
        num_events_N: Events of each user before the violation.
        probability_NA: NaN where there was no look, or no answer.
        is_likely_NA: Whether the band was `likely`.
        seen_us_NA: Time of the last event seen.
    """

    age_A: Int64s
    num_events_N: Int64s
    probability_NA: Floats
    is_likely_NA: Flags
    seen_us_NA: Int64s

    @property
    def num_looks(self) -> int:
        """Looks that got an answer."""
        return int(np.isfinite(self.probability_NA).sum())


@dataclass(frozen=True)
class Step:
    """Who was over the threshold by the k-th event, and who is at this very look.

    Attributes:
        num_events: k.
        detected, num_detected: Violators who were over it at this look or before, of all.
        alarmed, num_alarmed: Benign users likewise.
        num_positives_alive, num_benign_alive: Who has so many events.
        num_positives_over, num_benign_over: Who of these is over it at this look: where the risk is
            too dark at one number of events, this tells, and the ever-growing shares do not.
    """

    num_events: int
    detected: Estimate
    num_detected: int
    alarmed: Estimate
    num_alarmed: int
    num_positives_alive: int
    num_positives_over: int
    num_benign_alive: int
    num_benign_over: int


@dataclass(frozen=True)
class Threshold:
    """Early detection at one threshold.

    Attributes:
        name: The band, or the share of benign users who may ever cross.
        probability: From where on a look is over the threshold; None for the band.
        why_not: Why there is no such threshold; None where there is.
        num_positives, num_detected: Violators, and those who ever crossed.
        num_benign, num_alarmed: The benign users counted here, and those who ever crossed. A
            threshold that was chosen on some benign users is counted on the others.
        curve: By number of events.
        lead_events, lead_hours: First, second and third quartile, among the detected, of what
            came between the crossing and the violation.
        num_lead_hours: The detected whose violation has a time.
        precision: Share of violators among all who ever cross, by base rate.
    """

    name: str
    probability: float | None
    why_not: str | None
    num_positives: int = 0
    num_detected: int = 0
    num_benign: int = 0
    num_alarmed: int = 0
    curve: tuple[Step, ...] = ()
    lead_events: tuple[Estimate, ...] = ()
    lead_hours: tuple[Estimate, ...] = ()
    num_lead_hours: int = 0
    precision: Mapping[str, Estimate] | None = None

    def to_dict(self) -> dict[str, object]:
        """Return a JSON form."""
        return {
            **vars(self),
            "curve": [
                {
                    **vars(step),
                    "detected": step.detected.to_dict(),
                    "alarmed": step.alarmed.to_dict(),
                }
                for step in self.curve
            ],
            "lead_events": _quartiles(self.lead_events),
            "lead_hours": _quartiles(self.lead_hours),
            "precision": {
                rate: estimate.to_dict() for rate, estimate in (self.precision or {}).items()
            },
        }


@dataclass(frozen=True)
class Detection:
    """Early detection at several thresholds, on the same users."""

    thresholds: tuple[Threshold, ...]

    def to_dict(self) -> dict[str, object]:
        """Return a JSON form."""
        return {"early_detection": [threshold.to_dict() for threshold in self.thresholds]}


def look_ages(num_events_max: int) -> Int64s:
    """Return after how many events to look: after each at first, then at a steady ratio."""
    last = max(num_events_max, 1)
    early = np.arange(1, min(EVERY_EVENT_UNTIL, last) + 1)
    num_late = int(np.ceil(np.log10(last / EVERY_EVENT_UNTIL) * LOOKS_PER_TENFOLD))
    if num_late <= 0:
        return early
    late = np.geomspace(EVERY_EVENT_UNTIL, last, num_late + 1)[1:]
    return np.unique(np.append(early, np.rint(late))).astype(np.int64)


def measure_detection(
    looks: Looks,
    is_positive_N: Flags,
    ended_us_N: Int64s,
    config: EvaluationConfig,
    rng: np.random.Generator,
) -> Detection:
    """Measure at the band `likely`, and where a share of the benign users may ever cross.

    Args:
        looks: What was said of the users.
        is_positive_N: Whether they are violators.
        ended_us_N: Time of the violation, `UNKNOWN_END` where it has none.
        config: Shares, base rates, bootstrap.
        rng: Draws the half of the benign users on which thresholds are chosen.
    """
    benign = np.flatnonzero(~is_positive_N)
    choosing = np.zeros(len(is_positive_N), dtype=np.bool_)
    choosing[rng.permutation(benign)[: len(benign) // 2]] = True
    highest_N = np.nan_to_num(looks.probability_NA, nan=-np.inf).max(axis=1)
    everyone = np.ones(len(is_positive_N), dtype=np.bool_)
    case = _Case(looks, is_positive_N, ended_us_N, config)
    found = [case.threshold(LIKELY, None, looks.is_likely_NA, everyone)]
    for share in config.false_positive_rates:
        name = f"{100 * share:g} % of benign users"
        needed = num_benign_needed(share, confidence=config.confidence)
        if needed > choosing.sum():
            reason = (
                f"choosing it takes {needed:,} benign users, and as many to count on; "
                f"there are {len(benign):,} in all"
            )
            found.append(Threshold(name, None, reason))
            continue
        probability = choose_threshold(highest_N[choosing], share)
        if not np.isfinite(probability):
            reason = f"not even {name} ever got an answer"
            found.append(Threshold(name, None, reason))
            continue
        over_NA = np.nan_to_num(looks.probability_NA, nan=-np.inf) > probability
        found.append(case.threshold(name, probability, over_NA, ~choosing))
    return Detection(tuple(found))


def choose_threshold(highest_N: Floats, share: float) -> float:
    """Return the least value that at most a share of the users ever exceed."""
    return float(np.sort(highest_N)[::-1][int(share * len(highest_N))])


def first_look(over_NA: Flags) -> Int64s:
    """Return the first look over the threshold, `NEVER` without any."""
    return np.where(over_NA.any(axis=1), over_NA.argmax(axis=1), NEVER).astype(np.int64)


@dataclass(frozen=True)
class _Case:
    """The users and what was said of them, to be counted threshold by threshold."""

    looks: Looks
    is_positive_N: Flags
    ended_us_N: Int64s
    config: EvaluationConfig

    def threshold(
        self, name: str, probability: float | None, over_NA: Flags, counted_N: Flags
    ) -> Threshold:
        """Count crossings of the violators, and of the benign users who are counted."""
        looks, is_positive_N = self.looks, self.is_positive_N
        is_benign_N = ~is_positive_N & counted_N
        look_N = first_look(over_NA)
        over_N = look_N != NEVER
        seen_N = np.minimum(looks.age_A[np.maximum(look_N, 0)], looks.num_events_N)
        timed_N = over_N & is_positive_N & (self.ended_us_N != UNKNOWN_END)
        at_us_N = np.take_along_axis(looks.seen_us_NA, np.maximum(look_N, 0)[:, None], axis=1)[:, 0]
        leads = {
            "lead_events": (
                over_N & is_positive_N,
                (looks.num_events_N - seen_N).astype(np.float64),
            ),
            "lead_hours": (timed_N, (self.ended_us_N - at_us_N) / HOUR_US),
        }
        measure = _metrics_of(over_N, is_positive_N, is_benign_N, leads, self._base_rates())
        figures = compare({name: measure}, num_users=len(look_N), config=self.config).metrics[name]
        return Threshold(
            name,
            probability,
            None,
            int(is_positive_N.sum()),
            int((over_N & is_positive_N).sum()),
            int(is_benign_N.sum()),
            int((over_N & is_benign_N).sum()),
            tuple(
                self._step(age, over_N & (seen_N <= age), over_NA[:, place], is_benign_N)
                for place, age in enumerate(looks.age_A.tolist())
            ),
            tuple(figures[f"lead_events/{share}"] for share in QUARTILES),
            tuple(figures[f"lead_hours/{share}"] for share in QUARTILES),
            int(timed_N.sum()),
            {rate: _precision(figures, rate) for rate in self._base_rates()},
        )

    def _base_rates(self) -> dict[str, float]:
        natural = float(self.is_positive_N.mean())
        return {f"{rate:.3g}": rate for rate in (natural, *self.config.base_rates)}

    def _step(self, age: int, crossed_N: Flags, over_N: Flags, is_benign_N: Flags) -> Step:
        alive_N = self.looks.num_events_N >= age
        num_detected = int((crossed_N & self.is_positive_N).sum())
        num_alarmed = int((crossed_N & is_benign_N).sum())
        return Step(
            age,
            self._share(num_detected, int(self.is_positive_N.sum())),
            num_detected,
            self._share(num_alarmed, int(is_benign_N.sum())),
            num_alarmed,
            int((alive_N & self.is_positive_N).sum()),
            int((alive_N & over_N & self.is_positive_N).sum()),
            int((alive_N & is_benign_N).sum()),
            int((alive_N & over_N & is_benign_N).sum()),
        )

    def _share(self, hits: int, count: int) -> Estimate:
        return exact_share(hits, count, confidence=self.config.confidence)


def _metrics_of(
    over_N: Flags,
    is_positive_N: Flags,
    is_benign_N: Flags,
    leads: Mapping[str, tuple[Flags, Floats]],
    base_rates: Mapping[str, float],
) -> Metrics:
    def measure(draw: Draw) -> dict[str, Floats]:
        positive_RP = draw.weight_RN[:, is_positive_N]
        benign_RB = draw.weight_RN[:, is_benign_N]
        figures = {}
        for name, (inside_N, value_N) in leads.items():
            for share in QUARTILES:
                figures[f"{name}/{share}"] = weighted_quantile(
                    value_N[inside_N], draw.weight_RN[:, inside_N], share=share
                )
        detected_R = weighted_mean(over_N[is_positive_N].astype(np.float64), positive_RP)
        alarmed_R = weighted_mean(over_N[is_benign_N].astype(np.float64), benign_RB)
        counted_R = benign_RB.sum(axis=1)
        pessimist_R = (alarmed_R * counted_R + draw.unseen_R) / (counted_R + draw.unseen_R)
        for text, rate in base_rates.items():
            figures[f"precision/{text}"] = precision_at(rate, detected_R, alarmed_R)
            figures[f"pessimist/{text}"] = precision_at(rate, detected_R, pessimist_R)
        return figures

    return measure


def _precision(figures: Mapping[str, Estimate], rate: str) -> Estimate:
    """Return the precision, whose lower end counts benign users whom nobody has seen."""
    seen = figures[f"precision/{rate}"]
    return Estimate(seen.value, figures[f"pessimist/{rate}"].low, seen.high)


def _quartiles(estimates: tuple[Estimate, ...]) -> dict[str, object]:
    names = ("lower_quartile", "median", "upper_quartile")
    return {name: item.to_dict() for name, item in zip(names, estimates, strict=False)}
