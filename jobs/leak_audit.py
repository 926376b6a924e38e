"""`lookalike audit`: does what an evaluation reads know what the product will not know?

The checks look at what training and evaluation read, by the same functions and seeds, and at the
labels as they were written. An evaluation runs them first.

Shape key: `N` users, `R` test users.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedder.audit import audit_fields
from embedder.evaluation.column_leaks import judge_identity, judge_leak_columns
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.early_risk import UNKNOWN, TimeSplit, split_by_time
from embedder.evaluation.label_leaks import LABEL_FIELDS, MEASURES, judge_label_fields
from embedder.evaluation.leak_checks import (
    RISK_TASKS,
    Finding,
    LeakAudit,
    Verdict,
    unknown,
)
from embedder.evaluation.sample import draw_rows
from embedder.evaluation.split_leaks import judge_length, judge_maturity, judge_persons
from embedder.evaluation.time_leaks import (
    ReadEvents,
    count_after,
    judge_events,
    judge_labels,
    judge_times,
    violated_times,
)
from embedder.training_data import Gathered, gather
from jobs.people import (
    EVENTS_PER_BATCH,
    FROM_THE_START,
    People,
    find_cut,
    open_people,
    read_sequences,
)
from jobs.report.figures import format_estimate
from jobs.report.page import render_page
from jobs.settings import Settings
from jobs.terminal import Progress, table
from store.clock import from_us, to_us
from store.durable import make_writable, write_atomic
from store.labels import VIOLATOR, LabelStore, LabelView
from store.lake import EventLake
from store.roles import infer_schema
from store.schema import EventSchema
from store.sequences import Int64s, SequenceBatch
from store.workspace import Workspace

NUM_STEPS = 4


@dataclass(frozen=True)
class AuditReport:
    """The findings, and where they were written."""

    audit: LeakAudit
    facts: dict[str, Any]
    files: dict[str, str]

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(finding.name for finding in self.audit.of(Verdict.FAIL))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return {**self.facts, **self.audit.to_dict(), **self.files}

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        facts = self.facts
        head = f"{facts['users']:,} users, {facts['labelled']:,} labelled; cut {facts['cut']}"
        files = [f"report {self.files['html_file']}"] if self.files else []
        return [head, "", *audit_lines(self.audit), *files]


@dataclass(frozen=True)
class Read:
    """What training and evaluation read of a workspace.

    Attributes:
        schema: Roles of the columns, as training infers them.
        taught: Labels in force at the cut.
        gathered: What training holds in memory.
        batch: Test users, and a sample of the labelled ones where there are too many.
        rows: Their places among the people.
        split: The test users.
    """

    schema: EventSchema
    taught: LabelView
    gathered: Gathered
    batch: SequenceBatch | None
    rows: Int64s
    split: TimeSplit


def run(
    workspace: Workspace,
    settings: Settings,
    output: Path | None,
    *,
    cut: datetime | None,
    now: datetime,
    progress: Progress,
) -> AuditReport:
    """Audit a workspace; with an output folder, write `audit.json` and `audit.html`.

    Args:
        workspace: Read only.
        settings: All sections; `[evaluate]` says what is measured and acknowledged.
        output: Folder of the two files; made if absent.
        cut: Training would see nothing at or after it; chosen from the data if absent.
        now: What is known now is taken as true.
        progress: Shown to whoever waits.

    Raises:
        NothingToEvaluate: If there are no events before the cut.
        FolderUnusable: If the folder can't be made or written to.
        embedder.errors.NotEnoughData: If there is too little to train on before the cut.
    """
    lake, labels, people = open_people(workspace, settings, now=now)
    cut_us = find_cut(people, cut, settings.evaluate)
    if output is not None:
        make_writable(output)
    audit = audit_leaks(lake, labels, people, settings, cut_us=cut_us, progress=progress)
    facts = {
        "audited_at": now.isoformat(),
        "cut": from_us(cut_us).isoformat(),
        "users": len(people.user_ids),
        "labelled": int((people.label_N != UNKNOWN).sum()),
        "config": settings.evaluate.model_dump(mode="json"),
    }
    files = {} if output is None else _write(output, audit, facts)
    return AuditReport(audit, facts, files)


def audit_leaks(
    lake: EventLake,
    labels: LabelStore,
    people: People,
    settings: Settings,
    *,
    cut_us: int,
    progress: Progress,
) -> LeakAudit:
    """Run every check on what a training at the cut and an evaluation of today read.

    Args:
        lake: All events.
        labels: All labels.
        people: The users, with all that is known about them today.
        settings: All sections.
        cut_us: The cut.
        progress: Shown to whoever waits.
    """
    config, history = settings.evaluate, labels.history()
    progress("audit", 0, NUM_STEPS)
    read = read_all(lake, labels, people, settings, cut_us=cut_us)
    progress("audit", 1, NUM_STEPS)
    violated = violated_times(history, to_us(people.as_of))
    events = count_events(lake, people, read, violated, violated_times(history, cut_us))
    progress("audit", 2, NUM_STEPS)
    findings = [
        judge_events(events, confidence=config.confidence),
        judge_labels(learned_labels(read), history, cut_us=cut_us),
        judge_times(history, confidence=config.confidence),
        judge_leak_columns(columns_read(read), lake.withheld_columns()),
        _judge_identity(read, settings),
        _judge_label_fields(people, read, config),
    ]
    progress("audit", 3, NUM_STEPS)
    findings += _judge_split(people, read.split, config)
    progress("audit", NUM_STEPS, NUM_STEPS)
    return LeakAudit(tuple(findings))


def audit_lines(audit: LeakAudit) -> list[str]:
    """Return the findings as a table, and what to know and to do where a check did not pass."""
    rows = [
        [
            finding.name,
            finding.verdict.value,
            "-" if finding.figure is None else format_estimate(finding.figure),
            finding.threshold,
        ]
        for finding in audit.findings
    ]
    lines = [*table(("check", "verdict", "figure", "threshold"), rows), ""]
    for finding in audit.of(Verdict.PASS):
        lines += [f"pass {finding.name}: {detail}" for detail in finding.details[:1]]
    lines.append("")
    for verdict in (Verdict.FAIL, Verdict.WARN, Verdict.UNKNOWN):
        for finding in audit.of(verdict):
            lines.append(f"{finding.verdict.value} {finding.name}: {finding.measures}")
            lines += [f"  {detail}" for detail in finding.details]
            lines += [f"  what to do: {finding.remedy}", ""]
    return lines


def read_all(
    lake: EventLake, labels: LabelStore, people: People, settings: Settings, *, cut_us: int
) -> Read:
    """Read what training at the cut and evaluation today read, with the same functions and seeds.

    Raises:
        embedder.errors.NotEnoughData: If there is too little to train on before the cut.
    """
    config, cut = settings.evaluate, from_us(cut_us)
    taught = labels.as_of(cut)
    schema = infer_schema(lake, as_of=cut, config=settings.schema_, cutoffs=taught.cutoffs())
    columns = [column.name for column in schema.columns]
    gathered = gather(
        lake,
        taught,
        as_of=cut,
        config=settings.embedder,
        columns=columns,
        seed=config.seed,
    )
    split = split_by_time(
        people.first_us_N,
        people.label_N,
        cut_us=cut_us,
        end_us=int(people.last_us_N.max(initial=cut_us)),
        config=config,
        rng=np.random.default_rng([config.seed, 3]),  # draws the users whom an evaluation draws
    )
    rng = np.random.default_rng([config.seed, 5])
    labelled = np.flatnonzero(people.label_N != UNKNOWN)
    rows = np.union1d(split.test, draw_rows(labelled, size_max=config.max_users, rng=rng))
    batch = read_sequences(lake, people, rows, columns=columns, max_events=config.max_events)
    return Read(schema, taught, gathered, batch, rows, split)


def count_events(
    lake: EventLake, people: People, read: Read, violated: pa.Table, violated_at_cut: pa.Table
) -> ReadEvents:
    """Count the events at or after a violation: those that were read, and those in the lake."""
    taught = read.gathered.batch
    num_late = int(count_after(taught, violated_at_cut).sum())
    num_unknowable = int(count_after(taught, violated).sum()) - num_late
    num_read = len(taught.ts_us)
    if read.batch is not None:
        num_late += int(count_after(read.batch, violated).sum())
        num_read += len(read.batch.ts_us)
    late, everything = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for batch in _whole_lives(lake, people, violated):
        late.append(count_after(batch, violated))
        everything.append(batch.num_events)
    return ReadEvents(
        num_read, num_late, max(num_unknowable, 0), np.concatenate(late), np.concatenate(everything)
    )


def learned_labels(read: Read) -> pa.Table:
    """Return the labels that something learns from: the view at the cut, and training's violators.

    Training takes others for benign where benign labels are few, so its benign are not asked.
    """
    table = read.taught.table.select(["user_id", "label"])
    batch, label = read.gathered.batch, read.gathered.labels.label
    places = np.flatnonzero(label == VIOLATOR).tolist()
    told = pa.table(
        {
            "user_id": pa.array([batch.user_ids[place] for place in places], pa.string()),
            "label": pa.array([VIOLATOR] * len(places), pa.int8()),
        }
    )
    both = pa.concat_tables([table, told])
    return both.group_by(both.column_names).aggregate([])


def columns_read(read: Read) -> list[str]:
    """Return the names of all columns that something was read from."""
    batches = [read.gathered.batch, *([] if read.batch is None else [read.batch])]
    return [name for batch in batches for name in batch.events.column_names]


def _whole_lives(lake: EventLake, people: People, violated: pa.Table) -> Iterator[SequenceBatch]:
    """Yield the violators with all of their events, those after the violation too."""
    if violated.num_rows:
        yield from lake.batches(
            as_of=people.as_of,
            users=violated["user_id"].to_pylist(),
            columns=[],
            max_events=EVENTS_PER_BATCH,
        )


def _judge_identity(read: Read, settings: Settings) -> Finding:
    embedder = settings.embedder
    found = audit_fields(read.gathered.batch, read.schema, embedder.featurizer)
    return judge_identity(
        read.gathered.batch,
        read.schema,
        left_out=[finding.name for finding in found if finding.left_out],
        embeds_text=bool(embedder.text_model),
        owned_max=1.0 - embedder.featurizer.shared_share_min,
        confidence=settings.evaluate.confidence,
    )


def _judge_label_fields(people: People, read: Read, config: EvaluationConfig) -> Finding:
    if read.batch is None:
        return unknown(LABEL_FIELDS, MEASURES, "nobody has a label", RISK_TASKS)
    return judge_label_fields(read.batch, read.schema, people.is_violator_N[read.rows], config)


def _judge_split(people: People, split: TimeSplit, config: EvaluationConfig) -> list[Finding]:
    known_N = people.is_violator_N & (people.known_us_N != FROM_THE_START)
    earlier = np.flatnonzero(known_N & (people.first_us_N < split.cut_us))
    delay_us = people.known_us_N[earlier] - people.first_us_N[earlier]
    end_us = int(people.last_us_N.max(initial=split.cut_us))
    return [
        judge_length(people.num_events_N[split.test], split, config),
        judge_persons(people.group, people.first_us_N, split, confidence=config.confidence),
        judge_maturity(
            delay_us, end_us - people.first_us_N[split.test], split, confidence=config.confidence
        ),
    ]


def _write(output: Path, audit: LeakAudit, facts: dict[str, Any]) -> dict[str, str]:
    output.mkdir(parents=True, exist_ok=True)
    json_file, html_file = output / "audit.json", output / "audit.html"
    files = {"json_file": str(json_file), "html_file": str(html_file)}
    page = render_page("Leak audit", facts, [], audit=audit)
    write_atomic(html_file, page.encode())
    content = AuditReport(audit, facts, files).to_dict()
    write_atomic(json_file, json.dumps(content, indent=1).encode())
    return files
