"""Which rows a filter lets through, at a cost that grows with how many those are.

A column that a filter names is sorted once, on first use, and so is who was labelled for what.
Then the condition that fewest rows meet is looked up, and only its rows are held against the
others. A sorted column of numbers or times takes twelve bytes a user, labels five, policies twelve.

Shape key: `N` users, `M` rows that pass.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index.answers import Filter
from index.users import UserTable
from index.vectors import Rows
from store.clock import to_us

LOWEST, HIGHEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Condition:
    """One condition of a filter.

    Attributes:
        num_rows: How many rows meet it.
        rows: Returns these, in any order.
        holds: Tells which of some rows meet it.
    """

    num_rows: int
    rows: Callable[[], Rows]
    holds: Callable[[Rows], Mask]


@dataclass(frozen=True)
class _SortedColumn:
    """A column with its rows in ascending order of value; equal values are found together."""

    value_N: npt.NDArray[np.integer]
    sorted_N: npt.NDArray[np.integer]
    rows_N: npt.NDArray[np.int32]

    @classmethod
    def of(cls, value_N: npt.NDArray[np.integer]) -> "_SortedColumn":
        order = np.argsort(value_N, kind="stable")
        return cls(value_N, value_N[order], order.astype(np.int32))

    def between(self, least: int, below: int) -> _Condition:
        """Return the condition that a value is at least the one and below the other."""
        borders = np.array(
            [least, max(least, below)], dtype=self.sorted_N.dtype
        )  # else all is cast
        start, stop = np.searchsorted(self.sorted_N, borders).tolist()

        def holds(rows: Rows) -> Mask:
            value = self.value_N[rows]
            passes: Mask = (value >= least) & (value < below)
            return passes

        return _Condition(stop - start, lambda: self.rows_N[start:stop].astype(np.int64), holds)


class FilterTable:
    """The columns of a build's users as filters ask for them; threads may share it."""

    def __init__(self, users: UserTable) -> None:
        self._users = users

    def rows_passing(self, condition: Filter, *, known_violators: bool = False) -> Rows:
        """Return the rows that pass every condition that is set, ascending.

        Args:
            condition: The filter.
            known_violators: Whether only rows of known violators pass.
        """
        conditions = sorted(self._conditions(condition, known_violators), key=_num_rows)
        if not conditions:
            return np.arange(len(self._users), dtype=np.int64)
        rows = conditions[0].rows()
        for other in conditions[1:]:
            rows = rows[other.holds(rows)]
        return np.sort(rows)

    def _conditions(self, condition: Filter, known_violators: bool) -> Iterator[_Condition]:
        if condition.label is not None:
            yield self._labels.between(condition.label, condition.label + 1)
        if known_violators:
            yield self._labels.between(1, 2)
        if condition.min_events is not None or condition.max_events is not None:
            least = LOWEST if condition.min_events is None else condition.min_events
            most = HIGHEST if condition.max_events is None else condition.max_events
            below = min(most, HIGHEST - 1) + 1
            least = min(max(least, LOWEST), HIGHEST)
            yield self._num_events.between(least, below)
        for column, after, before in (
            ("_first_seen", condition.first_seen_after, condition.first_seen_before),
            ("_last_seen", condition.last_seen_after, condition.last_seen_before),
        ):
            if after is not None or before is not None:
                times: _SortedColumn = getattr(self, column)
                yield times.between(_moment(after, LOWEST), _moment(before, HIGHEST))
        if condition.policies is not None:
            yield self._of_policies(condition.policies)
            yield self._labels.between(1, 2)  # a label of a benign user may name a policy too

    def _of_policies(self, policies: tuple[str, ...]) -> _Condition:
        names, codes = self._policies
        wanted = sorted({names[name] for name in policies if name in names})
        each = [codes.between(code, code + 1) for code in wanted]
        nothing = np.empty(0, dtype=np.int64)
        return _Condition(
            sum(one.num_rows for one in each),
            lambda: np.concatenate([nothing, *(one.rows() for one in each)]),
            lambda rows: np.isin(codes.value_N[rows], wanted),
        )

    @cached_property
    def _labels(self) -> _SortedColumn:
        return _SortedColumn.of(self._users.label_N)

    @cached_property
    def _num_events(self) -> _SortedColumn:
        return _SortedColumn.of(self._users.num_events_N)

    @cached_property
    def _first_seen(self) -> _SortedColumn:
        return _SortedColumn.of(self._users.first_ts_us_N)

    @cached_property
    def _last_seen(self) -> _SortedColumn:
        return _SortedColumn.of(self._users.last_ts_us_N)

    @cached_property
    def _policies(self) -> tuple[dict[str, int], _SortedColumn]:
        """Code of each policy, and everyone's code, -1 for none."""
        encoded = pc.dictionary_encode(self._users.policies)
        code_N = pc.fill_null(encoded.indices, pa.scalar(-1, encoded.indices.type)).to_numpy()
        names = {name: code for code, name in enumerate(encoded.dictionary.to_pylist())}
        return names, _SortedColumn.of(code_N)


def _num_rows(condition: _Condition) -> int:
    return condition.num_rows


def _moment(time: datetime | None, otherwise: int) -> int:
    return otherwise if time is None else to_us(time)
