"""Events as they were known at a time: the only way in which they leave the lake.

What a call returns, columns and types included, depends on the visible events alone (see
`store.view`): appending others changes no byte of it.
"""

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.clock import from_us, to_us
from store.columns import VARCHAR
from store.engine import fetch_all, fetch_table, identifier, literal, stream_batches
from store.manifests import Manifest, read_manifests
from store.profile import LakeProfile, profile_view
from store.sequences import Int64s, SequenceBatch
from store.view import Cutoffs, View, ViewRequest, is_input, open_view
from store.workspace import Workspace

_STREAM_ROWS = 100_000
_FOREVER_US = to_us(datetime.fromisoformat("9999-01-01T00:00:00Z"))


@dataclass(frozen=True)
class LakeSummary:
    """How much is visible at a time; the times are None where nothing is."""

    num_events: int
    num_users: int
    first_ts: datetime | None
    last_ts: datetime | None


class EventLake:
    """Reads the lake as of a time. Every call sees the files that are published when it starts."""

    def __init__(
        self, workspace: Workspace, *, memory_limit_mb: int = 1500, threads: int = 2
    ) -> None:
        self._workspace = workspace
        self._memory_limit_mb = memory_limit_mb
        self._threads = threads
        self._pinned: list[Manifest] | None = None

    def pinned(self) -> "EventLake":
        """Return a lake whose calls all see the files that are published now.

        A job that reads twice needs this, lest a file be published in between. An erasure is not
        waited for: reading what it removed raises `LakeCorrupt`.
        """
        lake = EventLake(
            self._workspace, memory_limit_mb=self._memory_limit_mb, threads=self._threads
        )
        lake._pinned = read_manifests(self._workspace)
        return lake

    def columns(
        self, *, as_of: datetime | None = None, cutoffs: Cutoffs | None = None
    ) -> dict[str, str]:
        """Return the attributes of the visible files and the types that hold all their values.

        Types are VARCHAR, BIGINT, DOUBLE, BOOLEAN, or TIMESTAMP WITH TIME ZONE. Columns named
        `leak_*` are never among them. Without `as_of` everything is visible.
        """
        with self._open(ViewRequest(_until(as_of), cutoffs)) as view:
            return view.columns

    def withheld_columns(self) -> tuple[str, ...]:
        """Return the columns that are in the lake and are never inputs, sorted."""
        names = {name for manifest in self._manifests() for name in manifest.columns}
        return tuple(sorted(name for name in names if not is_input(name)))

    def batches(
        self,
        *,
        as_of: datetime,
        cutoffs: Cutoffs | None = None,
        users: Collection[str] | None = None,
        columns: Sequence[str] | None = None,
        max_events: int = 1_000_000,
    ) -> Generator[SequenceBatch]:
        """Yield complete users in the order of their ids (as bytes), their events oldest first.

        Args:
            as_of: Only events before this time.
            cutoffs: Only a user's events before the user's `cutoff_us`; a user without one is
                not cut off, a user with no events left does not appear.
            users: Only these users; unknown ids are passed over.
            columns: Attributes to return, in this order; one that no visible file has is a string
                column of nulls. All visible attributes if absent. `event_type` always comes first.
            max_events: A batch closes when it has at least so many; a user with more is alone.

        Raises:
            LakeCorrupt: If a part file is damaged, or was rewritten by an erasure meanwhile.
        """
        with self._open(ViewRequest(to_us(as_of), cutoffs, users)) as view:
            names = [*view.columns] if columns is None else [*columns]
            sql = (
                f"SELECT user_id, epoch_us(ts) AS _ts_us, event_type{_selected(view, names)} "
                "FROM visible ORDER BY user_id, ts, _ingest, _row"
            )
            stream = stream_batches(view.connection, sql, num_rows=_STREAM_ROWS)
            for table in _whole_users(stream, max_events):
                yield _to_sequences(table)

    def last_ingest(self) -> int:
        """Return the number of the last ingest that is published, 0 if there is none."""
        return max((manifest.ingest for manifest in self._manifests()), default=0)

    def arrived(self, *, as_of: datetime, after_ingest: int, after: datetime) -> list[str]:
        """Return the users who may have events that a reader of before does not know, sorted.

        That are users with an event before `as_of` that came with a later ingest than
        `after_ingest`, or lies at or after `after`. Files that can't hold such events are not read.
        """
        after_us = to_us(after)
        manifests = [
            manifest
            for manifest in self._manifests()
            if manifest.ingest > after_ingest
            or any(part.last_ts_us >= after_us for part in manifest.parts)
        ]
        if not manifests:
            return []
        lake = copy(self)
        lake._pinned = manifests
        with lake._open(ViewRequest(to_us(as_of))) as view:
            rows = fetch_all(
                view.connection,
                f"SELECT DISTINCT user_id FROM visible WHERE _ingest > {after_ingest} "
                f"OR ts >= make_timestamptz({after_us}) ORDER BY user_id",
            )
        return [user_id for (user_id,) in rows]

    def users(
        self,
        *,
        as_of: datetime,
        cutoffs: Cutoffs | None = None,
        users: Collection[str] | None = None,
    ) -> pa.Table:
        """Return one row per user with a visible event, sorted by `user_id`; of some users if told.

        Columns: `user_id` string; `num_events`, `first_ts_us`, `last_ts_us`, `fingerprint` int64.
        The fingerprint hashes the user's visible events whatever their order and the file they
        came in; a column that has no value in an event does not count, so a new column changes
        only the users who have it.
        """
        with self._open(ViewRequest(to_us(as_of), cutoffs, users)) as view:
            return fetch_table(
                view.connection,
                "SELECT user_id, count(*) AS num_events, min(epoch_us(ts)) AS first_ts_us, "
                "max(epoch_us(ts)) AS last_ts_us, CAST(sum(CAST("
                f"{_row_hash(view.columns)} AS HUGEINT)) % 9223372036854775783 AS BIGINT) "
                "AS fingerprint FROM visible GROUP BY user_id ORDER BY user_id",
            )

    def user_ids(self, *, as_of: datetime, cutoffs: Cutoffs | None = None) -> pa.Array:
        """Return the ids of all users with a visible event, in no order; no attribute is read."""
        with self._open(ViewRequest(to_us(as_of), cutoffs)) as view:
            found = fetch_table(view.connection, "SELECT DISTINCT user_id FROM visible")
        return found["user_id"].combine_chunks()

    def summary(self, *, as_of: datetime) -> LakeSummary:
        """Return how much is visible."""
        with self._open(ViewRequest(to_us(as_of))) as view:
            ((num_events, num_users, first_us, last_us),) = fetch_all(
                view.connection,
                "SELECT count(*), count(DISTINCT user_id), min(epoch_us(ts)), max(epoch_us(ts)) "
                "FROM visible",
            )
        times = [None if time is None else from_us(time) for time in (first_us, last_us)]
        return LakeSummary(num_events, num_users, *times)

    def profile(
        self, *, as_of: datetime, cutoffs: Cutoffs | None = None, sample_events_max: int
    ) -> LakeProfile:
        """Return statistics of every visible attribute, of a sample of users where there are many.

        The sample depends on the users' ids alone, so the same view has the same profile.
        """
        with self._open(ViewRequest(to_us(as_of), cutoffs)) as view:
            return profile_view(view, sample_events_max=sample_events_max)

    def _open(self, request: ViewRequest) -> AbstractContextManager[View]:
        return open_view(
            self._workspace,
            self._manifests(),
            request,
            memory_limit_mb=self._memory_limit_mb,
            threads=self._threads,
        )

    def _manifests(self) -> list[Manifest]:
        return read_manifests(self._workspace) if self._pinned is None else self._pinned


def _until(as_of: datetime | None) -> int:
    return _FOREVER_US if as_of is None else to_us(as_of)


def _selected(view: View, names: Sequence[str]) -> str:
    """Return the SQL of columns under the names that are asked for, however they are spelled."""
    there = {name.lower() for name in view.columns}
    values = [
        f"{identifier(name)} AS {identifier(name)}"
        if name.lower() in there
        else f"CAST(NULL AS {VARCHAR}) AS {identifier(name)}"
        for name in names
        if name != "event_type"
    ]
    return "".join(f", {value}" for value in values)


def _row_hash(columns: dict[str, str]) -> str:
    """Return the SQL of an event's hash; values are hashed with their column's name."""
    mixed = "hash(epoch_us(ts), event_type)"
    for name in columns:
        column = identifier(name)
        value = f"hash({literal(name)}, {column})"
        mixed = f"xor({mixed}, CASE WHEN {column} IS NULL THEN CAST(0 AS UBIGINT) ELSE {value} END)"
    return f"hash({mixed})"


def _whole_users(stream: Iterator[pa.RecordBatch], max_events: int) -> Iterator[pa.Table]:
    """Regroup sorted rows so that each table ends between two users."""
    held: list[pa.RecordBatch] = []
    num_held = 0
    previous: str | None = None
    for batch in stream:
        starts = _user_starts(batch.column("user_id"), previous)
        previous = batch.column("user_id")[-1].as_py()
        done = 0
        while len(later := starts[starts >= done + max_events - num_held]):
            cut = int(later[0])
            yield pa.Table.from_batches([*held, batch.slice(done, cut - done)])
            held, num_held, done = [], 0, cut
        held.append(batch.slice(done))
        num_held += batch.num_rows - done
    if num_held:
        yield pa.Table.from_batches(held)


def _user_starts(user_ids: pa.Array, previous: str | None) -> Int64s:
    """Return the rows at which another user begins; the very first row is no such border."""
    changed = pc.not_equal(user_ids[1:], user_ids[:-1]).to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(changed) + 1
    if previous is not None and user_ids[0].as_py() != previous:
        return np.concatenate([[0], starts])
    return starts


def _to_sequences(table: pa.Table) -> SequenceBatch:
    table = table.combine_chunks()
    user_ids = table.column("user_id").combine_chunks()
    starts = np.concatenate([[0], _user_starts(user_ids, None)])
    offsets = np.append(starts, table.num_rows).astype(np.int64)
    ids: list[str] = user_ids.take(pa.array(starts)).to_pylist()
    ts_us = np.ascontiguousarray(table.column("_ts_us").to_numpy())
    return SequenceBatch(ids, offsets, ts_us, table.drop_columns(["user_id", "_ts_us"]))
