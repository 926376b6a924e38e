"""What an evaluation hands over: per task either figures with intervals, or why there are none."""

from dataclasses import dataclass, field

from embedder.evaluation.base_rates import OperatingFigures
from embedder.evaluation.bootstrap import Comparison
from embedder.evaluation.detection import Detection
from embedder.evaluation.policy_precision import PolicyPrecision
from embedder.evaluation.reliability import ReliabilityBin, ReliabilityGroup


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
        operating: Precision and recall at several base rates, for tasks with probabilities.
        by_activity: Reliability among the busy and the quiet, for the same.
        by_policy: What `likely` turned out to mean, for the same.
        detection: When violators are seen, for the task that follows users event by event.
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
    operating: OperatingFigures | None = None
    by_activity: tuple[ReliabilityGroup, ...] = ()
    by_policy: tuple[PolicyPrecision, ...] = ()
    detection: Detection | None = None
    refused: "TaskResult | None" = None

    def to_dict(self) -> dict[str, object]:
        """Return a JSON form."""
        bins = {name: [vars(item) for item in items] for name, items in self.reliability.items()}
        figures = Comparison({}, {}) if self.comparison is None else self.comparison
        return {
            "name": self.name,
            "title": self.title,
            "measured": self.why_not is None,
            "why_not": self.why_not,
            "counts": self.counts,
            **figures.to_dict(),
            "notes": list(self.notes),
            "reliability": bins,
            "reliability_by_activity": [group.to_dict() for group in self.by_activity],
            "likely_by_policy": [policy.to_dict() for policy in self.by_policy],
            "extra": self.extra,
            "refused": None if self.refused is None else self.refused.to_dict(),
            **({} if self.operating is None else self.operating.to_dict()),
            **({} if self.detection is None else self.detection.to_dict()),
        }


def not_measurable(name: str, title: str, reason: str, counts: dict[str, int]) -> TaskResult:
    """Return the result of a task that this workspace has too little for."""
    return TaskResult(name, title, f"not measurable here, because {reason}", counts)


def refuse(task: TaskResult, reason: str) -> TaskResult:
    """Return the task without its figures; they stay in `refused`, for whoever knows why."""
    if task.why_not is not None:
        return task
    return TaskResult(task.name, task.title, reason, task.counts, refused=task)
