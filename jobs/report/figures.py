"""Figures as text: estimates, recalls that few users can't tell, and what a terminal shows."""

from collections.abc import Sequence

from embedder.evaluation.base_rates import BaseRate, Demand
from embedder.evaluation.bootstrap import Estimate
from embedder.evaluation.detection import Threshold
from embedder.evaluation.policy_precision import PolicyPrecision
from embedder.evaluation.reliability import format_duration
from embedder.evaluation.results import TaskResult
from jobs.terminal import table

SHOWN_PRECISION_MAX = 0.95
HOUR_SECONDS = 3600
PROMISES = {
    "kept": "kept",
    "open": "too few to tell",
    "broken": "broken",
    "nobody": "nobody is likely",
}


def format_estimate(estimate: Estimate) -> str:
    """Write a figure with its interval, as `.412 [.380, .447]`."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def format_recall(demand: Demand, method: str) -> str:
    """Write a method's recall; where so few benign users can't tell it from none, as a bound."""
    estimate = demand.recall[method]
    if estimate.value < demand.recall_min:
        return f"below {demand.recall_min:.3f}"
    return format_estimate(estimate)


def format_share(share: float) -> str:
    """Write a share, as `0.1 %`."""
    return f"{100 * share:.3g} %"


def format_quartiles(estimates: Sequence[Estimate]) -> str:
    """Write a median with its quartiles, as `12 (3 to 40)`."""
    if len(estimates) != 3 or estimates[1].value != estimates[1].value:
        return "-"
    low, median, high = (f"{estimate.value:.3g}" for estimate in estimates)
    return f"{median} ({low} to {high})"


def format_lead(estimates: Sequence[Estimate]) -> str:
    """Write the median of a time in hours with its quartiles, as `5.0 h (12 min to 3.1 d)`."""
    if len(estimates) != 3 or estimates[1].value != estimates[1].value:
        return "-"
    low, median, high = (format_duration(HOUR_SECONDS * estimate.value) for estimate in estimates)
    return f"{median} ({low} to {high})"


def base_rate_lines(task: TaskResult) -> list[str]:
    """Return a line per base rate that is not the test users' own: the highest precision told."""
    rates = [] if task.operating is None else task.operating.base_rates
    return [_base_rate_line(rate) for rate in rates if not rate.is_natural]


def policy_lines(task: TaskResult) -> list[str]:
    """Return what `likely` meant as a small table, policy by policy; nothing for other tasks."""
    if not task.by_policy:
        return []
    header = ("likely under", "violators of the likely", "precision", "promised", "so far")
    rows = [
        [
            name_policy(policy),
            f"{policy.num_likely_positives:,} of {policy.num_likely:,}",
            "-" if policy.precision is None else format_estimate(policy.precision),
            f"{policy.promised:g}, proven on {policy.fitted_on}",
            PROMISES[policy.verdict],
        ]
        for policy in task.by_policy
    ]
    return table(header, rows)


def name_policy(policy: PolicyPrecision) -> str:
    """Return what people call the users of a policy."""
    if policy.is_total:
        return "all users"
    return "no policy" if policy.policy is None else policy.policy


def detection_lines(task: TaskResult) -> list[str]:
    """Return early detection as a small table; nothing for other tasks."""
    if task.detection is None:
        return []
    header = ("over", "violators", "benign users", "lead in events", "lead in time")
    rows = [
        _threshold_row(threshold)
        for threshold in task.detection.thresholds
        if threshold.why_not is None
    ]
    reasons = [
        f"{threshold.name}: not measurable, {threshold.why_not}"
        for threshold in task.detection.thresholds
        if threshold.why_not is not None
    ]
    return [*table(header, rows), "lead: median and quartiles among the detected", *reasons]


def _base_rate_line(rate: BaseRate) -> str:
    where = f"at a base rate of {format_share(rate.base_rate)}"
    told = [
        demand
        for demand in rate.demands
        if demand.why_not is None and demand.value <= SHOWN_PRECISION_MAX
    ]
    if not told:
        needed = min(demand.num_benign_needed for demand in rate.demands)
        return (
            f"{where}: not measurable; {needed:,} benign test users are needed, "
            f"there are {rate.num_negatives:,}"
        )
    best = max(told, key=lambda demand: demand.value)
    recalls = ", ".join(f"{method} {format_recall(best, method)}" for method in best.recall)
    beyond = "" if rate.demands[-1].why_not is None else "; higher precisions: not measurable"
    return f"{where}: recall at a precision of {best.value:g} {recalls}{beyond}"


def _threshold_row(threshold: Threshold) -> list[str]:
    last = threshold.curve[-1]
    return [
        threshold.name,
        f"{format_estimate(last.detected)} of {threshold.num_positives:,}",
        f"{format_estimate(last.alarmed)} of {threshold.num_benign:,}",
        format_quartiles(threshold.lead_events),
        format_lead(threshold.lead_hours),
    ]
