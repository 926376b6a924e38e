"""Crowds of violators and others who behave alike, unless a test makes them differ."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from embedder.evaluation.metrics import Flags, Int64s
from store.schema import Column, EventSchema, Role
from store.sequences import SequenceBatch
from tests.unit.evaluation.sequences import HOUR_US, SCHEMA

KINDS = ("chat", "join", "trade", "report", "leave")


def make_crowd(
    num_users: int = 800, *, seed: int = 0, violators_live: float = 6.0, others_live: float = 15.0
) -> tuple[SequenceBatch, Flags]:
    """Return users of whom a quarter are violators, and which; lives differ in length alone."""
    rng = np.random.default_rng(seed)
    is_violator = np.arange(num_users) % 4 == 0
    size = rng.geometric(1 / np.where(is_violator, violators_live, others_live))
    offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    total = int(offsets[-1])
    events = pa.table(
        {
            "event_type": pa.array(rng.choice(KINDS, total)),
            "place": pa.array([f"place {number}" for number in rng.integers(0, 40, total)]),
            "size": pa.array(rng.normal(size=total)),
        }
    )
    ts_us = np.concatenate([np.arange(count) for count in size.tolist()]) * HOUR_US
    ids = [f"u{number:04}" for number in range(num_users)]
    return SequenceBatch(ids, offsets, ts_us.astype(np.int64), events), is_violator


def users_of(batch: SequenceBatch) -> Int64s:
    """Return the row of the user of each event."""
    return np.repeat(np.arange(batch.num_users), batch.num_events)


def add_column(
    batch: SequenceBatch, role: Role, values: Sequence[object]
) -> tuple[SequenceBatch, EventSchema]:
    """Return the users and the schema with a column named `extra`."""
    events = batch.events.append_column("extra", pa.array(list(values)))
    columns = sorted((*SCHEMA.columns, Column("extra", frozenset({role}))), key=lambda c: c.name)
    wider = SequenceBatch(batch.user_ids, batch.offsets, batch.ts_us, events)
    return wider, EventSchema(tuple(columns))
