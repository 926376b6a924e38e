"""Plots of an evaluation as SVG text, to stand inside a page; equal figures give equal text."""

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embedder.evaluation.bootstrap import Comparison, Estimate
from embedder.evaluation.reliability import ReliabilityBin

# Okabe and Ito's colors, told apart with any kind of sight.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


def plot_bars(comparison: Comparison, metrics: Sequence[str]) -> str:
    """Draw a group of bars per metric, a bar per method, with its interval."""
    with fixed_style():
        figure, axes = _canvas(width=7.2)
        methods = list(comparison.metrics)
        width = 0.8 / len(methods)
        for place, method in enumerate(methods):
            estimates = [comparison.metrics[method][metric] for metric in metrics]
            x = [number + place * width for number in range(len(metrics))]
            axes.bar(
                x,
                [estimate.value for estimate in estimates],
                width,
                label=method,
                color=COLORS[place % len(COLORS)],
                yerr=error_bars(estimates),
                capsize=2,
                error_kw={"elinewidth": 1},
            )
        axes.set_xticks([number + 0.4 - width / 2 for number in range(len(metrics))], metrics)
        axes.set_ylim(0, 1)
        return to_svg(figure, axes)


def plot_lines(
    positions: Sequence[str], series: Mapping[str, Sequence[Estimate]], label: str
) -> str:
    """Draw one line per method over the positions, with intervals; the early-detection curve."""
    with fixed_style():
        figure, axes = _canvas(width=5.4)
        for place, (method, estimates) in enumerate(series.items()):
            shifted = [number + 0.05 * place for number in range(len(positions))]
            axes.errorbar(
                shifted,
                [estimate.value for estimate in estimates],
                yerr=error_bars(estimates),
                marker="o",
                capsize=2,
                label=method,
                color=COLORS[place % len(COLORS)],
            )
        axes.set_xticks(range(len(positions)), positions)
        axes.set_xlabel("first events seen")
        axes.set_ylabel(label)
        return to_svg(figure, axes)


def plot_reliability(bins: Mapping[str, Sequence[ReliabilityBin]]) -> str:
    """Draw what happened over what was said; a calibrated method follows the diagonal."""
    with fixed_style():
        figure, axes = _canvas(width=4.4, height=3.8)
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--")
        for place, (method, items) in enumerate(bins.items()):
            axes.plot(
                [item.probability_mean for item in items],
                [item.positive_share for item in items],
                marker="o",
                markersize=4,
                label=method,
                color=COLORS[place % len(COLORS)],
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("probability, mean of a tenth of the users")
        axes.set_ylabel("share of violators")
        return to_svg(figure, axes)


def fixed_style() -> AbstractContextManager[None]:
    """Return a context in which equal plots are equal texts."""
    return mpl.rc_context({"svg.hashsalt": "lookalike", "svg.fonttype": "none"})


def style_axes(axes: Axes) -> None:
    """Give all plots one look."""
    axes.grid(visible=True, axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _canvas(*, width: float, height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    style_axes(axes)
    return figure, axes


def error_bars(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Return how far the interval reaches below and above; 0 where there is none."""
    below = [max(item.value - _or(item.low, item.value), 0.0) for item in estimates]
    above = [max(_or(item.high, item.value) - item.value, 0.0) for item in estimates]
    return [below, above]


def _or(bound: float | None, value: float) -> float:
    return value if bound is None else bound


def to_svg(figure: Figure, axes: Axes) -> str:
    """Return the figure, with the legend in one of its axes, to stand inside a page."""
    axes.legend(frameon=False, fontsize=8)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]  # the prologue does not belong inside a page
