"""Rows of a build that are not seen until the next rebuild: of users erased, or changed, since.

Shape key: `N` users of the build, `Q` queries, `K` neighbors, `M` rows asked for.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from index.users import UserTable
from index.vectors import Rows


@dataclass(frozen=True)
class Tombstones:
    """Which rows of a build are hidden.

    Attributes:
        user_ids: All users who were hidden by id, whether the build holds them or not.
        hidden_N: True for the rows that are hidden.
        num_hidden: How many those are.
    """

    user_ids: frozenset[str]
    hidden_N: npt.NDArray[np.bool_]
    num_hidden: int

    @classmethod
    def none(cls, num_users: int) -> "Tombstones":
        """Hide nobody of a build of so many users."""
        return cls(frozenset(), np.zeros(num_users, dtype=np.bool_), 0)

    def adding(self, users: UserTable, erased: Collection[str]) -> "Tombstones":
        """Return these and more; only users who are new are looked up."""
        new = frozenset(erased) - self.user_ids
        if not new:
            return self
        rows = users.rows_of(sorted(new))
        return replace(self.hiding(rows[rows >= 0]), user_ids=self.user_ids | new)

    def hiding(self, rows: Rows) -> "Tombstones":
        """Return these and more, by row: what is answered with from elsewhere."""
        hidden_N = self.hidden_N.copy()
        hidden_N[rows] = True
        return Tombstones(self.user_ids, hidden_N, int(np.count_nonzero(hidden_N)))

    def rows_of(self, users: UserTable, user_ids: Sequence[str]) -> Rows:
        """Return the row of each id, -1 where there is none or it is hidden."""
        return self.blank(users.rows_of(user_ids))

    def blank(self, rows: Rows) -> Rows:
        """Replace hidden rows by -1, in an array of any shape that may hold -1 already."""
        if not self.num_hidden:
            return rows
        blanked: Rows = np.where(self.hidden_N[rows] & (rows >= 0), -1, rows)
        return blanked

    def visible(self, rows_M: Rows) -> Rows:
        """Return the rows that are not hidden, in their order."""
        return rows_M[~self.hidden_N[rows_M]] if self.num_hidden else rows_M

    def num_expected(self, k: int) -> int:
        """Return about how many hidden rows k neighbors hold, were they like any others."""
        return -(-k * self.num_hidden // max(len(self.hidden_N), 1))
