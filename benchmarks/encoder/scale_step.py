"""`python -m benchmarks.encoder.scale_step`: one measurement of `--scale`, in a process of its own.

The answer is one JSON object on stdout. A process of its own makes the peak memory that of the step
alone; it holds Python and the libraries too, which `start_mb` tells.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import torch

from benchmarks.encoder.config import QUICK_PLAN
from benchmarks.filling import fill
from embedder.config import Preset
from embedder.embedder import Embedder
from embedder.evaluation.floors import Tokenizer, TokenWeights
from embedder.featurizer import NEVER
from embedder.model_files import read_manifest, read_model
from embedder.training import train
from jobs.assembly import EVENTS_PER_BATCH
from jobs.settings import Settings
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import simulate
from store.database import Database
from store.labels import LabelStore
from store.lake import EventLake
from store.schema import EventSchema
from store.sequences import SequenceBatch
from store.workspace import Workspace

WARM_UP_USERS = 16
FILL, TRAIN, ENCODE, EMBED, TFIDF = "fill", "train", "encode", "embed", "tfidf"

Facts = dict[str, Any]


def main() -> None:
    """Do the step and print what it took."""
    options, start_mb = _parse(), peak_mb()
    facts = STEPS[options.step](options)
    print(json.dumps({**facts, "start_mb": start_mb, "peak_mb": peak_mb()}))


def fill_workspace(options: argparse.Namespace) -> Facts:
    """Simulate a platform and ingest it; return how large it became."""
    folder = options.workspace.parent / "simulated"
    began = time.perf_counter()
    made = simulate(SimulatorConfig(num_users=options.users, seed=options.seed), folder)
    simulated = time.perf_counter() - began
    fill(options.workspace, Path(made.events_file), Path(made.labels_file), options.now)
    return {
        "num_users": made.num_users,
        "num_events": made.num_events,
        "simulate_seconds": simulated,
        "ingest_seconds": time.perf_counter() - began - simulated,
    }


def train_model(options: argparse.Namespace) -> Facts:
    """Train as `lookalike train` does, with the threads of the settings."""
    workspace = Workspace.open(options.workspace)
    settings = Settings.read(workspace.config_file)
    began, cpu_began = time.perf_counter(), time.process_time()
    report = train(
        workspace,
        as_of=options.now,
        preset=options.preset,
        seed=options.seed,
        config=settings.embedder,
        schema_config=settings.schema_,
        plan=QUICK_PLAN if options.quick else None,
        models_dir=options.models,
    )
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    metrics = report.manifest["metrics"]
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "events_kept": report.manifest["num_events"],
        "threads": settings.embedder.threads,
        "networks": {
            role: metrics[role]["shipped"] for role in ("behavior", "conduct") if role in metrics
        },
        "model": report.model_dir.name,
    }


def encode_all(options: argparse.Namespace) -> Facts:
    """Turn all events into slots, the first part of embedding."""
    featurizer = read_model(options.model).parts.featurizer
    reader = Reader(options)
    featurizer.encode(reader.few_users(), counted_before_us=NEVER)
    with Clock(reader) as clock:
        for batch in reader:
            featurizer.encode(batch, counted_before_us=NEVER)
    return clock.facts


def embed_all(options: argparse.Namespace) -> Facts:
    """Embed all users batch by batch, as a rebuild does."""
    embedder, reader = Embedder.load(options.model), Reader(options)
    embedder.embed(reader.few_users())
    with Clock(reader) as clock:
        for batch in reader:
            embedder.embed(batch)
    return clock.facts


def weigh_tokens(options: argparse.Namespace) -> Facts:
    """Fit the TF-IDF of attribute tokens to all users, then weigh all of them by it."""
    reader = Reader(options)
    tokenizer = Tokenizer.fit(reader.first(), reader.schema)
    with Clock(reader) as fitting:
        weights = TokenWeights(tokenizer, reader)
    with Clock(reader) as weighing:
        for batch in reader:
            weights.rows(batch)
    return {**weighing.facts, "fit": fitting.facts}


STEPS = {
    FILL: fill_workspace,
    TRAIN: train_model,
    ENCODE: encode_all,
    EMBED: embed_all,
    TFIDF: weigh_tokens,
}


class Reader:
    """The batches of a rebuild, as often as asked for; what reading takes is told apart."""

    def __init__(self, options: argparse.Namespace) -> None:
        workspace = Workspace.open(options.workspace)
        self._lake = EventLake(workspace, threads=options.threads)
        self._now = options.now
        self._view = LabelStore(Database(workspace.ops_url)).as_of(options.now)
        self.schema = EventSchema.from_dict(read_manifest(options.model)["schema"])
        self.seconds, self.cpu_seconds, self.num_events = 0.0, 0.0, 0

    def first(self) -> SequenceBatch:
        """Return the first batch, which counts for nothing."""
        return next(iter(self._batches()))

    def few_users(self) -> SequenceBatch:
        """Return some users to warm up on."""
        batch = self.first()
        return batch.take(np.arange(min(WARM_UP_USERS, batch.num_users)))

    def __iter__(self) -> Iterator[SequenceBatch]:
        self.seconds, self.cpu_seconds, self.num_events = 0.0, 0.0, 0
        began, cpu_began = time.perf_counter(), time.process_time()
        for batch in self._batches():
            self.seconds += time.perf_counter() - began
            self.cpu_seconds += time.process_time() - cpu_began
            self.num_events += len(batch.ts_us)
            yield batch
            began, cpu_began = time.perf_counter(), time.process_time()

    def _batches(self) -> Iterable[SequenceBatch]:
        return self._lake.batches(
            as_of=self._now,
            cutoffs=self._view.cutoffs(),
            columns=[column.name for column in self.schema.columns],
            max_events=EVENTS_PER_BATCH,
        )


class Clock:
    """Measures what is done with all batches of a reader, less what reading them took."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._began, self._cpu_began = reader, 0.0, 0.0
        self.facts: Facts = {}

    def __enter__(self) -> "Clock":
        self._began, self._cpu_began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        """Keep seconds, CPU seconds of all threads, and events."""
        reader = self._reader
        self.facts = {
            "seconds": time.perf_counter() - self._began - reader.seconds,
            "cpu_seconds": time.process_time() - self._cpu_began - reader.cpu_seconds,
            "read_seconds": reader.seconds,
            "num_events": reader.num_events,
        }


def peak_mb() -> float:
    """Return the most memory that this process held, in megabytes (2^20 bytes).

    Linux hands `ru_maxrss` down from whoever started the process, so the status is read there.
    """
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) / 2**10


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One measurement of the cost by events.")
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--now", type=datetime.fromisoformat, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--users", type=int)
    parser.add_argument("--preset", choices=get_args(Preset))
    parser.add_argument("--models", type=Path, help="where a trained model is written")
    parser.add_argument("--model", type=Path, help="the trained model that is used")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1, help="but training has the settings'")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pa.set_cpu_count(options.threads)
    return options


if __name__ == "__main__":
    main()
