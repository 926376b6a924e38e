"""`--scale`: what training and embedding cost on platforms of 10 thousand to 10 million events.

Every measurement is a process of its own (`scale_step`). Short ones are repeated: times are
medians, peaks the highest. One model of each preset, that of the largest platform up to
`ScaleConfig.model_events`, embeds all platforms, so that they differ in size alone. TF-IDF of the
same events stands beside.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from benchmarks.commits import commit_facts
from benchmarks.compact import compact
from benchmarks.encoder.render import RESULTS_PATTERN, SCALE, render
from benchmarks.encoder.rows import RowStore
from benchmarks.encoder.run import Report, named_alone, result_name
from benchmarks.encoder.scale_step import EMBED, ENCODE, FILL, TFIDF, TRAIN
from embedder.config import EmbedderConfig, Preset
from jobs.errors import BenchmarkFailed, UsageError
from jobs.report.facts import command, commit, machine, versions
from jobs.simulator.config import SimulatorConfig
from store.durable import write_atomic

FAST: Preset = "fast"
STANDARD: Preset = "standard"
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
QUICK_SIZES = (5_000, 10_000, 20_000)
TARGETS = {"events_per_second": 150_000, "train_seconds": 600, "train_peak_mb": 4_096}
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Facts = dict[str, Any]


class ScaleConfig(BaseModel, frozen=True, extra="forbid"):
    """Parameters of one run; written into its results."""

    events_max: int = Field(SIZES[-1], ge=QUICK_SIZES[0], description="size of the largest")
    seed: int = Field(0, ge=0, description="of simulation and training")
    model_events: int = Field(1_000_000, description="largest platform that `standard` is taught")
    slope_events_min: int = Field(100_000, description="slopes are of platforms of this size up")
    repeat_seconds: float = Field(20.0, description="repeat until so much time was measured")
    repeats_max: int = Field(3, ge=1, description="or so many times")
    quick: bool = Field(False, description="small platforms and a few steps, to try it out")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Events of the platforms, ascending."""
        sizes = QUICK_SIZES if self.quick else SIZES
        return tuple(size for size in sizes if size <= self.events_max)


def run_scale(config: ScaleConfig, output: Path, *, now: datetime, report: Report) -> list[Path]:
    """Measure what is not measured yet, and write the result and `encoder.md`.

    Args:
        config: What is measured.
        output: Folder of rows and results; a run of the same settings goes on where it was.
        now: The date of the results.
        report: Told what goes on, line by line.

    Raises:
        BenchmarkFailed: If a measurement fails.
        UsageError: If no platform is so small, or the rows in the folder are of other settings.
    """
    if not config.sizes:
        raise UsageError(f"no platform has {config.events_max:,} events or fewer")
    output.mkdir(parents=True, exist_ok=True)
    folder = output / "rows" / SCALE
    RowStore(folder).claim(config.model_dump(mode="json", exclude={"events_max"}))
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="scale-") as scratch:
        scale = Scale(config, folder, Path(scratch), now, report, commit())
        points = scale.measure()
    result = {
        "theme": SCALE,
        "measured_at": now.isoformat(timespec="seconds"),
        "command": named_alone(command()),
        **commit_facts(scale.commit, scale.of_rows),
        "seed": config.seed,
        "load_average_before": round(load, 2),
        "config": config.model_dump(mode="json"),
        "simulator": SimulatorConfig().model_dump(mode="json", exclude={"seed", "num_users"}),
        "max_training_events": EmbedderConfig().max_training_events,
        "machine": machine(),
        "versions": versions(),
        "targets": TARGETS,
        "points": points,
        "slopes": slopes(points, 0 if config.quick else config.slope_events_min),
    }
    path = output / result_name("scale", now)
    write_atomic(path, compact(result).encode())
    page = output / "encoder.md"
    write_atomic(page, render(sorted(output.glob(RESULTS_PATTERN))).encode())
    return [path, page]


class Scale:
    """A run under way: platforms in scratch space, what was measured in a folder that stays.

    Attributes:
        commit: Of this run.
        of_rows: Of the runs that what was there already is of.
    """

    def __init__(
        self,
        config: ScaleConfig,
        rows: Path,
        scratch: Path,
        now: datetime,
        report: Report,
        commit: str | None,
    ) -> None:
        self._config, self._rows, self._scratch = config, rows, scratch
        self._now, self._report = now, report
        self.commit, self.of_rows = commit, set[str | None]()
        self._sizes: dict[int, Facts] = {}

    def measure(self) -> list[Facts]:
        """Return a point for each size; those that are there are not measured again."""
        sizes, config = self._config.sizes, self._config
        points = []
        taught = max((size for size in sizes if size <= config.model_events), default=sizes[0])
        for size in sizes:
            trained = {FAST: self._row(TRAIN, size, FAST)}
            if size == taught:
                trained[STANDARD] = self._row(TRAIN, size, STANDARD)
            points.append({**self._row(FILL, size), "events_wanted": size, "train": trained})
        for point in points:
            size = point["events_wanted"]
            point["encode"] = self._row(ENCODE, size, STANDARD, taught)
            point["embed"] = {
                preset: self._row(EMBED, size, preset, taught) for preset in (FAST, STANDARD)
            }
            point["tfidf"] = self._row(TFIDF, size, STANDARD, taught)
        return points

    def _row(self, step: str, size: int, preset: str = "", taught: int = 0) -> Facts:
        """Return a measurement, from its file where there is one."""
        words = (step, preset, str(size), f"by_{taught}" if taught else "")
        path = self._rows / f"{'_'.join(filter(None, words))}.json"
        if path.exists():
            found: Facts = json.loads(path.read_text(encoding="utf-8"))
            self.of_rows.add(found.pop("commit", None))
            return found
        if step == FILL:
            measured = self._fill(size)
        else:
            self._fill(size)
            measured = summary(self._repeat(lambda: self._ask(step, size, preset, taught)))
        row = {**measured, "commit": self.commit}
        write_atomic(path, (json.dumps(row, indent=1) + "\n").encode())
        seconds = f", {measured['seconds']:.1f} s" if "seconds" in measured else ""
        self._report(f"{step} {preset}, {size:,} events{seconds}, {measured['peak_mb']:,.0f} MB")
        return measured

    def _repeat(self, ask: Callable[[], Facts]) -> list[Facts]:
        config = self._config
        rows = [ask()]
        while (
            not config.quick
            and len(rows) < config.repeats_max
            and sum(row["seconds"] for row in rows) < config.repeat_seconds
        ):
            rows.append(ask())
        return rows

    def _fill(self, size: int) -> Facts:
        """Make the platform of a size, once a run."""
        if size not in self._sizes:
            users = max(round(size / SimulatorConfig().events_per_user), 100)
            self._sizes[size] = self._run(FILL, size, ["--users", str(users)])
        return self._sizes[size]

    def _ask(self, step: str, size: int, preset: str, taught: int) -> Facts:
        models = self._rows / "models"
        if step == TRAIN:
            models.mkdir(exist_ok=True)
            return self._run(step, size, ["--preset", preset, "--models", str(models)])
        name = str(self._row(TRAIN, taught, preset)["model"])
        return self._run(step, size, ["--model", str(models / name)])

    def _workspace(self, size: int) -> Path:
        return self._scratch / str(size) / "workspace"

    def _run(self, step: str, size: int, options: Sequence[str]) -> Facts:
        """Run a step in a process of its own."""
        words = [sys.executable, "-P", "-m", "benchmarks.encoder.scale_step", step]
        words += [str(self._workspace(size)), "--now", self._now.isoformat()]
        words += ["--seed", str(self._config.seed), *options]
        words += ["--quick"] if self._config.quick else []
        self._workspace(size).parent.mkdir(parents=True, exist_ok=True)
        bounds = {} if step in (FILL, TRAIN) else dict.fromkeys(ONE_THREAD, "1")
        done = subprocess.run(
            words, env={**os.environ, **bounds}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise BenchmarkFailed(f"{step} of {size:,} events failed: {last}")
        facts: Facts = json.loads(done.stdout)
        return facts


def summary(rows: Sequence[Facts]) -> Facts:
    """Return the repetition of median time, with all times and the highest peak."""
    middle = sorted(rows, key=lambda row: float(row["seconds"]))[(len(rows) - 1) // 2]
    return {
        **middle,
        "seconds": median(row["seconds"] for row in rows),
        "all_seconds": [round(row["seconds"], 4) for row in rows],
        "peak_mb": max(row["peak_mb"] for row in rows),
    }


def slopes(points: Sequence[Facts], events_min: int) -> Facts:
    """Return how each cost grows with the events, as a power.

    Training reads no more than `max_training_events`, so larger platforms are left out there.
    """
    uncapped = [
        point
        for point in points
        if point["train"][FAST]["events_kept"] < EmbedderConfig().max_training_events * 0.99
    ]
    series = {
        "train_fast": [(point, point["train"][FAST]) for point in uncapped],
        "encode": [(point, point["encode"]) for point in points],
        "embed_fast": [(point, point["embed"][FAST]) for point in points],
        "embed_standard": [(point, point["embed"][STANDARD]) for point in points],
        "tfidf_fit": [(point, point["tfidf"]["fit"]) for point in points],
        "tfidf_transform": [(point, point["tfidf"]) for point in points],
    }
    return {
        name: fit_slope(
            [
                (float(point["num_events"]), float(facts["seconds"]))
                for point, facts in pairs
                if point["events_wanted"] >= events_min
            ]
        )
        for name, pairs in series.items()
    }


def fit_slope(costs: Sequence[tuple[float, float]]) -> Facts:
    """Return the least-squares slope of log(seconds) against log(events).

    A slope of 1 is a cost in proportion to the events. The standard error is that of ordinary least
    squares and takes three sizes.
    """
    num_sizes = len(costs)
    if num_sizes < 2:
        return {"slope": None, "standard_error": None, "num_sizes": num_sizes}
    x, y = np.log(np.array(costs)).T
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread
    error = None
    if num_sizes > 2:
        rest = y - y.mean() - slope * centred
        error = math.sqrt(float(rest @ rest) / (num_sizes - 2) / spread)
    return {
        "slope": round(slope, 4),
        "standard_error": None if error is None else round(error, 4),
        "num_sizes": num_sizes,
        "events": [round(float(np.exp(x.min()))), round(float(np.exp(x.max())))],
    }
