"""The page of an evaluation: one HTML file with everything in it, nothing from the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from embedder.evaluation.early_risk import ALL_EVENTS
from embedder.evaluation.leak_checks import LeakAudit
from embedder.evaluation.results import TaskResult
from jobs.report.figures import (
    PROMISES,
    format_estimate,
    format_lead,
    format_quartiles,
    format_recall,
    format_share,
    name_policy,
)
from jobs.report.plots import plot_bars, plot_lines, plot_reliability
from jobs.report.risk_plots import plot_detection, plot_precision_recall, plot_reliability_panels

RISK_PREFIX = "risk_first_"
RETRIEVAL_METRICS = ("hit_at_1", "hit_at_10", "mrr", "purity")
RISK_METRICS = ("auc", "average_precision", "recall_at_95_precision", "calibration_error", "brier")


@dataclass(frozen=True)
class Section:
    """One task on the page: a table of figures and its plots."""

    task: TaskResult
    metrics: tuple[str, ...]
    plot: Markup | None
    precision_recall: Markup | None = None
    detection: Markup | None = None


def render_page(
    title: str,
    facts: Mapping[str, Any],
    tasks: Sequence[TaskResult],
    *,
    audit: LeakAudit | None = None,
) -> str:
    """Return the page.

    Args:
        title: Headline.
        facts: Circumstances by name; a mapping is shown as a list of its entries.
        tasks: The results, shown in this order.
        audit: What the leak audit found, shown before them.
    """
    environment = Environment(
        loader=PackageLoader("jobs.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["interval"] = format_estimate
    environment.filters["recall"] = format_recall
    environment.filters["share"] = format_share
    environment.filters["quartiles"] = format_quartiles
    environment.filters["lead"] = format_lead
    environment.filters["policy_name"] = name_policy
    environment.filters["promise"] = PROMISES.__getitem__
    risks = [task for task in tasks if is_risk(task) and task.comparison is not None]
    return environment.get_template("evaluation.html.j2").render(
        title=title,
        facts=facts,
        sections=[_section(task) for task in tasks],
        audit=audit,
        over_events=_auc_over_events(risks),
        by_age=_reliability_by_age(risks),
        by_activity=_reliability_by_activity(risks),
    )


def is_risk(task: TaskResult) -> bool:
    """Say whether the task is about probabilities."""
    return task.name.startswith(RISK_PREFIX)


def _section(task: TaskResult) -> Section:
    metrics = RISK_METRICS if is_risk(task) else RETRIEVAL_METRICS
    if task.detection is not None:
        told = [item for item in task.detection.thresholds if item.why_not is None]
        return Section(task, metrics, None, detection=Markup(plot_detection(told)))
    if task.comparison is None:
        return Section(task, metrics, None)
    if task.operating is not None:
        curves = Markup(plot_precision_recall(task.operating.base_rates))
        return Section(task, metrics, Markup(plot_reliability(task.reliability)), curves)
    return Section(task, metrics, Markup(plot_bars(task.comparison, metrics)))


def _auc_over_events(risks: Sequence[TaskResult]) -> Markup | None:
    """Draw the AUC over the number of first events, where it was measured at two at least."""
    comparisons = [task.comparison for task in risks if task.comparison is not None]
    if len(comparisons) < 2:
        return None
    series = {
        method: [comparison.metrics[method]["auc"] for comparison in comparisons]
        for method in comparisons[0].metrics
    }
    return Markup(plot_lines([_events(task) for task in risks], series, "AUC"))


def _reliability_by_age(risks: Sequence[TaskResult]) -> Markup | None:
    """Draw the reliability of our risk at each number of first events."""
    panels = {_seen(task): dict(list(task.reliability.items())[:1]) for task in risks}
    return Markup(plot_reliability_panels(panels)) if panels else None


def _reliability_by_activity(risks: Sequence[TaskResult]) -> Markup | None:
    """Draw the same among the busy and the quiet."""
    panels = {
        _seen(task): {
            group.name: next(iter(group.bins.values())) for group in task.by_activity if group.bins
        }
        for task in risks
        if any(group.bins for group in task.by_activity)
    }
    return Markup(plot_reliability_panels(panels)) if panels else None


def _seen(task: TaskResult) -> str:
    events = _events(task)
    return "all events" if events == ALL_EVENTS else f"first {events} events"


def _events(task: TaskResult) -> str:
    return task.name.removeprefix(RISK_PREFIX)
