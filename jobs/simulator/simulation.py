"""Simulate a platform into files: events, labels as moderators know them, and the truth.

Users are made in chunks that know nothing of each other, so that memory is bounded by the chunk
whatever the number of users; rings, households and comebacks stay within a chunk.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from jobs.simulator.cast import NOBODY, Cast, Part, make_cast
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.events import Int64s, draw_events
from jobs.simulator.labels import make_labels, make_truth
from jobs.simulator.lifetimes import choose_predecessors, draw_lifetimes, return_evaders
from jobs.simulator.traits import (
    HOUSEHOLD,
    RING,
    Traits,
    draw_traits,
    evader_likeness,
    inherit,
    make_newcomers,
)
from jobs.simulator.world import World, make_world, opaque_ids

GROUPS_PER_CHUNK = 1 << 20
Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much


@dataclass(frozen=True)
class Chunk:
    """All there is about some users."""

    events: pa.Table
    labels: pa.Table
    truth: pa.Table


@dataclass(frozen=True)
class SimulationReport:
    """What was written, and how much."""

    events_file: str
    labels_file: str
    truth_file: str
    num_users: int
    num_events: int
    num_labels: int
    num_evaders: int

    def to_dict(self) -> dict[str, str | int]:
        """Return a JSON form."""
        return asdict(self)


def simulate(
    config: SimulatorConfig, directory: Path, *, progress: Progress | None = None
) -> SimulationReport:
    """Write `events.parquet`, `labels.csv` and `ground_truth.parquet` into a folder.

    Args:
        config: Size, seed and difficulty; equal ones give equal files.
        directory: Made if absent; files of these names are replaced.
        progress: Called after every chunk of users.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / name for name in ("events.parquet", "labels.csv", "ground_truth.parquet")]
    counts = np.zeros(4, dtype=np.int64)
    with _Writers(*files) as writers:
        for first in range(0, config.num_users, config.users_per_chunk):
            chunk = make_chunk(config, first // config.users_per_chunk)
            writers.write(chunk)
            counts += _counts(chunk)
            if progress is not None:
                progress("simulate users", int(counts[0]), config.num_users)
    events_file, labels_file, truth_file = map(str, files)
    return SimulationReport(events_file, labels_file, truth_file, *map(int, counts))


def make_chunk(config: SimulatorConfig, number: int) -> Chunk:
    """Make the users of one chunk; equal arguments give equal chunks."""
    world = make_world(config, np.random.default_rng([config.seed, 0]))
    rng = np.random.default_rng([config.seed, 1, number])
    first = number * config.users_per_chunk
    size = min(config.users_per_chunk, config.num_users - first)
    # Ids are dealt at random, so that neither they nor their order tell who belongs together.
    user_ids = opaque_ids("u", first + rng.permutation(size), config.seed)
    cast = make_cast(config, size, rng)
    traits = _make_traits(world, cast, rng)
    lifetimes = draw_lifetimes(config, cast, traits, rng)
    chosen = choose_predecessors(config, cast, lifetimes, rng)
    evaders = cast.rows(Part.EVADER)
    back, before = evaders[chosen != NOBODY], chosen[chosen != NOBODY]
    traits = inherit(traits, back, before, evader_likeness(config), rng)
    lifetimes = return_evaders(config, lifetimes, traits, back, before, rng)
    cast = _settle_evaders(cast, back, before)
    users, events = draw_events(config, world, cast, traits, lifetimes, rng)
    events = events.add_column(0, "user_id", _dictionary(user_ids, users))
    rings, homes = _group_names(config, number, cast)
    labels = make_labels(config, user_ids, cast, lifetimes, rings, rng)
    truth = make_truth(config, user_ids, cast, traits, lifetimes, before, rings, homes)
    return Chunk(events, labels, truth)


class _Writers:
    """The three files, each open from the first chunk to the last."""

    def __init__(self, events_file: Path, labels_file: Path, truth_file: Path) -> None:
        self._files = (events_file, labels_file, truth_file)
        self._events: pq.ParquetWriter | None = None
        self._labels: pyarrow.csv.CSVWriter | None = None
        self._truth: pq.ParquetWriter | None = None

    def __enter__(self) -> "_Writers":
        return self

    def __exit__(self, *_: object) -> None:
        for writer in (self._events, self._labels, self._truth):
            if writer is not None:
                writer.close()

    def write(self, chunk: Chunk) -> None:
        """Append a chunk to all files."""
        if self._events is None:
            self._open(chunk)
        assert self._events
        assert self._labels
        assert self._truth
        self._events.write_table(chunk.events)
        self._labels.write_table(_as_text(chunk.labels))
        self._truth.write_table(chunk.truth)

    def _open(self, chunk: Chunk) -> None:
        events_file, labels_file, truth_file = self._files
        # Without the Arrow schema readers get plain strings, not our dictionaries.
        self._events = pq.ParquetWriter(events_file, chunk.events.schema, store_schema=False)
        schema = _as_text(chunk.labels).schema
        self._labels = pyarrow.csv.CSVWriter(labels_file, schema)
        self._truth = pq.ParquetWriter(truth_file, chunk.truth.schema)


def _make_traits(world: World, cast: Cast, rng: np.random.Generator) -> Traits:
    traits = draw_traits(world, cast, rng)
    for part, likeness in ((Part.RING_MEMBER, RING), (Part.HOUSEHOLD_MEMBER, HOUSEHOLD)):
        members = cast.rows(part)
        followers = members[cast.leader_U[members] != members]
        traits = inherit(traits, followers, cast.leader_U[followers], likeness, rng)
    return make_newcomers(traits, cast.rows(Part.NEWCOMER), rng)


def _settle_evaders(cast: Cast, evaders: Int64s, predecessors: Int64s) -> Cast:
    """Give evaders the policy of their predecessors; those without one act alone."""
    part_U, policy_U = cast.part_U.copy(), cast.policy_U.copy()
    policy_U[evaders] = policy_U[predecessors]
    part_U[np.setdiff1d(cast.rows(Part.EVADER), evaders)] = Part.LONER
    return Cast(part_U, policy_U, cast.ring_U, cast.household_U, cast.leader_U)


def _group_names(config: SimulatorConfig, number: int, cast: Cast) -> tuple[list[str], list[str]]:
    first = number * GROUPS_PER_CHUNK
    num_rings, num_homes = int(cast.ring_U.max()) + 1, int(cast.household_U.max()) + 1
    rings = opaque_ids("r", first + np.arange(num_rings), config.seed + 1)
    homes = opaque_ids("h", first + np.arange(num_homes), config.seed + 2)
    return rings, homes


def _dictionary(names: list[str], rows: Int64s) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(rows.astype(np.int32)), pa.array(names))


def _as_text(labels: pa.Table) -> pa.Table:
    """Write times as ISO 8601 in UTC, to the second."""
    for name in ("occurred_at", "known_at", "revoked_at"):
        text = pa.compute.strftime(labels[name], format="%Y-%m-%dT%H:%M:%SZ")
        text = pa.compute.replace_substring_regex(text, r"\.\d+Z$", "Z")
        labels = labels.set_column(labels.schema.get_field_index(name), name, text)
    return labels


def _counts(chunk: Chunk) -> Int64s:
    evaders = chunk.truth.num_rows - chunk.truth["evader_of"].null_count
    rows = [chunk.truth.num_rows, chunk.events.num_rows, chunk.labels.num_rows, evaders]
    return np.array(rows, dtype=np.int64)
