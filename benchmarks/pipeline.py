"""From events to a published build: seconds and peak memory of every step of the command line.

    python -m benchmarks.pipeline --users 20000 -o results/pipeline.json

The events are simulated. Each step is a process of its own, measured by the system from outside,
so its seconds include starting Python and loading the libraries, as an operator would see them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.report.facts import command, machine, versions
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import SimulationReport, simulate


@dataclass(frozen=True)
class Step:
    """One command and what it took; `events_per_second` where it goes over all events once."""

    name: str
    seconds: float
    peak_mb: float
    events_per_second: float | None


def main() -> None:
    """Measure, print a table, and write the result."""
    options = _parse()
    config = SimulatorConfig(num_users=options.users, seed=options.seed)
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        simulated = simulate(config, Path(folder, "simulated"))
        steps = measure(Path(folder, "workspace"), simulated, options.preset)
    result = _result(options, config, simulated, steps)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for step in steps:
        rate = f"{step.events_per_second:12,.0f} events/s" if step.events_per_second else ""
        print(f"{step.name:24} {step.seconds:8.1f} s {step.peak_mb:8.0f} MB {rate}")


def measure(workspace: Path, simulated: SimulationReport, preset: str) -> list[Step]:
    """Run every step once, in the order of a first deployment and its second night."""
    commands = {
        "init": ["init"],
        "ingest events": ["ingest", "events", simulated.events_file],
        "ingest labels": ["ingest", "labels", simulated.labels_file],
        f"train ({preset})": ["train", "--preset", preset],
        "rebuild, all new": ["rebuild"],
        "rebuild, nothing new": ["rebuild"],
        "export vectors": ["export", "vectors", "-o", str(workspace / "vectors.parquet")],
        "export features": ["export", "features", "-o", str(workspace / "features.parquet")],
    }
    counted = {"ingest events", "rebuild, all new"}
    steps = []
    for name, arguments in commands.items():
        seconds, peak_mb = _run([*arguments, "--workspace", str(workspace)])
        rate = simulated.num_events / seconds if name in counted else None
        steps.append(Step(name, round(seconds, 2), round(peak_mb, 1), rate))
    return steps


def _run(arguments: Sequence[str]) -> tuple[float, float]:
    """Run `lookalike` and return its seconds and the most memory it held, in megabytes."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *arguments], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"lookalike {' '.join(arguments)} ended with {process.returncode}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def _result(
    options: argparse.Namespace,
    config: SimulatorConfig,
    simulated: SimulationReport,
    steps: Sequence[Step],
) -> dict[str, Any]:
    """Return the figures with the circumstances they depend on."""
    return {
        "theme": "pipeline",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(),
        "seed": options.seed,
        "preset": options.preset,
        "config": config.model_dump(mode="json"),
        "num_events": simulated.num_events,
        "machine": machine(),
        "versions": versions(),
        "steps": [asdict(step) for step in steps],
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the way from events to a build.")
    parser.add_argument("--users", type=int, default=20_000, help="about fifty events each")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--preset", default="fast", help="of the training")
    parser.add_argument("--output", "-o", type=Path, required=True, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
