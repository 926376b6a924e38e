"""Event sequences as flat arrays: the one shape in which events leave the store.

Shape key: `B` users of a batch, `E` events of all of them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SequenceBatch:
    """Whole sequences of B users; rows `offsets[b]:offsets[b + 1]` are user b's, oldest first.

    Attributes:
        user_ids: B ids, unique within the batch.
        offsets: int64 of length B + 1, starting at 0 and ending at E.
        ts_us: int64 of length E, microseconds since 1970 UTC, ascending within a user.
        events: E rows: `event_type` and every attribute column; neither `user_id` nor `ts`.
    """

    user_ids: Sequence[str]
    offsets: Int64s
    ts_us: Int64s
    events: pa.Table

    def __post_init__(self) -> None:
        assert len(self.offsets) == len(self.user_ids) + 1
        assert int(self.offsets[-1]) == len(self.ts_us) == self.events.num_rows

    @property
    def num_users(self) -> int:
        """B."""
        return len(self.user_ids)

    @property
    def num_events(self) -> Int64s:
        """Events per user, int64 of length B."""
        return np.diff(self.offsets)

    def take(
        self, rows: Int64s, *, start: Int64s | None = None, stop: Int64s | None = None
    ) -> "SequenceBatch":
        """Return slices of some users' sequences, in the order of `rows`.

        Args:
            rows: Positions of users in this batch; one user may appear several times.
            start: First event of each slice, counted from the user's first; 0 if absent.
            stop: End of each slice (exclusive), clipped to the sequence; the end if absent.
        """
        length = self.num_events[rows]
        first = np.zeros_like(length) if start is None else np.minimum(start, length)
        last = length if stop is None else np.maximum(np.minimum(stop, length), first)
        sizes = last - first
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        shift = np.repeat(self.offsets[rows] + first - offsets[:-1], sizes)
        picked = np.arange(offsets[-1], dtype=np.int64) + shift
        ids = [self.user_ids[row] for row in rows.tolist()]
        return SequenceBatch(ids, offsets, self.ts_us[picked], self.events.take(pa.array(picked)))

    def keep(self, keep_E: npt.NDArray[np.bool_]) -> "SequenceBatch":
        """Return the same users with some of their events only."""
        user_E = np.repeat(np.arange(self.num_users), self.num_events)
        sizes = np.bincount(user_E[keep_E], minlength=self.num_users)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        events = self.events.filter(pa.array(keep_E))
        return SequenceBatch(self.user_ids, offsets, self.ts_us[keep_E], events)

    def head(self, num_events: int) -> "SequenceBatch":
        """Return every user's first `num_events` events (all, where there are fewer)."""
        rows = np.arange(self.num_users, dtype=np.int64)
        return self.take(rows, stop=np.full(self.num_users, num_events, dtype=np.int64))
