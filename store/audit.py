"""Who looked at whom, and who changed what: rows are added and never changed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

from store.clock import from_us, to_us
from store.database import Database
from store.tables import audit_entries

READ_ROWS_MAX = 1_000
EVERYONE = "*"
"""Subject of a row about all users at once; its details say of which build, and how many."""


@dataclass(frozen=True)
class AuditEntry:
    """One action on one user, or on the system.

    Attributes:
        at: When.
        key_name: Whose API key, or which job.
        action: What, for example `neighbors:query`.
        subject: The user concerned, or `EVERYONE`; None for an action that names no user.
        request_id: Ties the rows of one request together.
        details: Further facts; no event content.
    """

    at: datetime
    key_name: str
    action: str
    subject: str | None = None
    request_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def record(
    database: Database,
    *,
    at: datetime,
    key_name: str,
    action: str,
    subject: str | None = None,
    request_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add one row; when this returns, it is on the disk."""
    record_all(database, [AuditEntry(at, key_name, action, subject, request_id, details or {})])


def record_all(database: Database, entries: Sequence[AuditEntry]) -> None:
    """Add rows in one transaction."""
    if not entries:
        return
    rows = [
        {
            "at_us": to_us(entry.at),
            "key_name": entry.key_name,
            "action": entry.action,
            "subject": entry.subject,
            "request_id": entry.request_id,
            "details": json.dumps(dict(entry.details), sort_keys=True),
        }
        for entry in entries
    ]
    with database.begin() as connection:
        connection.execute(insert(audit_entries), rows)


def read(
    database: Database, *, subject: str | None = None, limit: int = READ_ROWS_MAX
) -> list[AuditEntry]:
    """Return the latest rows first, of one user or of all.

    Args:
        database: Where they are.
        subject: Only rows about this user, reads of everyone among them.
        limit: At most so many rows, 1 to `READ_ROWS_MAX`.
    """
    if not 1 <= limit <= READ_ROWS_MAX:
        raise ValueError(f"limit is {limit}, not within 1 and {READ_ROWS_MAX}")
    query = select(audit_entries).order_by(audit_entries.c.at_us.desc(), audit_entries.c.id.desc())
    if subject is not None:
        query = query.where(audit_entries.c.subject.in_([subject, EVERYONE]))
    with database.read() as connection:
        rows = connection.execute(query.limit(limit)).all()
    return [
        AuditEntry(
            at=from_us(row.at_us),
            key_name=row.key_name,
            action=row.action,
            subject=row.subject,
            request_id=row.request_id,
            details=json.loads(row.details),
        )
        for row in rows
    ]
