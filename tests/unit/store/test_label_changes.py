import time
from datetime import UTC, datetime, timedelta

import pytest

from store.clock import to_us
from store.database import Database
from store.labels import Label, LabelChanges, LabelStore

SINCE = datetime(2024, 1, 1, tzinfo=UTC)
BEFORE, AFTER = SINCE - timedelta(days=9), SINCE + timedelta(hours=2)
NOW = SINCE + timedelta(days=1)


def add(database: Database, *labels: Label, at: datetime) -> None:
    with database.begin() as connection:
        LabelStore(database).add_all(connection, labels, now=at)


def changed(database: Database, now: datetime = NOW) -> dict[str, tuple[int | None, str | None]]:
    table = LabelStore(database).changed_since(SINCE, now=now)
    return {row["user_id"]: (row["label"], row["policy"]) for row in table.to_pylist()}


def test_labels_of_before_are_no_changes(database: Database) -> None:
    add(database, Label("al", 1, "spam", known_at_us=to_us(BEFORE)), at=BEFORE)
    assert changed(database) == {}


def test_a_label_that_was_recorded_late_is_a_change(database: Database) -> None:
    add(database, Label("al", 1, "spam", known_at_us=to_us(BEFORE)), at=AFTER)
    assert changed(database) == {"al": (1, "spam")}


def test_a_label_that_became_known_is_a_change_from_then_on(database: Database) -> None:
    add(database, Label("al", 0), at=BEFORE)
    add(database, Label("al", 1, "spam", known_at_us=to_us(AFTER)), at=BEFORE)
    assert changed(database, now=AFTER) == {"al": (0, None)}
    assert changed(database) == {"al": (1, "spam")}


@pytest.mark.parametrize("revoked_at", [BEFORE, AFTER])
def test_a_label_that_was_revoked_is_gone_whenever_it_is_said_to_have_been(
    database: Database, revoked_at: datetime
) -> None:
    label = Label("al", 1, "spam", known_at_us=to_us(BEFORE))
    add(database, label, at=BEFORE)
    revoked = Label("al", 1, "spam", known_at_us=to_us(BEFORE), revoked_at_us=to_us(revoked_at))
    add(database, revoked, at=AFTER)
    assert changed(database) == {"al": (None, None)}
    add(database, revoked, at=NOW)
    assert changed(database) == {"al": (None, None)}


def test_changes_are_read_again_only_when_something_changed(database: Database) -> None:
    now = NOW
    changes = LabelChanges(database, clock=lambda: now)
    nothing = changes.read(SINCE)
    assert nothing.num_rows == 0
    assert changes.read(SINCE) is nothing
    add(database, Label("al", 1, known_at_us=to_us(now)), at=now)
    now += timedelta(seconds=1)
    first = changes.read(SINCE)
    assert first.to_pylist()[0]["label"] == 1
    assert changes.read(SINCE) is first
    revoked_at = to_us(now + timedelta(seconds=5))
    add(database, Label("al", 1, known_at_us=to_us(NOW), revoked_at_us=revoked_at), at=now)
    assert changes.read(SINCE).to_pylist()[0]["label"] == 1
    now += timedelta(seconds=5)
    assert changes.read(SINCE).to_pylist()[0]["label"] is None, "its time has come"
    assert changes.read(BEFORE) is not first


def test_many_labels_recorded_at_once_are_read_in_linear_time(database: Database) -> None:
    """As after a first import; a join in SQLite took 85 s for 17,000 users, and a start waits."""
    add(database, *(Label(f"u{number}", number % 2) for number in range(8_000)), at=AFTER)
    store = LabelStore(database)
    began = time.perf_counter()
    assert store.as_of(NOW).table.num_rows == 8_000
    all_read = time.perf_counter()
    assert store.changed_since(SINCE, now=NOW).num_rows == 8_000
    assert time.perf_counter() - all_read < 20 * (all_read - began)
