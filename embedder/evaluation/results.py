"""What an evaluation hands over: per task either figures with intervals, or why there are none."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from embedder.evaluation.bootstrap import Comparison, Estimate
from embedder.evaluation.metrics import Flags, Floats, equal_mass_bins

RELIABILITY_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Users of similar probability, and how many of them were violators."""

    probability_mean: float
    positive_share: float
    num_users: int


@dataclass(frozen=True)
class TaskResult:
    """One task of an evaluation.

    Attributes:
        name: Fixed name, for programs.
        title: What was asked, for people.
        why_not: Why it is not measurable here; None where it was measured.
        counts: How many users, queries, positives and so on.
        comparison: The figures of all methods, the main one first.
        notes: What to know when reading the figures.
        reliability: Bins of equal mass by method, for tasks with probabilities.
        extra: Figures of one method only, such as the answered share.
        refused: What was measured and must not be shown, where the leak audit refused it.
    """

    name: str
    title: str
    why_not: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    comparison: Comparison | None = None
    notes: tuple[str, ...] = ()
    reliability: dict[str, tuple[ReliabilityBin, ...]] = field(default_factory=dict)
    extra: dict[str, float] = field(default_factory=dict)
    refused: "TaskResult | None" = None

    def to_dict(self) -> dict[str, object]:
        """Return a JSON form."""
        bins = {name: [vars(item) for item in items] for name, items in self.reliability.items()}
        return {
            "name": self.name,
            "title": self.title,
            "measured": self.comparison is not None,
            "why_not": self.why_not,
            "counts": self.counts,
            "metrics": _nested(self.comparison.metrics) if self.comparison else {},
            "differences": _nested(self.comparison.differences) if self.comparison else {},
            "notes": list(self.notes),
            "reliability": bins,
            "extra": self.extra,
            "refused": None if self.refused is None else self.refused.to_dict(),
        }


def not_measurable(name: str, title: str, reason: str, counts: dict[str, int]) -> TaskResult:
    """Return the result of a task that this workspace has too little for."""
    return TaskResult(name, title, f"not measurable here, because {reason}", counts)


def refuse(task: TaskResult, reason: str) -> TaskResult:
    """Return the task without its figures; they stay in `refused`, for whoever knows why."""
    if task.comparison is None:
        return task
    return TaskResult(task.name, task.title, reason, task.counts, refused=task)


def reliability_bins(probability_N: Floats, is_positive_N: Flags) -> tuple[ReliabilityBin, ...]:
    """Compare probabilities with what happened, in bins of equal mass."""
    bin_N = equal_mass_bins(probability_N, RELIABILITY_BINS)
    size_K = np.bincount(bin_N)
    mean_K = np.bincount(bin_N, probability_N) / size_K
    share_K = np.bincount(bin_N, is_positive_N.astype(np.float64)) / size_K
    rows = zip(mean_K.tolist(), share_K.tolist(), size_K.tolist(), strict=True)
    return tuple(ReliabilityBin(mean, share, size) for mean, share, size in rows)


def _nested(
    figures: Mapping[str, Mapping[str, Estimate]],
) -> dict[str, dict[str, dict[str, float | None]]]:
    return {
        method: {metric: estimate.to_dict() for metric, estimate in metrics.items()}
        for method, metrics in figures.items()
    }
