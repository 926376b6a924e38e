"""The audit of reads on the command line; the service has its own, which may not block."""

import getpass
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from store.audit import AuditEntry, record_all
from store.database import Database
from store.workspace import Workspace


def record_read(
    workspace: Workspace,
    action: str,
    subjects: Sequence[str],
    details: Mapping[str, Any],
    *,
    now: datetime,
) -> None:
    """Enter that somebody at a terminal is about to read about users.

    Args:
        workspace: Whose users.
        action: What is read.
        subjects: The users, or `EVERYONE` alone.
        details: How it is read; no event content.
        now: When.
    """
    database = Database(workspace.ops_url)
    database.migrate()
    request_id = secrets.token_hex(8)
    entries = [
        AuditEntry(
            at=now,
            key_name=f"terminal:{_who()}",
            action=action,
            subject=subject,
            request_id=request_id,
            details=dict(details),
        )
        for subject in subjects
    ]
    record_all(database, entries)
    database.close()


def _who() -> str:
    """Return the system's name of the person; a container may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
