"""Early risk where users are split, not time: learn from some users' whole lives, judge the others.

    python -m benchmarks.early_risk EVENTS LABELS --cut 2013-10-01 -o results/early_risk.json

Whoever was first seen or labelled a violator before the cut is learned from, with all events before
the violation; whoever was first seen later is judged by the first events. This is how published
results split such data. `lookalike evaluate --cut` is stricter: it also forgets what came after the
cut about those it learns from. Floors learn from the same users, a model for each number of events.
"""

import argparse
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.compact import compact
from benchmarks.filling import copy_rows, fill, fill_with_some, seen_or_known_before
from embedder.config import PLANS
from embedder.embedder import Embedder
from embedder.evaluation.results import TaskResult
from embedder.training import train
from jobs.evaluate import fit_trial_risk, task_lines
from jobs.measure import Trial
from jobs.measure_detection import measure_early_detection
from jobs.measure_risk import measure_risk
from jobs.report.facts import command, commit, machine, versions
from jobs.times import parse_time
from store.clock import to_us


def main() -> None:
    """Measure, print the tables, and write the result."""
    options = _parse()
    began, now = time.monotonic(), datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="early-risk-") as folder:
        trained_seconds, tasks, counts = measure(options, Path(folder), now)
    result = {
        "theme": "early_risk",
        "measured_at": now.isoformat(timespec="seconds"),
        "command": without_far_folders(command()),
        "commit": commit(),
        "seed": options.seed,
        "preset": options.preset,
        "cut": options.cut.isoformat(),
        "seconds": round(time.monotonic() - began, 1),
        "train_seconds": round(trained_seconds, 1),
        "users": counts,
        "machine": machine(),
        "versions": versions(),
        "tasks": [task.to_dict() for task in tasks],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(compact(result), encoding="utf-8")
    for task in tasks:
        print("\n".join(task_lines(task)), end="\n\n")
    print(f"trained on {counts['learned_from']:,} users in {trained_seconds:.0f} s")


def without_far_folders(called: str) -> str:
    """Return a command with each path by its last folder and name: what is above is one machine's.

    The folder names the data set.
    """
    words = called.split(" ")
    return " ".join("/".join(Path(word).parts[-2:]) if "/" in word else word for word in words)


def measure(
    options: argparse.Namespace, folder: Path, now: datetime
) -> tuple[float, list[TaskResult], dict[str, int]]:
    """Learn in a workspace of those before the cut, judge in one of everybody."""
    events, labels = folder / "events.parquet", folder / "labels.parquet"
    copy_rows(options.events, events, columns=options.columns, event_type=options.event_type)
    copy_rows(options.labels, labels)
    everybody = fill(folder / "everybody", events, labels, now)
    earlier = seen_or_known_before(everybody.people, to_us(options.cut))
    chosen = everybody.people.ids(np.flatnonzero(earlier))
    learned = fill_with_some(folder / "learned", events, labels, now, users=chosen)
    report = train(
        learned.workspace,
        as_of=now,
        preset=options.preset,
        seed=options.seed,
        config=learned.settings.embedder,
        schema_config=learned.settings.schema_,
    )
    embedder = Embedder.load(report.model_dir)
    risk = fit_trial_risk(
        learned.workspace,
        learned.lake,
        learned.people,
        embedder,
        learned.settings,
        lambda what, done, total: None,
    )
    config = everybody.settings.evaluate.model_copy(update={"seed": options.seed})
    trial = Trial(everybody.lake, everybody.people, to_us(options.cut), embedder, config)
    tasks = [
        *measure_risk(trial, learned.people, risk, with_trees=True),
        measure_early_detection(trial, learned.people, risk),
    ]
    counts = {"all": len(earlier), "learned_from": int(earlier.sum())}
    return float(report.manifest["seconds"]), tasks, counts


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure early risk on users never learned from.")
    parser.add_argument("events", type=Path, help="Parquet or CSV, as for lookalike ingest")
    parser.add_argument("labels", type=Path, help="Parquet or CSV")
    parser.add_argument("--cut", type=parse_time, required=True, help="learn from whoever is older")
    parser.add_argument("--columns", help="columns to keep, with commas")
    parser.add_argument("--event-type", help="the only type of event to keep")
    parser.add_argument("--preset", choices=tuple(PLANS), default="fast", help="of the training")
    parser.add_argument("--seed", type=int, default=0, help="of training and measuring")
    parser.add_argument("--output", "-o", type=Path, required=True, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
