"""`lookalike demo`: a platform is simulated and everything is run on it, measured and served.

The model learns from what was known by a cut; it is measured on users who came later, whose truth
the simulator knows. Then everyone is embedded with it, a build is published, and a key is made.
"""

import json
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from embedder.embedder import Embedder
from embedder.evaluation.bootstrap import Comparison
from embedder.evaluation.early_risk import choose_cut
from embedder.evaluation.methods import ENCODER, TFIDF, WITH_CSLS
from embedder.evaluation.results import TaskResult
from embedder.training import train
from index.build import Build, load_build
from index.builds import build_dir
from index.serve_config import check_address
from jobs.demo_tasks import EVADERS, RINGS, BuiltVectors, measure_evaders, measure_rings
from jobs.errors import DemoRefused, NotADemo
from jobs.evaluate import fit_trial_risk
from jobs.init import run as run_init
from jobs.measure import Trial
from jobs.measure_risk import measure_risk
from jobs.people import FROM_THE_START, read_people
from jobs.rebuild import run as run_rebuild
from jobs.report.figures import format_estimate
from jobs.settings import Settings
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import SimulationReport, simulate
from jobs.terminal import Progress, table
from store.clock import from_us
from store.database import Database
from store.durable import write_atomic
from store.ingest import ingest_events
from store.keys import create_key
from store.label_ingest import ingest_labels
from store.labels import LabelStore
from store.lake import EventLake
from store.workspace import Workspace

REPORT_FILE = "demo.json"
SIMULATED_DIR = "simulated"
USERS_ENOUGH = 5_000  # for every figure, at all seeds that were tried; 3,000 are not
LINE_WIDTH = 100
# task, metric, and what the row is called
ROWS = (
    (EVADERS, "hit_at_1", "evader found first"),
    (EVADERS, "hit_at_10", "evader found among ten"),
    (RINGS, "purity", "ring purity"),
    ("risk_first_3", "auc", "risk AUC, first 3 events"),
    ("risk_first_5", "auc", "risk AUC, first 5 events"),
    ("risk_first_10", "auc", "risk AUC, first 10 events"),
    ("risk_first_all", "auc", "risk AUC, all events"),
)


@dataclass(frozen=True)
class DemoRow:
    """One figure beside its floor, as text with intervals; None where not measurable."""

    figure: str
    queries: int
    lookalike: str | None
    tfidf: str | None
    difference: str | None
    why_not: str | None


@dataclass(frozen=True)
class DemoReport:
    """What the demo found, and where it is served."""

    workspace: str
    num_users: int
    num_events: int
    seed: int
    cut: str
    build_id: str
    seconds: dict[str, float]
    rows: tuple[DemoRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DemoReport":
        """Read what `to_dict` gave."""
        return cls(**{**values, "rows": tuple(DemoRow(**row) for row in values["rows"])})

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        header = ("", "queries", "lookalike", "TF-IDF", "difference")
        rows = [
            [row.figure, row.queries, row.lookalike or "too few", row.tfidf, row.difference]
            for row in self.rows
        ]
        took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        return [
            f"{self.num_users:,} simulated users with {self.num_events:,} events, seed {self.seed}",
            f"trained on what was known by {self.cut}, measured on who came later:",
            "",
            *table(header, rows),
            "",
            *self._why_not(),
            "in brackets: 95 % bootstrap intervals over users, or over rings",
            took,
            f"build {self.build_id} of {self.workspace}",
        ]

    def _why_not(self) -> list[str]:
        """Return what was not measurable and why, each reason once, in lines of bounded width."""
        figures: dict[str, list[str]] = {}
        for row in self.rows:
            if row.why_not is not None:
                figures.setdefault(row.why_not, []).append(row.figure)
        lines = [f"{'; '.join(names)}: {reason}" for reason, names in figures.items()]
        if lines and self.num_users < USERS_ENOUGH:
            lines.append(f"enough for all of it: lookalike demo NEWDIR --users {USERS_ENOUGH}")
        wrapped = [part for line in lines for part in textwrap.wrap(line, LINE_WIDTH)]
        return [*wrapped, ""] if wrapped else []


class _Clock:
    """Times the stages one after the other."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End the stage of this name."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 1)
        self._last = now


def run(
    directory: Path, *, num_users: int, seed: int, now: datetime, progress: Progress
) -> DemoReport:
    """Simulate, ingest, train, measure, build and publish; a finished demo is not made again.

    Args:
        directory: Becomes the workspace; absent, empty, or a finished demo.
        num_users: Users of the platform, about fifty events each.
        seed: Equal seeds make equal platforms and models.
        now: When all of it happens.
        progress: Shown to whoever waits.

    Raises:
        NotADemo: If the folder has other things in it.
        DemoRefused: If the gate refused the build.
    """
    report_file = directory / REPORT_FILE
    if report_file.is_file():
        return DemoReport.from_dict(json.loads(report_file.read_text(encoding="utf-8")))
    if directory.exists() and any(directory.iterdir()):
        raise NotADemo(f"{directory} has other things in it; name a new folder")
    clock = _Clock()
    run_init(directory)
    workspace = Workspace.open(directory)
    settings = Settings.read(workspace.config_file)
    simulated = simulate(
        SimulatorConfig(num_users=num_users, seed=seed),
        directory / SIMULATED_DIR,
        progress=progress,
    )
    clock.lap("simulate")
    _ingest(workspace, settings, simulated, now=now, progress=progress)
    clock.lap("ingest")
    trial, embedder = _learn(workspace, settings, seed=seed, now=now, progress=progress)
    clock.lap("train")
    rebuilt = run_rebuild(workspace, settings, as_of=now, now=now, force=False, progress=progress)
    if not rebuilt.is_live:
        raise DemoRefused(f"the gate refused build {rebuilt.build_id}; see its report")
    clock.lap("build")
    truth_file = Path(simulated.truth_file)
    build = load_build(build_dir(workspace, rebuilt.build_id))
    tasks = _measure(workspace, settings, trial, embedder, build, truth_file, progress)
    clock.lap("measure")
    report = DemoReport(
        workspace=str(workspace.root),
        num_users=simulated.num_users,
        num_events=simulated.num_events,
        seed=seed,
        cut=from_us(trial.cut_us).date().isoformat(),
        build_id=rebuilt.build_id,
        seconds=clock.seconds,
        rows=summarize(tasks),
    )
    write_atomic(report_file, json.dumps(report.to_dict(), indent=1).encode())
    return report


@dataclass(frozen=True)
class OpenedDemo:
    """Where a finished demo is about to be served, and the key to it."""

    workspace: Workspace
    host: str
    port: int
    key: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return {"address": self.address, "key": self.key}

    @property
    def address(self) -> str:
        """The page."""
        return f"http://{self.host}:{self.port}/"

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        return ["", f"address {self.address}", f"key {self.key}", "stop with control-C"]


def check_demo_address(directory: Path, *, port: int | None) -> None:
    """Tell that the address is taken before minutes are spent on what is to be served there.

    Raises:
        OSError: If nothing can listen there.
    """
    serve = Settings.read(Workspace(directory).config_file).serve
    check_address(serve.host, port or serve.port)


def open_demo(directory: Path, *, port: int | None, now: datetime) -> OpenedDemo:
    """Make a key that may do everything, and say where the page will be."""
    workspace = Workspace.open(directory)
    serve = Settings.read(workspace.config_file).serve
    name = f"demo-{now:%Y%m%dT%H%M%S%f}"
    key = create_key(Database(workspace.ops_url), name, ["*"], now=now)
    return OpenedDemo(workspace, serve.host, port or serve.port, key)


def summarize(tasks: Sequence[TaskResult]) -> tuple[DemoRow, ...]:
    """Return the rows of the table."""
    by_name = {task.name: task for task in tasks}
    return tuple(_row(by_name[name], metric, figure) for name, metric, figure in ROWS)


def _row(task: TaskResult, metric: str, figure: str) -> DemoRow:
    queries = task.counts.get("queries", task.counts.get("answered", 0))
    if task.comparison is None:
        return DemoRow(figure, queries, None, None, None, task.why_not)
    ours, floor = _best_variants(task.comparison)
    return DemoRow(
        figure,
        queries,
        format_estimate(task.comparison.metrics[ours][metric]),
        format_estimate(task.comparison.metrics[floor][metric]),
        format_estimate(task.comparison.differences[floor][metric]),
        None,
    )


def _best_variants(comparison: Comparison) -> tuple[str, str]:
    """Return the names of the encoder and the floor, with the hub correction where there is one."""
    names = (ENCODER + WITH_CSLS, TFIDF + WITH_CSLS)
    return names if names[0] in comparison.metrics else (ENCODER, TFIDF)


def _ingest(
    workspace: Workspace,
    settings: Settings,
    simulated: SimulationReport,
    *,
    now: datetime,
    progress: Progress,
) -> None:
    events, labels = Path(simulated.events_file), Path(simulated.labels_file)
    ingest_events(workspace, [events], settings.ingest, now=now, progress=progress)
    ingest_labels(workspace, labels, settings.ingest, now=now)


def _learn(
    workspace: Workspace, settings: Settings, *, seed: int, now: datetime, progress: Progress
) -> tuple[Trial, Embedder]:
    """Train on what was known by a cut."""
    lake, labels = EventLake(workspace), LabelStore(Database(workspace.ops_url))
    people = read_people(lake, labels.as_of(now), as_of=now)
    config = settings.evaluate.model_copy(update={"seed": seed})
    known_us = people.known_us_N[people.is_violator_N]
    cut_us = choose_cut(known_us[known_us != FROM_THE_START], config)
    assert cut_us is not None, "a simulated platform has violators"
    trained = train(
        workspace,
        as_of=from_us(cut_us),
        preset="fast",
        seed=seed,
        config=settings.embedder,
        schema_config=settings.schema_,
        now=now,
        progress=progress,
    )
    embedder = Embedder.load(trained.model_dir)
    return Trial(lake, people, cut_us, embedder, config), embedder


def _measure(
    workspace: Workspace,
    settings: Settings,
    trial: Trial,
    embedder: Embedder,
    build: Build,
    truth_file: Path,
    progress: Progress,
) -> list[TaskResult]:
    """Measure whole users by the vectors of the build, and beginners by a risk model of the cut."""
    served = replace(trial, embedder=BuiltVectors(build, embedder.schema))
    cut = from_us(trial.cut_us)
    labels = LabelStore(Database(workspace.ops_url)).as_of(cut)
    at_cut = read_people(trial.lake, labels, as_of=cut)
    risk = fit_trial_risk(workspace, trial.lake, at_cut, embedder, settings, progress)
    return [
        measure_evaders(served, truth_file),
        measure_rings(served, truth_file),
        *measure_risk(trial, at_cut, risk, with_trees=False),
    ]
