"""Studies: a data set seen through a track, who of it is learned from, and who is judged.

Where violators have times, methods learn from users first seen, or known to be violators, before a
cut. Else they learn from all but a share drawn by the hash of the ids. Whoever others of the same
group are looked for is never learned from, so that neither a label nor a vector was fitted on them.

Shape key: `N` users of a study, sorted by id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.encoder.changes import Alteration, kept_labels
from benchmarks.encoder.config import QUICK_EVENTS_PER_USER, QUICK_USERS, BenchmarkConfig
from benchmarks.filling import Filled, copy_rows, fill, fill_with_some, seen_or_known_before
from embedder.config import TrainingPlan
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.early_risk import UNKNOWN, choose_cut
from embedder.evaluation.metrics import Flags, Int64s
from embedder.evaluation.sample import owners
from embedder.supervision import held_out_of_supervision
from jobs.errors import NothingToEvaluate
from jobs.measure_risk import Students
from jobs.people import FROM_THE_START, People, read_sequences
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import simulate
from store.clock import to_us
from store.roles import infer_schema
from store.schema import EventSchema
from store.sequences import SequenceBatch

JUDGED_SHARE = 0.3  # of the users without a cut
OF_VIOLATORS_MIN = 0.9  # share of violators in groups that makes them campaigns
EVENTS_FILES, LABELS_FILES = ("events.parquet", "events.csv"), ("labels.csv",)


@dataclass(frozen=True)
class Source:
    """A data set in the input format."""

    name: str
    events: Path
    labels: Path


@dataclass(frozen=True)
class Track:
    """What of a data set is shown: one type of event, some columns, or all."""

    name: str
    event_type: str | None = None
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Study:
    """A data set seen through a track.

    Attributes:
        name: Data set and track.
        scratch: Folder for workspaces and models; may be emptied.
        everybody: All users.
        learned: A workspace of those who are learned from, whole lives before a violation.
        is_learned_N: Who that is.
        cut_us: The cut, or None where users are drawn.
        schema: Roles of the columns, as the learned events suggest them.
        config: How tasks are made.
        plan: How long to train.
        quick: Whether this is a trial on few users.
    """

    name: str
    scratch: Path
    everybody: Filled
    learned: Filled
    is_learned_N: Flags
    cut_us: int | None
    schema: EventSchema
    config: EvaluationConfig
    plan: TrainingPlan
    quick: bool

    @property
    def people(self) -> People:
        """All users."""
        return self.everybody.people

    @property
    def columns(self) -> list[str]:
        """Columns that methods may read."""
        return [column.name for column in self.schema.columns]

    @cached_property
    def learners(self) -> SequenceBatch:
        """Whoever is learned from, labelled or not."""
        people = self.learned.people
        batch = self._read(self.learned, np.arange(len(people.user_ids), dtype=np.int64))
        assert batch is not None, "there are learned users"
        return batch

    @cached_property
    def students(self) -> Students | None:
        """Those of them who have labels; None where one class is missing."""
        people = self.learned.people
        rows = np.flatnonzero(people.label_N != UNKNOWN)
        is_violator = people.is_violator_N[rows]
        if min(is_violator.sum(), (~is_violator).sum()) < self.config.min_positives:
            return None
        return Students(self.learners.take(rows), is_violator)

    def read(self, rows: Int64s) -> SequenceBatch | None:
        """Read the sequences of some of all users."""
        return self._read(self.everybody, rows)

    def altered(self, alteration: Alteration, *, seed: int) -> Filled:
        """Return a workspace of the learned users with changed events, or fewer labels."""
        if alteration.is_plain:
            return self.learned
        root = self.scratch / f"{alteration.name}_{seed}"
        if not root.exists():
            write_altered(self, alteration, root, seed=seed)
        events, labels = root / "events.parquet", root / "labels.parquet"
        return fill(root / "workspace", events, labels, self.now)

    @property
    def now(self) -> datetime:
        """The time as of which everything is known."""
        return self.people.as_of

    def _read(self, filled: Filled, rows: Int64s) -> SequenceBatch | None:
        within = self.config.within
        extra = [within] if within is not None and within not in self.columns else []
        return read_sequences(
            filled.lake,
            filled.people,
            rows,
            columns=[*self.columns, *extra],
            max_events=self.config.max_events,
        )


def write_altered(study: Study, alteration: Alteration, root: Path, *, seed: int) -> None:
    """Write the learned users' visible events, changed, and the labels that are left."""
    root.mkdir(parents=True)
    rng = np.random.default_rng([seed, 31])
    batch = alteration.change(study.learners, rng)
    user_ids = pa.array(batch.user_ids, pa.string()).take(pa.array(owners(batch)))
    ts = pa.array(batch.ts_us, pa.timestamp("us", tz="UTC"))
    table = batch.events.add_column(0, "ts", ts).add_column(0, "user_id", user_ids)
    pq.write_table(table, root / "events.parquet")
    people = study.learned.people
    kept = (people.label_N != UNKNOWN) & kept_labels(people.user_ids, alteration.label_share)
    rows = np.flatnonzero(kept)
    labels = people.labels.table
    place = pa.compute.index_in(pa.array(people.ids(rows), pa.string()), labels["user_id"])
    some = labels.take(place).select(["user_id", "label", "policy", "group"])
    for name in ("occurred_at", "known_at"):
        column = labels[f"{name}_us"].take(place).cast(pa.timestamp("us", tz="UTC"))
        some = some.append_column(name, column)
    pq.write_table(some, root / "labels.parquet")


def open_studies(
    config: BenchmarkConfig, scratch: Path, *, now: datetime
) -> Iterator[tuple[str, Study]]:
    """Yield the studies of a run one after the other, each with the name of its data set."""
    for source in _sources(config, scratch):
        plain = scratch / source.name / "all"
        labels = _prepare(source, plain, config, now)
        names = pq.read_schema(plain / "events.parquet").names
        for track in tracks(config, names):
            folder = scratch / source.name / (track.name or "full")
            yield source.name, _open(source, track, plain, labels, folder, config, now)


def tracks(config: BenchmarkConfig, columns: Sequence[str]) -> list[Track]:
    """Return what of a data set with these columns is shown: all, and less of it."""
    found = [Track("")]
    strict = config.strict_columns
    if (config.strict_type or strict) and set(strict) <= set(columns):
        found.append(Track("strict", config.strict_type, strict or None))
    for name in config.without:
        if name in columns:
            left = tuple(column for column in columns if column not in (name, *REQUIRED))
            found.append(Track(f"without_{name}", None, left))
    return found


REQUIRED = ("user_id", "ts", "event_type")


def _sources(config: BenchmarkConfig, scratch: Path) -> list[Source]:
    if config.data:
        return [_source(folder) for folder in config.data]
    simulator = SimulatorConfig(num_users=config.users, seed=config.seeds[0])
    if config.quick:
        simulator = SimulatorConfig(
            num_users=QUICK_USERS, seed=config.seeds[0], events_per_user=QUICK_EVENTS_PER_USER
        )
    made = simulate(simulator, scratch / "simulated")
    return [Source("simulated", Path(made.events_file), Path(made.labels_file))]


def _source(folder: Path) -> Source:
    def first(names: Sequence[str]) -> Path:
        for name in names:
            if (folder / name).is_file():
                return folder / name
        raise FileNotFoundError(f"{folder} has none of the files {', '.join(names)}")

    return Source(folder.name, first(EVENTS_FILES), first(LABELS_FILES))


def _prepare(source: Source, folder: Path, config: BenchmarkConfig, now: datetime) -> Path:
    """Copy events and labels of a data set, less the users who do not exist yet."""
    folder.mkdir(parents=True)
    events, labels = folder / "events.parquet", folder / "labels.parquet"
    copy_rows(source.events, events)
    copy_rows(source.labels, labels)
    if config.until is None:
        return labels
    people = fill(folder / "workspace", events, labels, now).people
    users = people.ids(np.flatnonzero(people.first_us_N < to_us(config.until)))
    chosen, later = folder / "users.parquet", folder / "later"
    later.mkdir()
    pq.write_table(pa.table({"user_id": pa.array(users, pa.string())}), chosen)
    for path in (events, labels):
        copy_rows(path, later / path.name, users=chosen)
        (later / path.name).replace(path)
    return labels


def _open(
    source: Source,
    track: Track,
    plain: Path,
    labels: Path,
    folder: Path,
    config: BenchmarkConfig,
    now: datetime,
) -> Study:
    folder.mkdir(parents=True)
    events = folder / "events.parquet"
    columns = None if track.columns is None else ",".join((*REQUIRED, *track.columns))
    copy_rows(plain / "events.parquet", events, columns=columns, event_type=track.event_type)
    everybody = fill(folder / "everybody", events, labels, now)
    cut_us = choose_time(everybody.people, config)
    learned_N = choose_learners(everybody.people, cut_us)
    chosen = everybody.people.ids(np.flatnonzero(learned_N))
    learned = fill_with_some(folder / "learned", events, labels, now, users=chosen)
    schema = infer_schema(
        learned.lake,
        as_of=now,
        config=learned.settings.schema_,
        cutoffs=learned.people.labels.cutoffs(),
    )
    name = f"{source.name}_{track.name}" if track.name else source.name
    return Study(
        name,
        folder,
        everybody,
        learned,
        learned_N,
        cut_us,
        schema,
        config.evaluation,
        config.plan,
        config.quick,
    )


def choose_time(people: People, config: BenchmarkConfig) -> int | None:
    """Return the cut where there are violators with times, as given or chosen; else None."""
    known_us = people.known_us_N[people.is_violator_N]
    known_us = known_us[known_us != FROM_THE_START]
    if len(known_us) < config.evaluation.min_positives:
        return None
    return to_us(config.cut) if config.cut is not None else choose_cut(known_us, config.evaluation)


def choose_learners(people: People, cut_us: int | None) -> Flags:
    """Return who is learned from: nobody who is looked for in a group.

    Raises:
        NothingToEvaluate: If that is nobody.
    """
    drawn_N = held_out_of_supervision(pa.array(people.user_ids, pa.string()), share=JUDGED_SHARE)
    early_N = ~drawn_N if cut_us is None else seen_or_known_before(people, cut_us)
    learned_N: Flags = early_N & ~in_groups(people)
    if not learned_N.any():
        raise NothingToEvaluate("there are no users to learn from before the cut")
    return learned_N


def in_groups(people: People) -> Flags:
    """Return who shares a group with another user."""
    names = np.array([name or "" for name in people.group], dtype=object).astype(str)
    _, code_N, count_G = np.unique(names, return_inverse=True, return_counts=True)
    shared_N: Flags = (names != "") & (count_G[code_N] > 1)
    return shared_N
