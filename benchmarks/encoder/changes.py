"""What is done to events and labels before a method learns and judges: ablations of the data.

Shape key: `B` users of a batch, `E` events of all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from embedder.evaluation.metrics import Flags
from embedder.evaluation.sample import owners
from embedder.hashing import hash_strings, mix
from store.sequences import SequenceBatch

NOISE, EVENTS_PER_NOISE = "added_noise", 3
_SALT = np.uint64(0x9C6E_63D0_876A_68DB)

Change = Callable[[SequenceBatch, np.random.Generator], SequenceBatch]


def unchanged(batch: SequenceBatch, rng: np.random.Generator) -> SequenceBatch:
    """Return the events as they are."""
    return batch


@dataclass(frozen=True)
class Alteration:
    """Changed events, or a share of the labels.

    Attributes:
        name: Names the changed workspace.
        change: Done to what is learned from and to what is judged.
        label_share: Labels that are left to learn from.
    """

    name: str
    change: Change = unchanged
    label_share: float = 1.0

    @property
    def is_plain(self) -> bool:
        """Whether nothing is altered."""
        return self.change is unchanged and self.label_share == 1.0


PLAIN = Alteration("plain")


def shuffle_order(batch: SequenceBatch, rng: np.random.Generator) -> SequenceBatch:
    """Deal what a user did to the user's times at random; the times stay."""
    order = np.lexsort((rng.random(len(batch.ts_us)), owners(batch)))
    events = batch.events.take(pa.array(order))
    return SequenceBatch(batch.user_ids, batch.offsets, batch.ts_us, events)


def redraw_times(batch: SequenceBatch, rng: np.random.Generator) -> SequenceBatch:
    """Draw the times between a user's first and last event evenly; the order stays."""
    user_E = owners(batch)
    first_E, last_E = (
        batch.ts_us[ends][user_E] for ends in (batch.offsets[:-1], batch.offsets[1:] - 1)
    )
    drawn = first_E + (rng.random(len(user_E)) * (last_E - first_E)).astype(np.int64)
    drawn[batch.offsets[:-1]] = batch.ts_us[batch.offsets[:-1]]
    drawn[batch.offsets[1:] - 1] = batch.ts_us[batch.offsets[1:] - 1]
    ts_us = drawn[np.lexsort((drawn, user_E))]
    return SequenceBatch(batch.user_ids, batch.offsets, ts_us, batch.events)


def without_column(name: str) -> Change:
    """Return a change that empties a column."""

    def change(batch: SequenceBatch, rng: np.random.Generator) -> SequenceBatch:
        if name not in batch.events.column_names:
            return batch
        place = batch.events.schema.get_field_index(name)
        empty = pa.nulls(batch.events.num_rows, batch.events.schema.field(name).type)
        events = batch.events.set_column(place, name, empty)
        return SequenceBatch(batch.user_ids, batch.offsets, batch.ts_us, events)

    return change


def add_noise(batch: SequenceBatch, rng: np.random.Generator) -> SequenceBatch:
    """Add a column as a session id would be: a random value for a run of a user's events.

    Values are drawn anew for every batch, so that two halves of a user never share one.
    """
    starts = rng.random(len(batch.ts_us)) < 1 / EVENTS_PER_NOISE
    starts[batch.offsets[:-1][batch.num_events > 0]] = True
    run_E = np.cumsum(starts) - 1
    values = rng.integers(0, 1 << 62, int(starts.sum())).astype(str)
    column = pa.array(values).take(pa.array(run_E))
    events = batch.events.append_column(NOISE, column)
    return SequenceBatch(batch.user_ids, batch.offsets, batch.ts_us, events)


def kept_labels(user_ids: Sequence[str], share: float) -> Flags:
    """Return whose label is left; a smaller share is part of a larger one."""
    hashes = mix(hash_strings(pa.array(user_ids, pa.large_string())) ^ _SALT)
    kept: Flags = hashes.astype(np.float64) / 2.0**64 < share
    return kept
