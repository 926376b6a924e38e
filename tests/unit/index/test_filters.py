from datetime import timedelta

import pyarrow as pa

from index.answers import Filter
from index.filters import FilterTable
from index.users import UserTable, conform_users
from tests.index_fakes import FIRST_TS, users_table

USERS = UserTable.of(conform_users(users_table(12, violators=[3, 5])))
TABLE = FilterTable(USERS)
DAY_5 = FIRST_TS + timedelta(days=5)


def passing(**conditions: object) -> list[int]:
    rows = TABLE.rows_passing(Filter(**conditions))  # type: ignore[arg-type]  # by name
    return [int(row) for row in rows]


def test_without_conditions_everyone_passes() -> None:
    assert passing() == list(range(12))


def test_label() -> None:
    assert passing(label=1) == [3, 5]
    assert passing(label=0) == [0, 1, 4, 6, 7, 9, 10]


def test_policies() -> None:
    assert passing(policies=("spam", "cheating")) == [3, 5]
    assert passing(policies=("cheating",)) == []


def test_only_violators_are_of_a_policy() -> None:
    table = users_table(6, violators=[3])
    policy = pa.array(["spam", "spam", "spam", "spam", None, None])  # 0 and 1 benign, 2 unlabelled
    named = table.set_column(table.column_names.index("policy"), "policy", policy)
    filters = FilterTable(UserTable.of(conform_users(named)))
    assert filters.rows_passing(Filter(policies=("spam",))).tolist() == [3]


def test_number_of_events_is_inclusive() -> None:
    assert passing(min_events=3, max_events=5) == [2, 3, 4]


def test_times_include_the_start_and_not_the_end() -> None:
    assert passing(first_seen_after=DAY_5, first_seen_before=DAY_5 + timedelta(days=2)) == [5, 6]
    assert passing(last_seen_before=DAY_5) == [0, 1, 2, 3, 4]
    assert passing(last_seen_after=DAY_5 + timedelta(hours=1), max_events=7) == [5, 6]


def test_known_violators_alone() -> None:
    assert TABLE.rows_passing(Filter(min_events=5), known_violators=True).tolist() == [5]
    assert TABLE.rows_passing(Filter(label=0), known_violators=True).tolist() == []


def test_numbers_beyond_all_numbers_of_events() -> None:
    assert passing(max_events=2**70) == list(range(12))
    assert passing(min_events=2**70) == []
    assert passing(min_events=5, max_events=4) == []
