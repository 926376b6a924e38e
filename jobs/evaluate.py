"""`lookalike evaluate`: measure the encoder and the risk as of a past time, on what came after.

Nothing that is served is touched: the evaluated models are trained anew, in a scratch folder, from
what was known before a cut. A task that a workspace has too little for says so, and why.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from embedder.config import Preset
from embedder.embedder import Embedder
from embedder.evaluation.leak_checks import LeakAudit
from embedder.evaluation.results import TaskResult, refuse
from embedder.evaluation.split_leaks import note_length
from embedder.training import train
from index.errors import TooFewLabels
from index.risk.model import RiskModel
from jobs.assembled_risk import find_assembled_rings, fit_assembled_risk
from jobs.assembly import assemble
from jobs.leak_audit import audit_leaks, audit_lines
from jobs.measure import Trial, measure_group_task, measure_halves
from jobs.measure_detection import measure_early_detection
from jobs.measure_risk import measure_risk
from jobs.people import People, find_cut, open_people, read_people
from jobs.report.facts import command, machine, versions
from jobs.report.figures import base_rate_lines, detection_lines, format_estimate, policy_lines
from jobs.report.page import RETRIEVAL_METRICS, RISK_METRICS, is_risk, render_page
from jobs.settings import Settings
from jobs.terminal import Progress, table
from store.clock import from_us
from store.durable import make_writable, write_atomic
from store.engine import scratch_folder
from store.labels import LabelStore
from store.lake import EventLake
from store.workspace import Workspace

NUM_STEPS = 6


@dataclass(frozen=True)
class EvaluationReport:
    """All results, what speaks against them, and the circumstances in which they were had."""

    tasks: tuple[TaskResult, ...]
    audit: LeakAudit
    facts: dict[str, Any]
    json_file: str
    html_file: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        files = {"json_file": self.json_file, "html_file": self.html_file}
        tasks = [task.to_dict() for task in self.tasks]
        return {**self.facts, "audit": self.audit.to_dict(), "tasks": tasks, **files}

    @property
    def refused(self) -> tuple[str, ...]:
        """Names of the tasks whose figures the audit refuses."""
        return tuple(task.name for task in self.tasks if task.refused is not None)

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        lines = [line for task in self.tasks for line in [*task_lines(task), ""]]
        return ["leak audit", *audit_lines(self.audit), *lines, f"report {self.html_file}"]


def run(
    workspace: Workspace,
    settings: Settings,
    output: Path,
    *,
    preset: Preset,
    cut: datetime | None,
    now: datetime,
    progress: Progress,
) -> EvaluationReport:
    """Audit, train as of a cut, measure on what came after, write `report.json` and `report.html`.

    Args:
        workspace: Read only.
        settings: All sections; `[evaluate]` says what is measured.
        output: Folder of the two files; made if absent.
        preset: Size and length of the training.
        cut: Training sees nothing at or after it; chosen from the data if absent.
        now: What is known now is taken as true.
        progress: Shown to whoever waits.

    Raises:
        NothingToEvaluate: If there are no events before the cut or none after.
        FolderUnusable: If the folder can't be made or written to.
        embedder.errors.NotEnoughData: If there is too little to train on before the cut.
    """
    began = time.monotonic()
    lake, labels, people = open_people(workspace, settings, now=now)
    cut_us = find_cut(people, cut, settings.evaluate)
    make_writable(output)
    audit = audit_leaks(lake, labels, people, settings, cut_us=cut_us, progress=progress)
    with scratch_folder(workspace, prefix="evaluate-") as folder:
        trained = train(
            workspace,
            as_of=from_us(cut_us),
            preset=preset,
            seed=settings.evaluate.seed,
            config=settings.embedder,
            schema_config=settings.schema_,
            models_dir=folder,
            now=now,
            progress=progress,
        )
        embedder = Embedder.load(trained.model_dir)
    trial = Trial(lake, people, cut_us, embedder, settings.evaluate)
    tasks = _measure(workspace, trial, embedder, labels, settings, progress)
    facts = _facts(people, cut_us, settings, preset, now, began) | {"space_id": embedder.space_id}
    return _write(output, judge_tasks(tasks, audit), audit, facts)


def judge_tasks(tasks: Sequence[TaskResult], audit: LeakAudit) -> tuple[TaskResult, ...]:
    """Take the figures from tasks that a failed check is about; note lengths beside the rest."""
    judged = []
    for task in tasks:
        reason = audit.why_refused(task.name)
        judged.append(note_length(task, audit) if reason is None else refuse(task, reason))
    return tuple(judged)


def task_lines(task: TaskResult) -> list[str]:
    """Return a task's figures as a small table, or why there are none."""
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in task.counts.items())
    if task.why_not is not None:
        return [task.title, f"  {task.why_not}" + (f" ({counts})" if counts else "")]
    if task.comparison is None:
        return [task.title, f"  {counts}", *(f"  {line}" for line in detection_lines(task))]
    metrics = RISK_METRICS if is_risk(task) else RETRIEVAL_METRICS
    rows = [
        [method, *(format_estimate(figures[metric]) for metric in metrics)]
        for method, figures in task.comparison.metrics.items()
    ]
    figures = table(("method", *metrics), rows)
    shown = (*figures, *base_rate_lines(task), *policy_lines(task), *task.notes)
    return [task.title, f"  {counts}", *(f"  {line}" for line in shown)]


def _measure(
    workspace: Workspace,
    trial: Trial,
    embedder: Embedder,
    labels: LabelStore,
    settings: Settings,
    progress: Progress,
) -> tuple[TaskResult, ...]:
    cut = from_us(trial.cut_us)
    progress("evaluate", 0, NUM_STEPS)
    halves = measure_halves(trial)
    progress("evaluate", 2, NUM_STEPS)
    groups = measure_group_task(trial)
    progress("evaluate", 3, NUM_STEPS)
    at_cut = read_people(trial.lake, labels.as_of(cut), as_of=cut)
    risk = fit_trial_risk(workspace, trial.lake, at_cut, embedder, settings, progress)
    progress("evaluate", 4, NUM_STEPS)
    risks = measure_risk(trial, at_cut, risk, with_trees=True)
    progress("evaluate", 5, NUM_STEPS)
    detection = measure_early_detection(trial, at_cut, risk)
    progress("evaluate", NUM_STEPS, NUM_STEPS)
    return (*halves, groups, *risks, detection)


def fit_trial_risk(
    workspace: Workspace,
    lake: EventLake,
    at_cut: People,
    embedder: Embedder,
    settings: Settings,
    progress: Progress,
) -> RiskModel | TooFewLabels:
    """Fit the risk model as a build of the cut would have it, rings included."""
    with assemble(
        workspace,
        lake,
        embedder,
        at_cut.labels,
        as_of=at_cut.as_of,
        reusable=None,
        progress=progress,
    ) as assembly:
        return fit_assembled_risk(
            lake,
            at_cut.labels,
            embedder,
            assembly,
            find_assembled_rings(assembly, settings, progress),
            settings,
            as_of=at_cut.as_of,
            progress=progress,
        )


def _facts(
    people: People,
    cut_us: int,
    settings: Settings,
    preset: Preset,
    now: datetime,
    began: float,
) -> dict[str, Any]:
    early = people.first_us_N < cut_us
    return {
        "command": command(),
        "measured_at": now.isoformat(),
        "duration_seconds": round(time.monotonic() - began, 1),
        "seed": settings.evaluate.seed,
        "preset": preset,
        "cut": from_us(cut_us).isoformat(),
        "data": {
            "users": len(people.user_ids),
            "events": int(people.num_events_N.sum()),
            "first": from_us(int(people.first_us_N.min())).isoformat(),
            "last": from_us(int(people.last_us_N.max())).isoformat(),
            "users_first_seen_before_cut": int(early.sum()),
            "users_first_seen_after_cut": int((~early).sum()),
            "violators": int(people.is_violator_N.sum()),
            "benign": int((people.label_N == 0).sum()),
            "unlabelled": int((people.label_N < 0).sum()),
        },
        "machine": machine(),
        "versions": versions(),
        "config": settings.evaluate.model_dump(mode="json"),
    }


def _write(
    output: Path, tasks: Sequence[TaskResult], audit: LeakAudit, facts: dict[str, Any]
) -> EvaluationReport:
    output.mkdir(parents=True, exist_ok=True)
    json_file, html_file = output / "report.json", output / "report.html"
    report = EvaluationReport(tuple(tasks), audit, facts, str(json_file), str(html_file))
    page = render_page("Evaluation", facts, tasks, audit=audit)
    write_atomic(html_file, page.encode())
    write_atomic(
        json_file, json.dumps(report.to_dict(), indent=1, default=_plain, allow_nan=False).encode()
    )
    return report


def _plain(value: object) -> object:
    """Write NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} has no JSON form")
