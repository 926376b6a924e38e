"""Which rows a filter lets through."""

from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index.answers import Filter
from index.users import UserTable
from index.vectors import Rows
from store.clock import to_us


def rows_passing(users: UserTable, condition: Filter, *, among: Rows | None = None) -> Rows:
    """Return the rows that pass every condition that is set, ascending.

    Args:
        users: All users.
        condition: The filter.
        among: Rows to choose from, ascending; all if absent.
    """
    passes = np.ones(len(users), dtype=bool)
    if condition.label is not None:
        passes &= users.label_N == condition.label
    if condition.min_events is not None:
        passes &= users.num_events_N >= condition.min_events
    if condition.max_events is not None:
        passes &= users.num_events_N <= condition.max_events
    passes &= _between(users.first_ts_us_N, condition.first_seen_after, condition.first_seen_before)
    passes &= _between(users.last_ts_us_N, condition.last_seen_after, condition.last_seen_before)
    if condition.policies is not None:
        wanted = pa.array(condition.policies, pa.large_string())
        passes &= pc.is_in(users.policies, value_set=wanted).to_numpy(zero_copy_only=False)
    return np.flatnonzero(passes) if among is None else among[passes[among]]


def _between(
    time_us_N: Rows, after: datetime | None, before: datetime | None
) -> npt.NDArray[np.bool_] | bool:
    """Tell which times are at or after the one and before the other."""
    passes: npt.NDArray[np.bool_] | bool = True
    if after is not None:
        passes = time_us_N >= to_us(after)
    if before is not None:
        passes = passes & (time_us_N < to_us(before))
    return passes
