"""What a collection holds: one entity an entry, with what filters ask of its users.

An entry has one vector and may have many users, so an entity has the bounds of their numbers. What
a filter lets pass by them is never too little; where an entry has several users it may be too much,
and the answer looks at the users themselves.

Shape key: `N` users, `E` entries, `M` entries of a block.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index.distinct import Entries
from index.users import UserTable
from index.vectors import Rows

ENTRY = "entry"
VECTOR = "vector"
FLAGS = ("violator", "benign")
NUMBERS = ("num_events", "first_us", "last_us")
POLICIES = "policies"
ENTRIES_PARTITION = "_default"
SENTINEL_PARTITION = "sentinel"


def sentinel_key(build_id: str) -> int:
    """Return the key of the entity that tells which build a collection is of; below all entries."""
    digest = hashlib.sha256(build_id.encode()).digest()
    return -1 - int.from_bytes(digest[:7], "big")


def policy_codes(users: UserTable) -> dict[str, int]:
    """Return a number for each policy of a build: no text of a caller enters an expression."""
    names = pc.unique(users.policies).drop_null().to_pylist()
    return {name: code for code, name in enumerate(sorted(names))}


class EntityTable:
    """Reads the attributes of entries off the users, block by block."""

    def __init__(self, users: UserTable, entries: Entries, codes: Mapping[str, int]) -> None:
        self._users = users
        self._entries = entries
        self._num_codes = max(len(codes), 1)
        names = pa.array(codes.keys(), pa.large_string())
        code_N = pc.index_in(users.policies, value_set=names, skip_nulls=True)
        self._code_N = pc.fill_null(code_N, -1).to_numpy().astype(np.int64)

    def attributes(self, block: slice) -> dict[str, list[Any]]:
        """Return each attribute of the entries of a block, one value an entry, length M."""
        start_M = self._entries.offsets_E[block.start : block.stop]
        stop = int(self._entries.offsets_E[block.stop])
        rows = self._entries.rows_N[int(start_M[0]) : stop]
        place_M = np.asarray(start_M - start_M[0])
        label = self._users.label_N[rows]
        columns: dict[str, list[Any]] = {
            "violator": np.logical_or.reduceat(label == 1, place_M).tolist(),
            "benign": np.logical_or.reduceat(label == 0, place_M).tolist(),
        }
        numbers = (
            self._users.num_events_N,
            self._users.first_ts_us_N,
            self._users.last_ts_us_N,
        )
        for name, number_N in zip(NUMBERS, numbers, strict=True):
            number = number_N[rows]
            columns[f"{name}_min"] = np.minimum.reduceat(number, place_M).tolist()
            columns[f"{name}_max"] = np.maximum.reduceat(number, place_M).tolist()
        columns[POLICIES] = self._policies(self._code_N[rows], place_M)
        return columns

    def policies_max(self) -> int:
        """Return the largest number of policies that one entry has, at least 1."""
        entry_N = np.empty(len(self._code_N), dtype=np.int64)
        sizes_E = np.diff(self._entries.offsets_E)
        entry_N[self._entries.rows_N] = np.repeat(np.arange(len(sizes_E)), sizes_E)
        has_policy = self._code_N >= 0
        pairs = np.unique(entry_N[has_policy] * self._num_codes + self._code_N[has_policy])
        return int(np.bincount(pairs // self._num_codes).max()) if len(pairs) else 1

    def _policies(self, code: Rows, place_M: Rows) -> list[list[int]]:
        """Return the distinct policies of each entry."""
        sizes_M = np.diff(np.append(place_M, len(code)))
        entry = np.repeat(np.arange(len(place_M)), sizes_M)
        pairs = np.unique(entry[code >= 0] * self._num_codes + code[code >= 0])
        borders = np.searchsorted(pairs, np.arange(1, len(place_M)) * self._num_codes)
        parts: list[npt.NDArray[np.int64]] = np.split(pairs % self._num_codes, borders)
        return [part.tolist() for part in parts]
