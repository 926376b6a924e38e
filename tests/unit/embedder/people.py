"""Made-up people with habits: what each does, where, when, how much and by what means."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from store.schema import Column, EventSchema, Role
from store.sequences import SequenceBatch

SECOND_US, HOUR_US, DAY_US = 1_000_000, 3_600_000_000, 86_400_000_000
TYPES = ("join", "say", "buy", "leave", "report")
AGENTS = ("web", "phone", "console", "bot")
SCHEMA = EventSchema(
    (
        Column("agent", frozenset({Role.CATEGORY})),
        Column("event_type", frozenset({Role.CATEGORY})),
        Column("page", frozenset({Role.TARGET})),
        Column("size", frozenset({Role.NUMBER})),
    )
)


def batch_of(
    users: Mapping[str, int], ts_us: Sequence[int], columns: Mapping[str, Sequence[object]]
) -> SequenceBatch:
    """Return a batch of users with so many events each; the columns hold all events in order."""
    offsets = np.concatenate([[0], np.cumsum(list(users.values()))]).astype(np.int64)
    events = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
    return SequenceBatch(list(users), offsets, np.array(ts_us, dtype=np.int64), events)


def make_people(num_users: int, seed: int, *, mean_events: float = 12.0) -> SequenceBatch:
    """Return people who each keep to a few pages, a favorite type, an agent, an hour and a size."""
    rng = np.random.default_rng(seed)
    sizes = np.maximum(rng.poisson(mean_events, num_users), 1)
    user_E = np.repeat(np.arange(num_users), sizes)
    num_pages = max(num_users // 2, 70)
    haunts_UP = rng.integers(0, num_pages, (num_users, 3))
    page_E = haunts_UP[user_E, rng.integers(0, 3, len(user_E))]
    habit_U, agent_U = rng.integers(0, 5, num_users), rng.integers(0, 4, num_users)
    strays_E = rng.random(len(user_E)) < 0.3
    type_E = np.where(strays_E, rng.integers(0, 5, len(user_E)), habit_U[user_E])
    hour_E = rng.integers(0, 24, num_users)[user_E] + rng.random(len(user_E))
    day_E = np.concatenate([np.sort(rng.integers(0, 60, size)) for size in sizes])
    ts_us = (day_E * DAY_US + hour_E * HOUR_US).astype(np.int64)
    ts_us = ts_us[np.lexsort((ts_us, user_E))]
    size_E = rng.normal(rng.normal(100, 30, num_users)[user_E], 5.0)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    events = pa.table(
        {
            "agent": pa.array([AGENTS[agent] for agent in agent_U[user_E]]),
            "event_type": pa.array([TYPES[kind] for kind in type_E]),
            "page": pa.array([f"page {page}" for page in page_E]),
            "size": pa.array(size_E),
        }
    )
    return SequenceBatch([f"u{row:05d}" for row in range(num_users)], offsets, ts_us, events)


def with_column(
    batch: SequenceBatch, schema: EventSchema, name: str, role: Role, values: pa.Array
) -> tuple[SequenceBatch, EventSchema]:
    """Return the batch and schema with one more column."""
    events = batch.events.append_column(name, values)
    columns = sorted((*schema.columns, Column(name, frozenset({role}))), key=lambda one: one.name)
    return (
        SequenceBatch(batch.user_ids, batch.offsets, batch.ts_us, events),
        EventSchema(tuple(columns)),
    )
