"""Hand statistics of users: what an analyst would compute first.

Shape key: `B` users, `E` events of all of them, `F` statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedder.evaluation.metrics import Floats, Int64s
from embedder.fields import numbers_of
from embedder.hashing import hash_column
from store.sequences import SequenceBatch

HOUR_US = 3_600_000_000
TYPE_BUCKETS = 16
FIRST_EVENTS = 5


@dataclass(frozen=True)
class Described:
    """What is described of users besides times and types of events.

    Which columns are numbers is decided once: a number that meets text in a later file comes as
    text from then on, and the statistics must stay the same ones.

    Attributes:
        names: Columns whose repetition is described.
        numbers: Those of them whose level is described too.
    """

    names: tuple[str, ...]
    numbers: frozenset[str]

    @classmethod
    def fit(cls, batch: SequenceBatch, names: Sequence[str]) -> "Described":
        """Describe these columns, those as numbers that are of a type of numbers here."""
        numbers = (name for name in names if _is_number(batch.events[name].type))
        return cls(tuple(names), frozenset(numbers))


def count_statistics(batch: SequenceBatch, described: Described) -> Floats:
    """Return the statistics of every user, float64 of shape (B, F); NaN where undefined.

    Args:
        batch: The users; their events have all described columns.
        described: The columns; F depends on these alone.
    """
    user_E = np.repeat(np.arange(batch.num_users), batch.num_events)
    parts = [_times(batch, user_E), _gaps(batch, user_E), _types(batch, user_E)]
    for name in described.names:
        parts.append(_repeats(batch, user_E, batch.events[name]))
        if name in described.numbers:
            parts.append(_level(batch, user_E, batch.events[name]))
    parts.append(_first_types(batch))
    return np.hstack(parts)


def _times(batch: SequenceBatch, user_E: Int64s) -> Floats:
    hour_E = (batch.ts_us // HOUR_US) % 24
    weekday_E = (batch.ts_us // (24 * HOUR_US) + 3) % 7
    hour_B24 = _mix(user_E, hour_E, batch.num_users, 24)
    weekday_B7 = _mix(user_E, weekday_E, batch.num_users, 7)
    six_hours_B4 = hour_B24.reshape(batch.num_users, 4, 6).sum(axis=2)
    return np.hstack([six_hours_B4, weekday_B7[:, 5:].sum(axis=1, keepdims=True)])


def _gaps(batch: SequenceBatch, user_E: Int64s) -> Floats:
    seconds_E = np.diff(batch.ts_us, prepend=batch.ts_us[:1]) / 1e6
    gap_E = np.where(_follows(user_E), np.log1p(np.maximum(seconds_E, 0)), np.nan)
    mean_B, spread_B = _mean_and_spread(gap_E, user_E, batch.num_users)
    least_B, most_B = _extremes(gap_E, user_E, batch.num_users)
    ends_us = np.append(batch.ts_us, 0)
    lived_us = ends_us[batch.offsets[1:] - 1] - ends_us[batch.offsets[:-1]]
    lived_B = np.log1p(np.where(batch.num_events > 0, lived_us, 0) / 1e6)
    count_B = np.log1p(batch.num_events)
    first_gaps_BF = _at_start(gap_E, batch)
    columns = [count_B, lived_B, mean_B, spread_B, least_B, most_B]
    return np.hstack([np.column_stack(columns), first_gaps_BF])


def _types(batch: SequenceBatch, user_E: Int64s) -> Floats:
    bucket_E = (hash_column(batch.events["event_type"]) % np.uint64(TYPE_BUCKETS)).astype(np.int64)
    return _mix(user_E, bucket_E, batch.num_users, TYPE_BUCKETS)


def _first_types(batch: SequenceBatch) -> Floats:
    hashed_E = hash_column(batch.events["event_type"])
    return _at_start((hashed_E % np.uint64(TYPE_BUCKETS)).astype(np.float64), batch)


def _repeats(batch: SequenceBatch, user_E: Int64s, column: pa.ChunkedArray) -> Floats:
    """Return the share of distinct values, and of values equal to the one before."""
    value_E = hash_column(column)
    order = np.lexsort((value_E, user_E))
    ranked_E, owner_E = value_E[order], user_E[order]
    fresh_E = np.append(True, (ranked_E[1:] != ranked_E[:-1]) | (owner_E[1:] != owner_E[:-1]))
    fresh_E = fresh_E[: len(user_E)]
    distinct_B = np.bincount(owner_E[fresh_E], minlength=batch.num_users)
    same_E = _follows(user_E) & np.append(False, value_E[1:] == value_E[:-1])[: len(user_E)]
    same_B = np.bincount(user_E[same_E], minlength=batch.num_users)
    count_B = np.maximum(batch.num_events, 1)
    return np.column_stack([distinct_B / count_B, same_B / count_B])


def _level(batch: SequenceBatch, user_E: Int64s, column: pa.ChunkedArray) -> Floats:
    value_E = numbers_of(column)
    scaled_E = np.sign(value_E) * np.log1p(np.abs(value_E))
    mean_B, spread_B = _mean_and_spread(scaled_E, user_E, batch.num_users)
    return np.column_stack([mean_B, spread_B])


def _mix(user_E: Int64s, code_E: Int64s, num_users: int, num_codes: int) -> Floats:
    flat = np.bincount(user_E * num_codes + code_E, minlength=num_users * num_codes)
    counts = flat.reshape(num_users, num_codes).astype(np.float64)
    shares: Floats = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _mean_and_spread(value_E: Floats, user_E: Int64s, num_users: int) -> tuple[Floats, Floats]:
    known = np.isfinite(value_E)
    user, value = user_E[known], value_E[known]
    count_B = np.bincount(user, minlength=num_users).astype(np.float64)
    count_B[count_B == 0] = np.nan
    mean_B = np.bincount(user, value, minlength=num_users) / count_B
    square_B = np.bincount(user, (value - mean_B[user]) ** 2, minlength=num_users) / count_B
    return mean_B, np.sqrt(square_B)


def _extremes(value_E: Floats, user_E: Int64s, num_users: int) -> tuple[Floats, Floats]:
    known = np.isfinite(value_E)
    least_B, most_B = np.full(num_users, np.inf), np.full(num_users, -np.inf)
    np.minimum.at(least_B, user_E[known], value_E[known])
    np.maximum.at(most_B, user_E[known], value_E[known])
    return np.where(np.isfinite(least_B), least_B, np.nan), np.where(
        np.isfinite(most_B), most_B, np.nan
    )


def _at_start(value_E: Floats, batch: SequenceBatch) -> Floats:
    """Return the values of each user's first events, NaN past the end, of shape (B, 5)."""
    position_F = np.arange(FIRST_EVENTS)
    row_BF = batch.offsets[:-1, None] + position_F
    there_BF = position_F < batch.num_events[:, None]
    return np.where(there_BF, np.append(value_E, np.nan)[np.where(there_BF, row_BF, -1)], np.nan)


def _follows(user_E: Int64s) -> npt.NDArray[np.bool_]:
    """Return whether an event has one of the same user before it."""
    return np.append(False, user_E[1:] == user_E[:-1])[: len(user_E)]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
