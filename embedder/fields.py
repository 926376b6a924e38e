"""Fields: what a column of events becomes, fitted once on the training users.

A field turns a column into *slots*: rows of one embedding table with weights. A category takes one
row, a number is spread over the two quantile knots around it (a piecewise-linear code), a column
with too many values takes two hashed rows. Nothing here knows a user's id or an absolute time.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedder.hashing import MISSING, Hashes, hash_name, mix

NUMBER_MAX = 1e150

Slots = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class VocabularyField:
    """A category with few values, by salted hash; slots: missing, any other, each known one."""

    name: str
    values: Hashes

    @property
    def num_slots(self) -> int:
        """Rows of the table."""
        return len(self.values) + 2


@dataclass(frozen=True)
class NumberField:
    """A number, interpolated between quantile knots; slot 0 is missing or not finite."""

    name: str
    knots: npt.NDArray[np.float64]

    @property
    def num_slots(self) -> int:
        """Rows of the table."""
        return len(self.knots) + 1


@dataclass(frozen=True)
class HashedField:
    """A category with many values, by salted hash; `document_frequency` counts users per value."""

    name: str
    values: Hashes
    document_frequency: npt.NDArray[np.int64]
    num_users: int
    learned: bool

    def users_with(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        """Return the number of training users that had each value; 0 for a value never seen."""
        if len(self.values) == 0:
            return np.zeros(len(hashes), dtype=np.int64)
        at = np.minimum(np.searchsorted(self.values, hashes), len(self.values) - 1)
        return np.where(self.values[at] == hashes, self.document_frequency[at], 0)


def lookup_slots(hashes: Hashes, values: Hashes) -> Slots:
    """Return the slot of each hash in a sorted vocabulary, with weight one; shape (E, 1)."""
    at = np.searchsorted(values, hashes)
    known = np.zeros(len(hashes), dtype=bool)
    if len(values):
        known = values[np.minimum(at, len(values) - 1)] == hashes
    ids = np.where(hashes == MISSING, 0, np.where(known, at + 2, 1)).astype(np.int32)
    return ids[:, None], np.ones((len(ids), 1), dtype=np.float32)


def interpolate(value: npt.NDArray[np.float64], knots: npt.NDArray[np.float64]) -> Slots:
    """Spread values over their two neighboring knots; slot 0 takes NaN; shape (E, 2)."""
    finite = np.isfinite(value)
    clipped = np.clip(np.where(finite, value, knots[0]), knots[0], knots[-1])
    if len(knots) == 1:
        low, share = np.zeros(len(value), dtype=np.int64), np.zeros(len(value))
    else:
        low = np.clip(np.searchsorted(knots, clipped, side="right") - 1, 0, len(knots) - 2)
        share = (clipped - knots[low]) / (knots[low + 1] - knots[low])
    high = np.minimum(low + 1, len(knots) - 1)
    ids = np.where(finite[:, None], np.stack([low, high], axis=1) + 1, 0).astype(np.int32)
    weights = np.stack([1.0 - share, share], axis=1)
    weights[~finite] = (1.0, 0.0)
    return ids, weights.astype(np.float32)


def numbers_of(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return a column as float64, null as NaN; text that is no number is NaN too.

    A flag that meets text in a later file comes as text, and stays one and zero. Numbers are
    bounded, lest the difference of two of them overflow.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.if_else(pc.equal(column, "true"), "1", column)
        column = pc.if_else(pc.equal(column, "false"), "0", column)
        plain = pc.match_substring_regex(column, r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$")
        column = pc.if_else(plain, pc.utf8_trim_whitespace(column), None)
    values = column.cast(pa.float64(), safe=False).to_numpy()  # large integers are rounded
    return np.where(np.isfinite(values), np.clip(values, -NUMBER_MAX, NUMBER_MAX), np.nan)


def salted(name: str, hashes: Hashes) -> Hashes:
    """Return hashes that differ between columns, so that equal text in two columns is not equal."""
    return np.where(hashes == MISSING, MISSING, mix(hashes ^ hash_name(name)) | np.uint64(1))


def count_users(
    hashes: Hashes, user_E: npt.NDArray[np.int64]
) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Return the distinct values, sorted, and how many users had each; missing left out."""
    present = np.flatnonzero(hashes != MISSING)
    pair = mix(hashes[present] ^ mix(user_E[present].astype(np.uint64) + np.uint64(1)))
    _, first = np.unique(pair, return_index=True)
    return np.unique(hashes[present[first]], return_counts=True)


def fit_knots(value: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Return at most `count` distinct quantiles of the finite values."""
    finite = value[np.isfinite(value)]
    if len(finite) == 0:
        return np.zeros(1)
    distinct = np.unique(finite)
    if len(distinct) <= count:
        return distinct
    return np.unique(np.quantile(finite, np.linspace(0.0, 1.0, count), method="nearest"))
