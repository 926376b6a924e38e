"""The frontier of a data set as a picture: recall against queries per second, one line a method."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.ann.figures import KS, RECALL_TARGET
from benchmarks.ann.rows import WHY_NOT

Facts = Mapping[str, Any]

MISSED_MIN = 1e-4  # recall that is nearer to 1 is drawn here
MARKERS = "osD^v<>phX*P"
COLORS = 10


def frontier_svg(result: Facts) -> bytes:
    """Return a picture of the frontiers for both numbers of neighbors; equal results, equal bytes.

    The share of neighbors missed is on a logarithmic axis, for that is what one pays for; all
    recalls above .9999 are drawn there. Lines join the settings that no other of the method beats;
    settings where queries failed are hollow.
    """
    with mpl.rc_context({"svg.hashsalt": "lookalike", "svg.fonttype": "none"}):
        figure = Figure(figsize=(11, 5), layout="constrained")
        axes = figure.subplots(1, len(KS), sharey=True)
        for axis, k in zip(axes, KS, strict=True):
            for number, method in enumerate(result["methods"]):
                _draw(axis, method["name"], number, method["frontier"][str(k)])
            axis.set(xscale="log", yscale="log", xlabel=f"recall@{k}", title=f"{k} neighbors")
            axis.invert_xaxis()
            axis.axvline(1 - RECALL_TARGET, color="grey", linewidth=0.8, linestyle=":")
            axis.xaxis.set_major_formatter(FuncFormatter(lambda missed, _: f"{1 - missed:.4g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.yaxis.set_major_formatter(FuncFormatter(lambda speed, _: f"{speed:,.0f}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.grid(alpha=0.3, which="both", linewidth=0.4)
        axes[0].set_ylabel("queries per second, one thread")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=8)
        figure.suptitle(result["data"])
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()


def pareto(points: Sequence[Facts]) -> list[Facts]:
    """Return the settings that none beats in both recall and speed, the best recall first."""
    best: list[Facts] = []
    for point in sorted(points, key=lambda one: (-one["recall"], -one["qps"]["median"])):
        if not best or point["qps"]["median"] > best[-1]["qps"]["median"]:
            best.append(point)
    return best


def _draw(axis: Any, name: str, number: int, points: Sequence[Facts]) -> None:
    found = [point for point in points if WHY_NOT not in point]
    if not found:
        return
    style = {"color": f"C{number % COLORS}", "marker": MARKERS[number % len(MARKERS)]}
    width = 2.4 if name.startswith("ours") else 1.0
    axis.plot(*_places(pareto(found)), linewidth=width, markersize=5, label=name, **style)
    axis.plot(*_places(found), linestyle="none", markersize=5, alpha=0.3, **style)
    failing = [point for point in found if point["failed"] > 0]
    axis.plot(*_places(failing), linestyle="none", markersize=5, markerfacecolor="white", **style)


def _places(points: Sequence[Facts]) -> tuple[list[float], list[float]]:
    missed = [max(1 - point["recall"], MISSED_MIN) for point in points]
    return missed, [point["qps"]["median"] for point in points]
