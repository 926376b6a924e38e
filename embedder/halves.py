"""Two halves of users' lives, and what is left of the second at targets that are new to the user.

Shape key: `B` users of a batch, `E` events of all of them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from embedder.hashing import Hashes, hash_column, mix
from store.sequences import Int64s, SequenceBatch


@dataclass(frozen=True)
class Halves:
    """The same users before and after."""

    first: SequenceBatch
    second: SequenceBatch

    def rows(self, rows: Int64s) -> "Halves":
        """Return the halves of some users."""
        return Halves(self.first.take(rows), self.second.take(rows))


def at_new_targets(halves: Halves, target: str, *, events_min: int) -> Halves:
    """Drop later events at targets of the user's own first half, then users left with too few.

    Args:
        halves: Of the same users.
        target: The column; an event without a target is kept.
        events_min: Events that a second half must have left.
    """
    second = halves.second
    missing_E = pc.is_null(second.events[target]).to_numpy()
    seen = _user_and_target(halves.first, target)
    keep_E: npt.NDArray[np.bool_] = missing_E | ~np.isin(_user_and_target(second, target), seen)
    second = second.keep(keep_E)
    rows = np.flatnonzero(second.num_events >= events_min)
    return Halves(halves.first.take(rows), second.take(rows))


def _user_and_target(batch: SequenceBatch, target: str) -> Hashes:
    user_E = np.repeat(np.arange(batch.num_users, dtype=np.uint64), batch.num_events)
    return mix(hash_column(batch.events[target]) ^ mix(user_E + np.uint64(1)))
