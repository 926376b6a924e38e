"""The page of an evaluation: one HTML file with everything in it, nothing from the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from embedder.evaluation.bootstrap import Estimate
from embedder.evaluation.leak_checks import LeakAudit
from embedder.evaluation.results import TaskResult
from jobs.report.plots import plot_bars, plot_lines, plot_reliability

RISK_PREFIX = "risk_first_"
RETRIEVAL_METRICS = ("hit_at_1", "hit_at_10", "mrr", "purity")
RISK_METRICS = ("auc", "average_precision", "recall_at_95_precision", "calibration_error", "brier")


@dataclass(frozen=True)
class Section:
    """One task on the page: a table of figures and its plot."""

    task: TaskResult
    metrics: tuple[str, ...]
    plot: Markup | None


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
        loader=PackageLoader("jobs.report", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["interval"] = format_estimate
    return environment.get_template("evaluation.html.j2").render(
        title=title,
        facts=facts,
        sections=[_section(task) for task in tasks],
        early_detection=_early_detection(tasks),
        audit=audit,
    )


def format_estimate(estimate: Estimate) -> str:
    """Write a figure with its interval, as `.412 [.380, .447]`."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def is_risk(task: TaskResult) -> bool:
    """Say whether the task is about probabilities."""
    return task.name.startswith(RISK_PREFIX)


def _section(task: TaskResult) -> Section:
    metrics = RISK_METRICS if is_risk(task) else RETRIEVAL_METRICS
    if task.comparison is None:
        return Section(task, metrics, None)
    if is_risk(task):
        return Section(task, metrics, Markup(plot_reliability(task.reliability)))
    return Section(task, metrics, Markup(plot_bars(task.comparison, metrics)))


def _early_detection(tasks: Sequence[TaskResult]) -> Markup | None:
    """Draw the AUC over the number of first events, where it was measured at two at least."""
    measured = [task for task in tasks if is_risk(task) and task.comparison is not None]
    if len(measured) < 2:
        return None
    positions = [task.name.removeprefix(RISK_PREFIX) for task in measured]
    comparisons = [task.comparison for task in measured if task.comparison is not None]
    series = {
        method: [comparison.metrics[method]["auc"] for comparison in comparisons]
        for method in comparisons[0].metrics
    }
    return Markup(plot_lines(positions, series, "AUC"))
