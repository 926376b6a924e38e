from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from index.errors import BuildCorrupt, BuildInvalid
from index.users import TAKEN_FROM, USERS_FILE, UserTable, conform_users, read_users, write_users
from tests.index_fakes import user_name, users_table


def stored(tmp_path: Path, table: pa.Table) -> UserTable:
    write_users(tmp_path, conform_users(table))
    return UserTable.of(read_users(tmp_path))


def test_users_come_back_as_they_were_written(tmp_path: Path) -> None:
    table = conform_users(users_table(20, violators=[3]))
    write_users(tmp_path, table)
    assert read_users(tmp_path).equals(table)


def test_rows_are_found_by_id(tmp_path: Path) -> None:
    users = stored(tmp_path, users_table(100, first=5))
    asked = [user_name(5), user_name(104), user_name(50), "", "user", user_name(4), "zzz", "\ud800"]
    assert users.rows_of(asked).tolist() == [0, 99, 45, -1, -1, -1, -1, -1]


def test_ids_of_any_script_are_found(tmp_path: Path) -> None:
    names = sorted(["a", "B", "é", "😀", "\uffee", "a\x00b", "名前"], key=str.encode)
    table = users_table(len(names)).set_column(0, "user_id", pa.array(names))
    users = stored(tmp_path, table)
    assert users.rows_of(names).tolist() == list(range(len(names)))


def test_known_violators_and_policies(tmp_path: Path) -> None:
    users = stored(tmp_path, users_table(10, violators=[2, 7]))
    assert users.violator_rows.tolist() == [2, 7]
    assert users.label_N[[2, 5, 1]].tolist() == [1, -1, 0]
    assert users.shown(users.violator_rows).policies == ["spam", "spam"]
    assert users.ids_of(users.violator_rows) == [user_name(2), user_name(7)]


@pytest.mark.parametrize("num", [1, TAKEN_FROM - 1, TAKEN_FROM, 3 * TAKEN_FROM])
def test_few_and_many_are_shown_alike(tmp_path: Path, num: int) -> None:
    violators = range(0, 100, 3)
    table = users_table(100, violators=violators)
    policies = [f"policy {row}" if row % 2 else None for row in range(100)]
    users = stored(
        tmp_path,
        table.set_column(table.column_names.index("policy"), "policy", pa.array(policies)),
    )
    rows = np.random.default_rng(num).integers(0, 100, num)
    shown = users.shown(rows)
    assert shown.user_ids == [user_name(row) for row in rows.tolist()]
    assert shown.known_violator == [row in violators for row in rows.tolist()]
    assert shown.policies == [policies[row] if row in violators else None for row in rows.tolist()]
    assert shown.num_events == table["num_events"].take(pa.array(rows)).to_pylist()


def test_no_user_at_all(tmp_path: Path) -> None:
    users = stored(tmp_path, users_table(0))
    assert len(users) == 0
    assert users.rows_of(["a"]).tolist() == [-1]


def test_optional_columns_may_be_absent(tmp_path: Path) -> None:
    table = users_table(4).drop_columns(["label", "policy", "ring"])
    assert stored(tmp_path, table).label_N.tolist() == [-1] * 4


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda table: table.drop_columns(["num_events"]), "num_events"),
        (lambda table: table.take([1, 0, 2]), "sorted"),
        (lambda table: table.take([0, 1, 1]), "sorted"),
        (lambda table: table.set_column(1, "num_events", pa.array([1, None, 2])), "nulls"),
        (lambda table: table.set_column(1, "num_events", pa.array(["x", "y", "z"])), "num_events"),
    ],
    ids=["missing", "unsorted", "twice", "null", "text"],
)
def test_what_can_be_no_users_table_is_refused(damage, message: str) -> None:  # type: ignore[no-untyped-def]  # pyarrow has no types
    with pytest.raises(BuildInvalid, match=message):
        conform_users(damage(users_table(3)))


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / USERS_FILE).write_bytes(b"nonsense")
    with pytest.raises(BuildCorrupt):
        read_users(tmp_path)


def test_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    table = pa.table({"user_id": ["a"]})
    with (
        pa.OSFile(str(tmp_path / USERS_FILE), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as out,
    ):
        out.write_table(table)
    with pytest.raises(BuildCorrupt, match="other columns"):
        read_users(tmp_path)
