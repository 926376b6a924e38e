"""Users whose events arrived since the build: found in the lake, embedded, and served at once.

A poll that finds nothing new reads the manifests of the lake and no event.
"""

import logging
import threading
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.delta import SEEN_SCHEMA, ChangedUsers
from index.live import LiveService
from index.overlay import LABEL_COLUMNS, LabelOverlay, same_labels
from index.population import Population
from index.service import Clock, LookalikeService, utc_now
from store.database import Database
from store.labels import LabelStore, LabelView
from store.lake import EventLake
from store.manifests import last_ingest_before
from store.sequences import SequenceBatch
from store.view import Cutoffs
from store.workspace import Workspace

logger = logging.getLogger(__name__)

USERS_PER_POLL = 5_000
EVENTS_PER_BATCH = 100_000
MEMORY_LIMIT_MB = 512
CLOCKS_APART_MAX = timedelta(seconds=60)


class Arrivals:
    """Follows the lake for one service; one thread calls `poll`.

    Args:
        workspace: Where the lake is.
        database: Knows from when on a violator's events are not used.
        live: Who is told of changed users.
        clock: Tells the time.
    """

    def __init__(
        self,
        workspace: Workspace,
        database: Database,
        live: LiveService,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._workspace = workspace
        self._labels = LabelStore(database)
        self._live = live
        self._clock = clock
        self._build_id: str | None = None
        self._after_ingest = 0
        self._after: datetime | None = None
        self._labels_seen: pa.Table | None = None
        self._waiting: list[str] = []
        self._hidden: list[str] = []
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End a poll that is under way after the batch at hand."""
        self._stopping.set()

    def poll(self) -> int:
        """Serve users who came or changed, at most `USERS_PER_POLL`; return how many.

        Raises:
            NoLiveBuild: While nothing is served.
            SpaceMismatch: If a build of another encoder went live meanwhile.
            store.errors.StoreError: If lake or labels can't be read; the next poll tries again.
        """
        service, now = self._live.current(), self._clock()
        lake = EventLake(self._workspace, memory_limit_mb=MEMORY_LIMIT_MB, threads=1).pinned()
        self._look(service, lake, now)
        if not self._waiting and not self._hidden:
            return 0
        chosen = [*self._waiting, *self._hidden][:USERS_PER_POLL]
        left_out_before = self._live.status().num_left_out
        num_served = self._serve(service, lake, chosen, now)
        self._hidden = self._hidden[max(0, USERS_PER_POLL - len(self._waiting)) :]
        self._waiting = self._waiting[USERS_PER_POLL:]
        num_left_out = self._live.status().num_left_out
        if num_left_out > left_out_before:
            logger.warning(
                "no room for %d users who came or changed; run lookalike rebuild", num_left_out
            )
        return num_served

    def _look(self, service: LookalikeService, lake: EventLake, now: datetime) -> None:
        """Note who may have changed since the last look, or since the build if that is another."""
        if service.build_id != self._build_id:
            published_before = service.created_at - CLOCKS_APART_MAX
            self._after_ingest = last_ingest_before(self._workspace, published_before)
            self._after = service.data_as_of
            self._build_id, self._labels_seen = service.build_id, None
            self._waiting, self._hidden = [], []
        assert self._after is not None
        arrived = lake.arrived(as_of=now, after_ingest=self._after_ingest, after=self._after)
        overlay, delta = service.population.overlay, service.population.delta
        if overlay.changes is not self._labels_seen:  # what a violator did later is left out
            labelled = overlay.changes["user_id"].to_pylist()
            arrived += overlay.users.ids.to_pylist()
            arrived += [name for name in labelled if name in delta.slot_of or name in delta.gone]
            self._hidden += _relabelled_strangers(overlay, self._labels_seen)
        if arrived:
            self._waiting = sorted({*self._waiting, *arrived})
        if self._hidden:  # after those who came: mostly there is nothing to be seen of them
            self._hidden = sorted({*self._hidden}.difference(self._waiting))
        self._labels_seen = overlay.changes
        self._after_ingest, self._after = lake.last_ingest(), now

    def _serve(
        self, service: LookalikeService, lake: EventLake, chosen: Sequence[str], now: datetime
    ) -> int:
        """Embed and serve those of some users whose events are others than those served.

        Nobody is embedded for whom there is no room; who is served beside the build always has.
        """
        labels = self._labels.as_of(now, users=chosen)
        cutoffs = labels.cutoffs()
        users = lake.users(as_of=now, cutoffs=cutoffs, users=chosen)
        population = service.population
        gone = _without_events(population, chosen, users)
        if gone:
            nobody = np.empty((0, service.dim), dtype=np.float32)
            self._live.apply(
                ChangedUsers(SEEN_SCHEMA.empty_table(), nobody, service.space_id, now, gone)
            )
        changed = _labelled(_changed(population, users), labels)
        admitted = self._live.admit(changed["user_id"].to_pylist())
        num_served = len(gone)
        for batch in _batches(service, lake, admitted, cutoffs, now):
            rows = pc.index_in(pa.array(batch.user_ids, pa.string()), value_set=changed["user_id"])
            vectors = service.embedder.embed(batch)
            self._live.apply(ChangedUsers(changed.take(rows), vectors, service.space_id, now))
            num_served += batch.num_users
            if self._stopping.is_set():
                break
        return num_served


def _batches(
    service: LookalikeService,
    lake: EventLake,
    user_ids: Collection[str],
    cutoffs: Cutoffs,
    now: datetime,
) -> Iterator[SequenceBatch]:
    """Yield all events of some users, in batches of bounded size."""
    if not user_ids:
        return iter(())
    return lake.batches(
        as_of=now,
        cutoffs=cutoffs,
        users=user_ids,
        columns=[column.name for column in service.embedder.schema.columns],
        max_events=EVENTS_PER_BATCH,
    )


def _changed(population: Population, users: pa.Table) -> pa.Table:
    """Return the users whose events are not those behind the vector that is served."""
    rows = population.rows_of(users["user_id"].to_pylist())
    is_known = rows >= 0
    differs = np.ones(len(rows), dtype=bool)
    served = population.fingerprints_of(rows[is_known])
    differs[is_known] = served != users["fingerprint"].to_numpy()[is_known]
    return users.filter(pa.array(differs)).combine_chunks()


def _labelled(users: pa.Table, labels: LabelView) -> pa.Table:
    """Return users with their labels of now."""
    labelled = labels.table["user_id"].combine_chunks()
    place = pc.index_in(users["user_id"].cast(pa.string()), value_set=labelled)
    known = labels.table.take(place)
    for name in LABEL_COLUMNS:
        users = users.append_column(name, known[name])
    return users.combine_chunks()


def _relabelled_strangers(overlay: LabelOverlay, seen: pa.Table | None) -> list[str]:
    """Return whom the build does not hold and whose label is another than the last time.

    A label that no longer counts may have hidden all events of a user.
    """
    changes = overlay.changes
    rows_M = np.fromiter(overlay.row_of.values(), np.int64, changes.num_rows)
    is_stranger = rows_M < 0
    strangers = changes.filter(pa.array(is_stranger)).combine_chunks()
    if seen is not None:
        place = pc.index_in(strangers["user_id"], value_set=seen["user_id"].combine_chunks())
        before = same_labels(seen.take(place), strangers) & pc.is_valid(place).to_numpy()
        strangers = strangers.filter(pa.array(~before))
    ids: list[str] = strangers["user_id"].to_pylist()
    return ids


def _without_events(
    population: Population, chosen: Sequence[str], users: pa.Table
) -> frozenset[str]:
    """Return those of the chosen users who are served and have no event left."""
    there = set(users["user_id"].to_pylist())
    missing = [user_id for user_id in chosen if user_id not in there]
    rows = population.rows_of(missing)
    return frozenset(user_id for user_id, row in zip(missing, rows, strict=True) if row >= 0)
