"""Draw the users of a task and hold their sequences, bounded by the configured sizes.

Shape key: `B` users of a batch, `E` events of all of them.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from embedder.evaluation.metrics import Int64s
from store.sequences import SequenceBatch


def draw_rows(rows: Int64s, *, size_max: int, rng: np.random.Generator) -> Int64s:
    """Return the rows, or a random sample of them where there are too many, ascending."""
    if len(rows) <= size_max:
        return rows
    return np.sort(rng.choice(rows, size=size_max, replace=False))


def join_batches(batches: Iterable[SequenceBatch], *, max_events: int) -> SequenceBatch | None:
    """Put batches into one, with at most `max_events` first events of a user; None if empty."""
    heads = [batch.head(max_events) for batch in batches]
    heads = [batch for batch in heads if batch.num_users]
    if not heads:
        return None
    sizes = np.concatenate([batch.num_events for batch in heads])
    return SequenceBatch(
        [user for batch in heads for user in batch.user_ids],
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.concatenate([batch.ts_us for batch in heads]),
        pa.concat_tables([batch.events for batch in heads], promote_options="permissive"),
    )


def rows_of(batch: SequenceBatch, user_ids: Sequence[str]) -> Int64s:
    """Return the row of each user in the batch; -1 where the user is not there."""
    row = {user: number for number, user in enumerate(batch.user_ids)}
    return np.array([row.get(user, -1) for user in user_ids], dtype=np.int64)


def owners(batch: SequenceBatch) -> Int64s:
    """Return the user row of every event, int64 of length E."""
    return np.repeat(np.arange(batch.num_users, dtype=np.int64), batch.num_events)
