from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event

from store.database import Database
from store.errors import LabelInvalid
from store.labels import Label, LabelStore

NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("user_id", "label"), [("", 1), (" ", 0), ("al", 2), ("al", -1)])
def test_a_label_that_says_nothing_sensible_is_refused(user_id: str, label: int) -> None:
    with pytest.raises(LabelInvalid):
        Label(user_id, label)


def test_a_label_is_known_when_it_occurred_unless_said_otherwise() -> None:
    assert Label("al", 1, occurred_at_us=5).known_at_us == 5
    assert Label("al", 1, occurred_at_us=5, known_at_us=9).known_at_us == 9
    assert Label("al", 0).known_at_us is None


def test_a_revocation_is_no_other_label() -> None:
    label, revoked = Label("al", 1), Label("al", 1, revoked_at_us=7)
    assert label.content_sha256 == revoked.content_sha256
    assert label.content_sha256 != Label("al", 1, policy="spam").content_sha256


def test_an_empty_view_has_the_columns_of_a_full_one(database: Database) -> None:
    store = LabelStore(database)
    empty = store.as_of(NOW)
    with database.begin() as connection:
        assert store.add_all(connection, [Label("al", 1, occurred_at_us=5)], now=NOW).num_new == 1
    full = store.as_of(NOW)
    assert empty.table.schema == full.table.schema
    assert empty.cutoffs().schema == full.cutoffs().schema
    assert full.cutoffs().to_pylist() == [{"user_id": "al", "cutoff_us": 5}]


def test_the_labels_of_some_users_are_read_without_those_of_all(database: Database) -> None:
    """In statements that no database finds too long, whose rows are those of these users alone."""
    store = LabelStore(database)
    names = [f"u-{number:04}" for number in range(4_500)]
    with database.begin() as connection:
        store.add_all(connection, (Label(name, 1, occurred_at_us=5) for name in names), now=NOW)
    statements: list[int] = []

    def note(*arguments: Any) -> None:
        if arguments[3]:  # else it begins the transaction
            statements.append(len(arguments[3]))

    event.listen(database.engine, "before_cursor_execute", note)
    asked = [*names[::-1][:4_200], "stranger", names[-1]]
    found = store.as_of(NOW, users=asked)
    assert found.table["user_id"].to_pylist() == names[300:]
    assert len(statements) == 3
    assert max(statements) < 2_100
    whole = store.as_of(NOW).table
    assert found.table == whole.slice(300)
    assert store.as_of(NOW, users=[]).table == whole.slice(0, 0)


def test_labels_as_written_are_all_there_revoked_and_future_ones_too(database: Database) -> None:
    store = LabelStore(database)
    empty = store.history()
    written = [
        Label("al", 1, occurred_at_us=5, revoked_at_us=7),
        Label("al", 0, known_at_us=2**60),
        Label("bo", None, group="g"),
    ]
    with database.begin() as connection:
        store.add_all(connection, written, now=NOW)
    found = store.history()
    assert found.schema == empty.schema
    assert found.num_rows == 3
    (revoked,) = (row for row in found.to_pylist() if row["label"] == 1)
    assert revoked == {
        "user_id": "al",
        "label": 1,
        "occurred_at_us": 5,
        "known_at_us": 5,
        "revoked_at_us": 7,
    }
