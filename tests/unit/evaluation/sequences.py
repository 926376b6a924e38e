"""Small batches of sequences, written out by hand."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from store.schema import Column, EventSchema, Role
from store.sequences import SequenceBatch

HOUR_US = 3_600_000_000
SCHEMA = EventSchema(
    (
        Column("event_type", frozenset({Role.CATEGORY})),
        Column("place", frozenset({Role.TARGET})),
        Column("size", frozenset({Role.NUMBER})),
    )
)
Event = tuple[float, str, str, float | None]  # hour, type, place, size


def make_batch(users: Mapping[str, Sequence[Event]]) -> SequenceBatch:
    """Return these users' events; hours count from 1970."""
    events = [event for user in users for event in users[user]]
    offsets = np.concatenate([[0], np.cumsum([len(users[user]) for user in users])])
    return SequenceBatch(
        list(users),
        offsets.astype(np.int64),
        np.array([int(event[0] * HOUR_US) for event in events], dtype=np.int64),
        pa.table(
            {
                "event_type": pa.array([event[1] for event in events], pa.string()),
                "place": pa.array([event[2] for event in events], pa.string()),
                "size": pa.array([event[3] for event in events], pa.float64()),
            }
        ),
    )


def at(hours: Sequence[float], place: str = "p", kind: str = "join") -> list[Event]:
    """Return one event an hour at one place."""
    return [(hour, kind, place, None) for hour in hours]
