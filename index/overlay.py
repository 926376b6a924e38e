"""Labels that changed since a build was made: what a search sees instead of the build's own.

A label moves no vector. So the rows stay where they are, and searches that ask for labels leave
out the few relabelled rows and look at these by themselves, exactly.

Shape key: `C` relabelled users of the build, `M` rows asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index.filters import FilterTable
from index.users import USERS_SCHEMA, UserTable
from index.vectors import Rows

LABEL_COLUMNS = ("label", "policy", "group", "occurred_at_us", "known_at_us")
LOOKUPS_PER_USER = 100
"""One binary search takes as long as hashing about so many ids of the build."""

CHANGES_SCHEMA = pa.schema([USERS_SCHEMA.field(name) for name in ("user_id", *LABEL_COLUMNS)])


@dataclass(frozen=True)
class LabelOverlay:
    """The labels in force of all users whose labels may have changed since the build.

    Attributes:
        changes: Columns of `CHANGES_SCHEMA`, a user once; nulls where a user has no label now.
            Users whom the build does not hold are among them, for they may come.
        row_of: Row in the build of each of these users, -1 for none.
        rows_C: Rows of users whose label now is another than the build's, ascending.
        users: These users, with the labels of now.
    """

    changes: pa.Table
    row_of: Mapping[str, int]
    rows_C: Rows
    users: UserTable

    @classmethod
    def none(cls) -> "LabelOverlay":
        """All labels are those of the build."""
        nobody = UserTable.of(USERS_SCHEMA.empty_table())
        return cls(CHANGES_SCHEMA.empty_table(), {}, np.empty(0, dtype=np.int64), nobody)

    def replaced_by(self, users: UserTable, changes: pa.Table) -> "LabelOverlay":
        """Return the overlay of other changes; only users who are new are looked up.

        Args:
            users: Those of the build.
            changes: Has the columns of `CHANGES_SCHEMA`, in any order of rows.
        """
        changes = changes.select(CHANGES_SCHEMA.names).cast(CHANGES_SCHEMA).combine_chunks()
        ids: list[str] = changes["user_id"].to_pylist()
        new = [user_id for user_id in ids if user_id not in self.row_of]
        looked_up = dict(zip(new, _rows_of(users, new).tolist(), strict=True))
        row_of = {
            user_id: self.row_of[user_id] if user_id in self.row_of else looked_up[user_id]
            for user_id in ids
        }
        row_M = np.fromiter(row_of.values(), np.int64, len(row_of))
        place_M = np.flatnonzero(row_M >= 0)
        place_M = place_M[np.argsort(row_M[place_M])]
        before = users.table.take(pa.array(row_M[place_M]))
        after = with_labels(before, changes.take(pa.array(place_M)))
        differs = ~same_labels(before, after)
        relabelled = after.filter(pa.array(differs)).combine_chunks()
        return LabelOverlay(changes, row_of, row_M[place_M][differs], UserTable.of(relabelled))

    def apply(self, users: pa.Table) -> pa.Table:
        """Return users, whoever they are, with the labels of now where there was a change."""
        if not self.changes.num_rows:
            return users
        place = pc.index_in(users["user_id"], value_set=self.changes["user_id"].combine_chunks())
        now = self.changes.take(place)
        is_changed = pc.is_valid(place)
        for name in LABEL_COLUMNS:
            column = pc.if_else(is_changed, now[name], users[name])
            users = users.set_column(USERS_SCHEMA.get_field_index(name), name, column)
        return users

    @cached_property
    def filters(self) -> FilterTable:
        """What filters ask of the relabelled users; rows are places in `users`."""
        return FilterTable(self.users)

    def places_of(self, rows_M: Rows) -> Rows:
        """Return where in `users` each row of the build is, -1 where its label is the build's."""
        if not len(self.rows_C):
            return np.full(len(rows_M), -1, dtype=np.int64)
        place_M = np.minimum(np.searchsorted(self.rows_C, rows_M), len(self.rows_C) - 1)
        places: Rows = np.where(self.rows_C[place_M] == rows_M, place_M, -1)
        return places


def with_labels(users: pa.Table, labels: pa.Table) -> pa.Table:
    """Return users with the label columns of another table, row by row."""
    for name in LABEL_COLUMNS:
        users = users.set_column(USERS_SCHEMA.get_field_index(name), name, labels[name])
    return users


def _rows_of(users: UserTable, user_ids: list[str]) -> Rows:
    """Return the row of each id, -1 for none, by whichever way is quicker."""
    if len(user_ids) * LOOKUPS_PER_USER < len(users):
        return users.rows_of(user_ids)
    rows = pc.index_in(pa.array(user_ids, pa.large_string()), value_set=users.ids)
    found: Rows = pc.fill_null(rows, -1).to_numpy().astype(np.int64)
    return found


def same_labels(one: pa.Table, other: pa.Table) -> npt.NDArray[np.bool_]:
    """Tell which rows of two tables have the same labels, nulls being equal."""
    same = np.ones(one.num_rows, dtype=bool)
    for name in LABEL_COLUMNS:
        left, right = one[name], other[name]
        both_null = pc.and_(pc.is_null(left), pc.is_null(right))
        equal = pc.or_(pc.fill_null(pc.equal(left, right), False), both_null)
        same &= equal.to_numpy()
    return same
