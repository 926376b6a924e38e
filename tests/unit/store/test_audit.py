from datetime import UTC, datetime, timedelta

import pytest

from store.audit import EVERYONE, AuditEntry, read, record, record_all
from store.database import Database

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def test_what_was_recorded_is_read_latest_first(database: Database) -> None:
    record(database, at=NOW, key_name="robot", action="risk:read", subject="al", request_id="r1")
    entries = [
        AuditEntry(NOW + timedelta(seconds=n), "mod", "neighbors:query", f"u{n}", "r2", {"k": n})
        for n in range(3)
    ]
    record_all(database, entries)
    assert read(database) == [*entries[::-1], AuditEntry(NOW, "robot", "risk:read", "al", "r1", {})]


def test_one_users_rows_can_be_read(database: Database) -> None:
    record_all(database, [AuditEntry(NOW, "mod", "risk:read", user) for user in ("al", "bo", "al")])
    assert [entry.subject for entry in read(database, subject="al")] == ["al", "al"]
    assert len(read(database, limit=2)) == 2
    record_all(database, [])
    for limit in (0, 1001):
        with pytest.raises(ValueError, match="limit"):
            read(database, limit=limit)


def test_a_read_of_everyone_is_among_one_users_rows(database: Database) -> None:
    record_all(
        database,
        [AuditEntry(NOW, "job", "export", subject) for subject in (EVERYONE, None, "al", "bo")],
    )
    assert [entry.subject for entry in read(database, subject="al")] == ["al", EVERYONE]
    assert [entry.subject for entry in read(database, subject="cy")] == [EVERYONE]
