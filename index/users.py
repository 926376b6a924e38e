"""The users of a build: one row each, sorted by id, mapped into memory and never copied.

Shape key: `N` users, `M` rows asked for.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index.errors import BuildCorrupt, BuildInvalid
from index.vectors import Rows

USERS_FILE = "users.arrow"
TAKEN_FROM = 16
"""Values from which the library's `take` is quicker than a scalar for each."""
USERS_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.large_string(), nullable=False),
        pa.field("num_events", pa.int64(), nullable=False),
        pa.field("first_ts_us", pa.int64(), nullable=False),
        pa.field("last_ts_us", pa.int64(), nullable=False),
        pa.field("fingerprint", pa.int64(), nullable=False),
        pa.field("label", pa.int8()),
        pa.field("policy", pa.large_string()),
        pa.field("group", pa.large_string()),
        pa.field("occurred_at_us", pa.int64()),
        pa.field("known_at_us", pa.int64()),
        pa.field("ring", pa.int32()),
    ]
)


class Shown(NamedTuple):
    """What answers tell of some users, in their order.

    Attributes:
        user_ids: Their ids.
        known_violator: Whether each is a known violator.
        policies: What the violators are labelled for; None for the others.
        num_events: How many events stand behind the vector of each.
    """

    user_ids: list[str]
    known_violator: list[bool]
    policies: list[str | None]
    num_events: list[int]


@dataclass(frozen=True)
class UserTable:
    """The users table with what searches need at hand; row i is the user of vector i.

    Attributes:
        table: Columns of `USERS_SCHEMA`, one chunk each.
        num_events_N, first_ts_us_N, last_ts_us_N: int64 views of the mapped columns.
        label_N: int8: 1 violator, 0 benign, -1 unknown.
    """

    table: pa.Table
    ids: pa.LargeStringArray
    policies: pa.LargeStringArray
    num_events_N: Rows
    first_ts_us_N: Rows
    last_ts_us_N: Rows
    label_N: npt.NDArray[np.int8]

    @classmethod
    def of(cls, table: pa.Table) -> "UserTable":
        """Wrap a table of `USERS_SCHEMA`."""
        return cls(
            table,
            _column(table, "user_id"),
            _column(table, "policy"),
            _column(table, "num_events").to_numpy(),
            _column(table, "first_ts_us").to_numpy(),
            _column(table, "last_ts_us").to_numpy(),
            pc.fill_null(_column(table, "label"), pa.scalar(-1, pa.int8())).to_numpy(),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def violator_rows(self) -> Rows:
        """Rows of known violators, ascending."""
        return np.flatnonzero(self.label_N == 1)

    def are_violators(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Tell which rows are known violators' ones."""
        known: npt.NDArray[np.bool_] = self.label_N[rows] == 1
        return known

    def rows_of(self, user_ids: Sequence[str]) -> Rows:
        """Return the row of each id, -1 where there is none; binary search in the mapped column."""
        ids, num_users = self.ids, len(self.ids)
        positions = range(num_users)
        rows = np.full(len(user_ids), -1, dtype=np.int64)
        for place, user_id in enumerate(user_ids):
            row = bisect_left(positions, user_id, key=lambda row: ids[row].as_py())
            if row < num_users and ids[row].as_py() == user_id:
                rows[place] = row
        return rows

    @cached_property
    def newest_us(self) -> int:
        """Time of the newest event of all."""
        return int(self.last_ts_us_N.max())

    def silence_us_of(self, rows_M: Rows) -> Rows:
        """Return how long before the newest event of all each user's last one was.

        A feed that lags behind the time of a build thus makes nobody silent.
        """
        silence_us_M: Rows = self.newest_us - self.last_ts_us_N[rows_M]
        return silence_us_M

    def ids_of(self, rows_M: Rows) -> list[str]:
        """Return the ids of some rows."""
        return _values(self.ids, rows_M)

    def shown(self, rows_M: Rows) -> Shown:
        """Return what answers tell of some rows, with the labels of this table."""
        is_violator_M = self.label_N[rows_M] == 1
        policies: list[str | None] = [None] * len(rows_M)
        places = np.flatnonzero(is_violator_M)
        for place, policy in zip(
            places.tolist(), _values(self.policies, rows_M[places]), strict=True
        ):
            policies[place] = policy
        return Shown(
            self.ids_of(rows_M),
            is_violator_M.tolist(),
            policies,
            self.num_events_N[rows_M].tolist(),
        )


def _values(column: pa.LargeStringArray, rows_M: Rows) -> list[Any]:
    """Return the values of some rows: of few, one by one is quicker than to have them taken."""
    if len(rows_M) < TAKEN_FROM:
        return [column[row].as_py() for row in rows_M.tolist()]
    taken: list[Any] = column.take(pa.array(rows_M)).to_pylist()
    return taken


def _column(table: pa.Table, name: str) -> pa.Array:
    """Return a column as one array; a mapped file of one batch is not copied."""
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def conform_users(users: pa.Table) -> pa.Table:
    """Return the columns of `USERS_SCHEMA`, nulls where an optional one is absent.

    Raises:
        BuildInvalid: If a required column is missing, has nulls or another type, or the ids do
            not ascend strictly, byte by byte.
    """
    columns = []
    for field in USERS_SCHEMA:
        if field.name in users.column_names:
            columns.append(_cast(users.column(field.name), field))
        elif field.nullable:
            columns.append(pa.nulls(users.num_rows, field.type))
        else:
            raise BuildInvalid(f"the users of a build need the column {field.name}")
        if not field.nullable and columns[-1].null_count:
            raise BuildInvalid(f"the column {field.name} of the users must not have nulls")
    ids = columns[0]
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        raise BuildInvalid("the users of a build must be sorted by user_id, each there once")
    return pa.Table.from_arrays(columns, schema=USERS_SCHEMA)


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.Array:
    try:
        return column.cast(field.type).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BuildInvalid(f"the column {field.name} of the users: {error}") from error


def write_users(directory: Path, users: pa.Table) -> None:
    """Write a conforming table as one uncompressed batch, so that it can be mapped."""
    batches = users.combine_chunks().to_batches() or [
        pa.RecordBatch.from_pylist([], schema=USERS_SCHEMA)
    ]
    with (
        pa.OSFile(str(directory / USERS_FILE), "wb") as sink,
        pa.ipc.new_file(sink, USERS_SCHEMA) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)


def read_users(directory: Path) -> pa.Table:
    """Map the users table of a build into memory.

    Raises:
        BuildCorrupt: If it can't be read, or has other columns.
    """
    path = directory / USERS_FILE
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise BuildCorrupt(f"{path} can't be read: {error}") from error
    if not table.schema.equals(USERS_SCHEMA):
        raise BuildCorrupt(f"{path} has other columns than this version reads")
    return table
