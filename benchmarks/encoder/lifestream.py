"""CoLES as its authors publish it, beside our own training of the recipe: pytorch-lifestream.

The library wants versions of its own, so a Python that has it is called: it gets the learned users'
encoded events as arrays in a folder, trains once, and reads whoever is asked for later.

It gets the fields of our recipe in the form that it reads: a code for each category, bucket and
hashed row, the nearest knot of a number, and the gap as a number too. How an event relates to
earlier ones is told of the whole sequence, for the library cuts slices of finished events.

Shape key: `E` events of all users, `F` fields, `S` slots, `B` users, `H` state width.
"""

import json
import os
import subprocess
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.encoder.downstream import unit
from benchmarks.encoder.methods import Fitted, Unanswerable
from benchmarks.encoder.published import prepare_recipe, tested_by
from benchmarks.encoder.studies import Study
from embedder.config import TrainingPlan
from embedder.evaluation.recipes import LONGEST, SLICES_PER_USER, RecipeData
from embedder.featurizer import ALWAYS, NEVER, EncodedEvents, Featurizer, SlotRange, log2_seconds
from index.vectors import Vectors
from jobs.errors import BenchmarkFailed
from store.sequences import SequenceBatch

PYTHON_VARIABLE = "LOOKALIKE_LIFESTREAM_PYTHON"
WORKER = Path(__file__).with_name("lifestream_worker.py")
WAIT_SECONDS_MAX = 7_200
REMEMBERED = 2  # batches; judges of one task ask for the same users

Codes = npt.NDArray[np.int32]


def fit_lifestream(study: Study, *, seed: int) -> Fitted:
    """Train the authors' code on the learned users, for the steps and slices of our recipe.

    Raises:
        Unanswerable: If no Python with the library is named, or nobody has two events.
        BenchmarkFailed: If the library fails.
    """
    python = os.environ.get(PYTHON_VARIABLE)
    if not python:
        reason = (
            f"pytorch-lifestream is not installed; {PYTHON_VARIABLE} names a Python that has it"
        )
        raise Unanswerable(reason)
    data = prepare_recipe(study, seed=seed)
    if len(data.paired) < 2:
        raise Unanswerable("there are too few users with two events")
    trained = train_lifestream(
        python,
        data,
        study.plan,
        study.scratch / f"lifestream_{seed}",
        seed=seed,
        threads=study.learned.settings.embedder.threads,
    )
    return tested_by(
        study,
        "coles_lifestream",
        trained.vectors,
        of_students=partial(trained.vectors, counted=True),
        seed=seed,
    )


@dataclass(frozen=True)
class Lifestream:
    """A network that the library trained; its weights are in `folder`."""

    python: str
    featurizer: Featurizer
    folder: Path
    _seen: deque[tuple[SequenceBatch, bool, Vectors]] = field(
        default_factory=lambda: deque(maxlen=REMEMBERED)
    )

    def vectors(self, batch: SequenceBatch, *, counted: bool = False) -> Vectors:
        """Return the unit vectors of users by their latest events; `counted` if learned from."""
        for known, was_counted, vectors in self._seen:
            if known is batch and was_counted == counted:
                return vectors
        rows = np.arange(batch.num_users, dtype=np.int64)
        latest = batch.take(rows, start=np.maximum(batch.num_events - LONGEST, 0))
        events = self.featurizer.encode(latest, counted_before_us=ALWAYS if counted else NEVER)
        asked = self.folder / "asked"
        write_events(asked, self.featurizer, events)
        call(self.python, "embed", self.folder, asked)
        read = unit(np.load(asked / "vectors.npy", allow_pickle=False))
        self._seen.append((batch, counted, read))
        return read


def train_lifestream(
    python: str, data: RecipeData, plan: TrainingPlan, folder: Path, *, seed: int, threads: int
) -> Lifestream:
    """Train a network in a folder, with as many slices a step as our recipe has.

    Raises:
        BenchmarkFailed: If the library fails.
    """
    write_events(folder, data.featurizer, data.events)
    np.save(folder / "learned.npy", data.paired)
    np.save(folder / "held.npy", data.halved)
    about = {
        "sizes": code_sizes(data.featurizer),
        "hidden": plan.hidden,
        "state": plan.state,
        "steps": plan.steps,
        "batch_users": max(2 * plan.batch_users // SLICES_PER_USER, 2),
        "slice_events": plan.slice_events,
        "evaluate_every": plan.evaluate_every,
        "patience": plan.patience,
        "seed": seed,
        "threads": threads,
    }
    (folder / "plan.json").write_text(json.dumps(about), encoding="utf-8")
    call(python, "train", folder)
    return Lifestream(python, data.featurizer, folder)


def call(python: str, *words: str | Path) -> None:
    """Run the worker by another Python, which sees neither our folders nor our packages.

    Raises:
        BenchmarkFailed: If it can't be run, fails, or takes too long.
    """
    try:
        done = subprocess.run(
            [python, "-I", WORKER, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_SECONDS_MAX,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchmarkFailed(f"pytorch-lifestream, {words[0]}: {error}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise BenchmarkFailed(f"pytorch-lifestream, {words[0]}: {last}")


def write_events(folder: Path, featurizer: Featurizer, events: EncodedEvents) -> None:
    """Write what the worker reads of users: codes, gaps, and where each user begins."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "codes.npy", field_codes(featurizer, events))
    np.save(folder / "gap.npy", log_gaps(events))
    np.save(folder / "offsets.npy", events.offsets)


def code_sizes(featurizer: Featurizer) -> list[int]:
    """Return how many codes each column of `field_codes` has, with 0, which is padding."""
    small = [entry.stop - entry.start + 1 for entry in fields_of(featurizer)]
    return small + [featurizer.hash_buckets + 1] * num_hashed_columns(featurizer)


def field_codes(featurizer: Featurizer, events: EncodedEvents) -> Codes:
    """Return the heaviest slot of each field of each event, counted from 1; E x F.

    The two rows of a hashed value are columns of their own, 0 where there is no value.
    """
    rows_E = np.arange(len(events.ts_us), dtype=np.int64)
    start_E = np.repeat(events.offsets[:-1], np.diff(events.offsets))
    relative_ids, relative_weights = featurizer.relative(events, rows_E, start_E)
    ids_ES = np.concatenate([events.ids_ES, relative_ids], axis=1)
    weights_ES = np.concatenate([events.weights_ES, relative_weights], axis=1)
    columns = []
    for entry in fields_of(featurizer):
        # a field's slots stand at the same places for every event
        places = np.flatnonzero((entry.start <= ids_ES[0]) & (ids_ES[0] < entry.stop))
        heaviest_E = places[np.argmax(weights_ES[:, places], axis=1)]
        columns.append(ids_ES[rows_E, heaviest_E] - entry.start + 1)
    num_static = events.ids_ES.shape[1]
    for place in range(num_static - num_hashed_columns(featurizer), num_static):
        bucket_E = (ids_ES[:, place] - featurizer.num_small_slots) % featurizer.hash_buckets
        columns.append(np.where(weights_ES[:, place] > 0, bucket_E + 1, 0))
    return np.stack(columns, axis=1).astype(np.int32)


def fields_of(featurizer: Featurizer) -> list[SlotRange]:
    """Return the fields with few slots; where an event stands in a slice is none of them."""
    return [entry for entry in featurizer.layout if entry.in_profile]


def num_hashed_columns(featurizer: Featurizer) -> int:
    """Return how many columns of slots are hashed: two for each field that is learned from."""
    return 2 * sum(column.learned for column in featurizer.hashed)


def log_gaps(events: EncodedEvents) -> Vectors:
    """Return log2 of the seconds since the user's previous event; 0 at the first."""
    first_E = np.zeros(len(events.ts_us), dtype=np.bool_)
    first_E[events.offsets[:-1]] = True
    gap_E = log2_seconds(np.diff(events.ts_us, prepend=events.ts_us[:1]))
    return np.where(first_E, 0.0, gap_E).astype(np.float32)
