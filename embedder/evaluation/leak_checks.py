"""What a leak audit hands over: one finding a check, and which figures it takes the ground from.

A check *fails* where a figure knew what the product will not know: the future, or how the sample
was drawn. It *warns* where a figure is honest and easily misread. One that has too little to look
at is `unknown`, never passed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from embedder.evaluation.bootstrap import Estimate

ALL_TASKS = ("",)
RISK_TASKS = ("risk_first_", "early_detection")
RETRIEVAL_TASKS = ("split_halves", "groups")
DETAILS_MAX = 12


class Verdict(StrEnum):
    """What a check says."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: Fixed name of the check.
        verdict: What it says.
        measures: What the figure is, for people.
        figure: The figure with its interval; None where there is none.
        threshold: From where on the verdict is another.
        remedy: What to do, if it did not pass.
        concerns: Beginnings of the names of the tasks whose figures it is about.
        counts: What was counted on the way.
        details: Sentences, worst first.
        rows: Figures of single fields or numbers of events, for programs.
    """

    name: str
    verdict: Verdict
    measures: str
    figure: Estimate | None
    threshold: str
    remedy: str
    concerns: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=dict)
    details: tuple[str, ...] = ()
    rows: tuple[dict[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "measures": self.measures,
            "figure": None if self.figure is None else self.figure.to_dict(),
            "threshold": self.threshold,
            "remedy": self.remedy,
            "concerns": ["all" if name == "" else name for name in self.concerns],
            "counts": self.counts,
            "details": list(self.details),
            "rows": list(self.rows),
        }


@dataclass(frozen=True)
class LeakAudit:
    """All findings, in the order of the checks."""

    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst one; what is unknown is no better than a warning."""
        found = {finding.verdict for finding in self.findings}
        if Verdict.FAIL in found:
            return Verdict.FAIL
        return Verdict.WARN if found - {Verdict.PASS} else Verdict.PASS

    def of(self, verdict: Verdict) -> tuple[Finding, ...]:
        """Return the findings of one verdict."""
        return tuple(finding for finding in self.findings if finding.verdict is verdict)

    def why_refused(self, task: str) -> str | None:
        """Return why a task's figures must not be shown; None where nothing speaks against it."""
        failed = [finding for finding in self.of(Verdict.FAIL) if task.startswith(finding.concerns)]
        if not failed:
            return None
        reasons = (f"{finding.name} ({first_detail(finding)})" for finding in failed)
        return f"refused, because the leak audit failed: {'; '.join(reasons)}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return {
            "verdict": self.verdict.value,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def unknown(name: str, measures: str, reason: str, concerns: tuple[str, ...]) -> Finding:
    """Return the finding of a check that has too little to look at."""
    remedy = "read the figures knowing that this was not checked"
    return Finding(
        name, Verdict.UNKNOWN, measures, None, "", remedy, concerns, details=(f"unknown: {reason}",)
    )


def first_detail(finding: Finding) -> str:
    """Return the worst thing that was found, in a sentence."""
    return finding.details[0] if finding.details else finding.measures


def percent(estimate: Estimate) -> str:
    """Write a share with its interval, as `80.2 % [79.4, 81.0]`."""
    if estimate.low is None or estimate.high is None:
        return f"{100 * estimate.value:.1f} %"
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:.1f} % [{low:.1f}, {high:.1f}]"


def at_most(details: Sequence[str]) -> tuple[str, ...]:
    """Return the first details, and how many more there are."""
    if len(details) <= DETAILS_MAX:
        return tuple(details)
    return (*details[:DETAILS_MAX], f"and {len(details) - DETAILS_MAX} more")
