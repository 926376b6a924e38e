"""Risk of users at their first events, on users whom training could not know.

Training sees events and labels before a cut. Users first seen after it are tested, at their first
few events, never past the violation. What a label said at the end of the data is taken as true.

Shape key: `N` users, `R` test users who got an answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from embedder.evaluation.base_rates import measure_operating_figures
from embedder.evaluation.bootstrap import compare_classifiers
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.metrics import Flags, Floats, Int64s, area_under_roc, make_ladder
from embedder.evaluation.policy_precision import PolicyPrecision
from embedder.evaluation.reliability import reliability_bins, reliability_by_activity
from embedder.evaluation.results import TaskResult, not_measurable
from embedder.evaluation.sample import draw_rows

DAY_US = 86_400_000_000
ALL_EVENTS = "all"
UNKNOWN = -1


@dataclass(frozen=True)
class TimeSplit:
    """Who is tested, and how sure their labels are.

    Attributes:
        cut_us: Training sees nothing at or after this.
        test: Rows of labelled users first seen at or after the cut, ascending.
        is_positive_test: Whether they are violators, in the order of `test`.
        num_unlabelled: Users first seen after the cut who have no label, and are not tested.
        num_young_benign: Tested benign users so new that they may yet be caught.
    """

    cut_us: int
    test: Int64s
    is_positive_test: Flags
    num_unlabelled: int
    num_young_benign: int

    def counts(self) -> dict[str, int]:
        """Return the counts for a report."""
        return {
            "users": len(self.test),
            "positives": int(self.is_positive_test.sum()),
            "unlabelled_left_out": self.num_unlabelled,
            "young_benign": self.num_young_benign,
        }


def choose_cut(known_us: Int64s, config: EvaluationConfig) -> int | None:
    """Return the time by which the configured share of violators was known; None without any."""
    if not len(known_us):
        return None
    return int(np.quantile(known_us, config.cut_share, method="higher"))


def split_by_time(
    first_us_N: Int64s,
    label_N: Int64s,
    *,
    cut_us: int,
    end_us: int,
    config: EvaluationConfig,
    rng: np.random.Generator,
) -> TimeSplit:
    """Take the labelled users first seen from the cut on as test users.

    A sample is drawn of those with a label, lest a few labels among many users be drawn away.

    Args:
        first_us_N: First event of each user.
        label_N: 1, 0, or -1 where nothing is known.
        cut_us: The cut.
        end_us: When the data end.
        config: Says when a benign user is young, and how many are tested.
        rng: Draws a sample where there are too many.
    """
    is_late_N, is_known_N = first_us_N >= cut_us, label_N != UNKNOWN
    known = np.flatnonzero(is_late_N & is_known_N)
    test = draw_rows(known, size_max=config.max_users, rng=rng)
    num_unlabelled = int((is_late_N & ~is_known_N).sum())
    young_us = end_us - int(config.maturity_days * DAY_US)
    num_young = int(((label_N[test] == 0) & (first_us_N[test] >= young_us)).sum())
    return TimeSplit(cut_us, test, label_N[test] == 1, num_unlabelled, num_young)


def risk_name(prefix: int | None) -> str:
    """Return the fixed name of the task at this many first events, None for all."""
    return f"risk_first_{ALL_EVENTS if prefix is None else prefix}"


def risk_title(prefix: int | None) -> str:
    """Return what the task asks, for people."""
    events = "all events before the violation" if prefix is None else f"the first {prefix} events"
    return f"Risk of users first seen after the cut, from {events}"


def why_no_split(split: TimeSplit, config: EvaluationConfig) -> str | None:
    """Return why the test users do not suffice, or None where they do."""
    positives = int(split.is_positive_test.sum())
    negatives = len(split.test) - positives
    if positives < config.min_positives:
        return (
            f"only {positives} violators were first seen after the cut; "
            f"{config.min_positives} are needed"
        )
    if negatives < config.min_positives:
        return (
            f"only {negatives} benign users were first seen after the cut; "
            f"{config.min_positives} are needed"
        )
    return None


def measure_early_risk(
    prefix: int | None,
    split: TimeSplit,
    probabilities: Mapping[str, Floats],
    answered: Flags,
    *,
    config: EvaluationConfig,
    seconds_between: Floats | None = None,
    by_policy: tuple[PolicyPrecision, ...] = (),
    notes: tuple[str, ...] = (),
) -> TaskResult:
    """Compare the probabilities that several methods gave to the test users.

    Args:
        prefix: How many first events the methods saw, None for all.
        split: The test users.
        probabilities: By method, in the order of `split.test`; the main one first.
        answered: Whom the main method gave an answer; all methods are measured on these.
        config: Says how often to resample, and at which base rates, precisions and so on.
        seconds_between: Mean time from one event seen to the next, of each test user; tells the
            busy from the quiet.
        by_policy: Passed on to the result.
        notes: Passed on to the result.
    """
    name, title = risk_name(prefix), risk_title(prefix)
    once = np.ones((1, len(answered)))
    is_positive_R = split.is_positive_test[answered]
    counts = split.counts() | {
        "answered": int(answered.sum()),
        "answered_positives": int(is_positive_R.sum()),
    }
    smaller = min(int(is_positive_R.sum()), int((~is_positive_R).sum()))
    if smaller < config.min_positives:
        reason = f"only {smaller} test users of one class got an answer"
        return not_measurable(name, title, f"{reason}; {config.min_positives} are needed", counts)
    given = {method: values[answered] for method, values in probabilities.items()}
    of_all = {
        method: float(area_under_roc(make_ladder(values, split.is_positive_test, once))[0])
        for method, values in probabilities.items()
        if np.isfinite(values).all()
    }
    listed = ", ".join(f"{method} {figure:.3f}" for method, figure in of_all.items())
    return TaskResult(
        name,
        title,
        counts=counts,
        comparison=compare_classifiers(given, is_positive_R, config),
        notes=(*notes, f"AUC with those who got no answer: {listed}") if listed else notes,
        reliability={key: reliability_bins(values, is_positive_R) for key, values in given.items()},
        extra={
            "answered_share": float(answered.mean()),
            **{f"auc_with_unanswered.{method}": figure for method, figure in of_all.items()},
        },
        operating=measure_operating_figures(given, is_positive_R, config),
        by_activity=()
        if seconds_between is None
        else reliability_by_activity(given, is_positive_R, seconds_between[answered], config),
        by_policy=by_policy,
    )
