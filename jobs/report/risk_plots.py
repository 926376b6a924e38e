"""Plots of risk as SVG text: precision over recall, reliability by kind, early detection."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embedder.evaluation.base_rates import RECALLS, BaseRate, CurvePoint
from embedder.evaluation.bootstrap import Estimate
from embedder.evaluation.detection import Threshold
from embedder.evaluation.reliability import ReliabilityBin
from jobs.report.plots import COLORS, error_bars, fixed_style, style_axes, to_svg

PANEL = 2.7  # inches


def plot_precision_recall(rates: Sequence[BaseRate]) -> str:
    """Draw precision over recall, a panel per base rate, and what so few benign users can prove."""
    with fixed_style():
        figure, panels = _panels(len(rates))
        for axes, rate in zip(panels, rates, strict=True):
            for place, (method, points) in enumerate(rate.curve.items()):
                _curve(axes, points, method, COLORS[place % len(COLORS)])
            axes.plot(
                RECALLS,
                rate.provable,
                color="#666666",
                linestyle="--",
                linewidth=1,
                label="provable",
            )
            natural = " (test users)" if rate.is_natural else ""
            axes.set_title(f"{100 * rate.base_rate:.3g} % violators{natural}", fontsize=9)
            axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall")
        panels[0].set_ylabel("precision")
        return to_svg(figure, panels[0])


def plot_reliability_panels(
    panels_by_name: Mapping[str, Mapping[str, Sequence[ReliabilityBin]]],
) -> str:
    """Draw what happened over what was said, with exact intervals: a panel and a line per kind."""
    with fixed_style():
        figure, panels = _panels(len(panels_by_name))
        for axes, (title, lines) in zip(panels, panels_by_name.items(), strict=True):
            axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--")
            for place, (name, bins) in enumerate(lines.items()):
                share = [Estimate(item.positive_share, item.low, item.high) for item in bins]
                axes.errorbar(
                    [item.probability_mean for item in bins],
                    [item.value for item in share],
                    yerr=error_bars(share),
                    marker="o",
                    markersize=3,
                    linewidth=1,
                    elinewidth=0.6,
                    label=name,
                    color=COLORS[place % len(COLORS)],
                )
            axes.set_title(title, fontsize=9)
            axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability")
        panels[0].set_ylabel("share of violators")
        return to_svg(figure, panels[0])


def plot_detection(thresholds: Sequence[Threshold]) -> str:
    """Draw who was over a threshold by the k-th event: violators left, benign users right."""
    with fixed_style():
        figure = Figure(figsize=(2 * 4.2, 3.4), layout="constrained")
        violators, benign = figure.subplots(1, 2)
        for place, threshold in enumerate(thresholds):
            color = COLORS[place % len(COLORS)]
            events = [step.num_events for step in threshold.curve]
            for axes, estimates in (
                (violators, [step.detected for step in threshold.curve]),
                (benign, [step.alarmed for step in threshold.curve]),
            ):
                _band(axes, events, estimates, threshold.name, color)
        for axes, label in (
            (violators, "violators ever over it"),
            (benign, "benign users ever over it"),
        ):
            style_axes(axes)
            axes.set_xscale("log")
            axes.set_ylim(bottom=0)
            axes.set(xlabel="events seen", ylabel=f"share of {label}")
        violators.set_ylim(0, 1)
        return to_svg(figure, violators)


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(PANEL * count + 0.4, PANEL + 0.5), layout="constrained")
    panels = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in panels:
        style_axes(axes)
    return figure, panels


def _curve(axes: Axes, points: Sequence[CurvePoint], method: str, color: str) -> None:
    _band(
        axes,
        [point.recall for point in points],
        [point.precision for point in points],
        method,
        color,
    )


def _band(
    axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], label: str, color: str
) -> None:
    """Draw a line with its interval as a shade."""
    below, above = error_bars(estimates)
    value = [item.value for item in estimates]
    axes.plot(x, value, color=color, linewidth=1.5, label=label)
    axes.fill_between(
        x,
        [at - reach for at, reach in zip(value, below, strict=True)],
        [at + reach for at, reach in zip(value, above, strict=True)],
        color=color,
        alpha=0.15,
        linewidth=0,
    )
