"""The users of a time with what is known about them, in arrays.

Shape key: `N` users, sorted by id.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.early_risk import UNKNOWN, choose_cut
from embedder.evaluation.sample import join_batches
from jobs.errors import NothingToEvaluate
from jobs.settings import Settings
from store.clock import to_us
from store.database import Database
from store.labels import VIOLATOR, LabelStore, LabelView
from store.lake import EventLake
from store.sequences import SequenceBatch
from store.workspace import Workspace

Int64s = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FROM_THE_START = np.iinfo(np.int64).min
EVENTS_PER_BATCH = 200_000


@dataclass(frozen=True)
class People:
    """Users with events before a time, and their labels in force then.

    Attributes:
        as_of: The time.
        labels: The labels in force.
        user_ids: N ids, ascending.
        num_events_N: Events before the time and before the violation.
        first_us_N: Time of the first of them.
        last_us_N: Time of the last of them.
        label_N: 1, 0, or -1 without a label.
        known_us_N: When the label was learned; the smallest number where that is not recorded.
        group: The known ring or person of each user, or None.
    """

    as_of: datetime
    labels: LabelView
    user_ids: list[str]
    num_events_N: Int64s
    first_us_N: Int64s
    last_us_N: Int64s
    label_N: Int64s
    known_us_N: Int64s
    group: list[str | None]

    @property
    def is_violator_N(self) -> Flags:
        """Whether a label says so."""
        is_violator_N: Flags = self.label_N == VIOLATOR
        return is_violator_N

    def ids(self, rows: Int64s) -> list[str]:
        """Return the ids of some users."""
        return [self.user_ids[row] for row in rows.tolist()]

    def extra(self, column: str, rows: Int64s) -> list[str | None]:
        """Return a further column of the labels file for some users; None where it is empty."""
        wanted = pa.array(self.ids(rows), pa.string())
        place = pc.index_in(wanted, value_set=self.labels.table["user_id"])
        texts = self.labels.table["extra"].combine_chunks().take(place).to_pylist()
        return [_value(text, column) for text in texts]


def open_people(
    workspace: Workspace, settings: Settings, *, now: datetime
) -> tuple[EventLake, LabelStore, People]:
    """Return a workspace's events, labels, and users as known now."""
    lake = EventLake(
        workspace, memory_limit_mb=settings.ingest.memory_limit_mb, threads=settings.ingest.threads
    )
    database = Database(workspace.ops_url)
    database.migrate()
    labels = LabelStore(database)
    return lake, labels, read_people(lake, labels.as_of(now), as_of=now)


def find_cut(people: People, cut: datetime | None, config: EvaluationConfig) -> int:
    """Return the time given, or one by which most violators were known (users, without those).

    Raises:
        NothingToEvaluate: If nobody was seen before it.
    """
    if cut is not None:
        cut_us: int | None = to_us(cut)
    else:
        known_us = people.known_us_N[people.is_violator_N]
        known_us = known_us[known_us != FROM_THE_START]
        cut_us = choose_cut(known_us if len(known_us) else people.first_us_N, config)
    if cut_us is None or not (people.first_us_N < cut_us).any():
        raise NothingToEvaluate("there are no events to learn from before the cut")
    return cut_us


def read_people(lake: EventLake, labels: LabelView, *, as_of: datetime) -> People:
    """Read the users who have events before their violation and before `as_of`."""
    users = lake.users(as_of=as_of, cutoffs=labels.cutoffs())
    place = pc.index_in(users["user_id"], value_set=labels.table["user_id"])
    table = labels.table

    def column(name: str) -> pa.ChunkedArray:
        return table[name].combine_chunks().take(place)

    label = pc.fill_null(column("label"), UNKNOWN)
    known = pc.coalesce(column("known_at_us"), column("occurred_at_us"))
    return People(
        as_of=as_of,
        labels=labels,
        user_ids=users["user_id"].to_pylist(),
        num_events_N=users["num_events"].to_numpy(),
        first_us_N=users["first_ts_us"].to_numpy(),
        last_us_N=users["last_ts_us"].to_numpy(),
        label_N=label.to_numpy().astype(np.int64),
        known_us_N=pc.fill_null(known, FROM_THE_START).to_numpy(),
        group=column("group").to_pylist(),
    )


def read_sequences(
    lake: EventLake,
    people: People,
    rows: Int64s,
    *,
    columns: Sequence[str],
    max_events: int,
) -> SequenceBatch | None:
    """Read the first events of some users, ascending by id; None where there are none."""
    if not len(rows):
        return None
    batches = lake.batches(
        as_of=people.as_of,
        cutoffs=people.labels.cutoffs(),
        users=people.ids(rows),
        columns=columns,
        max_events=EVENTS_PER_BATCH,
    )
    return join_batches(batches, max_events=max_events)


def _value(text: str | None, column: str) -> str | None:
    value = json.loads(text).get(column) if text else None
    return None if value in (None, "") else str(value)
