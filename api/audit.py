"""The audit of reads: a bounded queue, written in batches by one thread.

Nothing about a user is read without a row. A read is entered before it happens; when the database
can't take rows for so long that the queue is full, reads are refused. Rows wait in memory for at
most the flush interval while the database works, so a killed process loses that much and no more;
a stopped one writes everything first.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import structlog

from api.errors import AuditUnavailable
from store.audit import AuditEntry

ROWS_PER_WRITE = 2_000
STOP_SECONDS = 10.0

Record = Callable[[Sequence[AuditEntry]], None]

_log = structlog.get_logger()


class AuditWriter:
    """Takes audit entries from any thread and writes them from its own."""

    def __init__(self, record: Record, *, rows_max: int, flush_seconds: float) -> None:
        self._record = record
        self._rows_max = rows_max
        self._flush_seconds = flush_seconds
        self._waiting: deque[AuditEntry] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self.num_written = 0
        self.num_failures = 0

    @property
    def num_waiting(self) -> int:
        """Rows that are not in the database yet."""
        return len(self._waiting)

    @property
    def accepts(self) -> bool:
        """Whether there is room for another row."""
        return len(self._waiting) < self._rows_max

    def start(self) -> None:
        """Start to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, trying for some seconds, and end the thread."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(STOP_SECONDS + self._flush_seconds)
        if self._waiting:
            _log.error("audit_rows_lost", num_rows=len(self._waiting))

    def enter(
        self,
        *,
        key_name: str,
        action: str,
        subjects: Sequence[str | None],
        request_id: str,
        details: dict[str, Any],
    ) -> None:
        """Queue one row for each subject, all or none.

        Args:
            key_name: Who reads.
            action: What is read.
            subjects: The users read; None for a query that names no user.
            request_id: Ties the rows to the answer and the log.
            details: How it was read; no event content.

        Raises:
            AuditUnavailable: If the queue has no room for them.
        """
        at = datetime.now(UTC)
        entries = [
            AuditEntry(
                at=at,
                key_name=key_name,
                action=action,
                subject=subject,
                request_id=request_id,
                details=details,
            )
            for subject in subjects
        ]
        with self._lock:
            if len(self._waiting) + len(entries) > self._rows_max:
                raise AuditUnavailable("the audit can't be written now, so nothing may be read")
            self._waiting.extend(entries)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._flush_seconds)
            self._write_all(until=None)
        self._write_all(until=time.monotonic() + STOP_SECONDS)

    def _write_all(self, *, until: float | None) -> None:
        """Write until nothing waits; after a failure, try again later, but not past `until`."""
        while self._waiting:
            if self._write_some():
                continue
            if until is None or time.monotonic() >= until:
                return
            time.sleep(min(0.1, self._flush_seconds))

    def _write_some(self) -> bool:
        """Write the oldest rows; they leave the queue only once they are in the database."""
        with self._lock:
            batch = list(islice(self._waiting, ROWS_PER_WRITE))
        try:
            self._record(batch)
        except Exception:  # noqa: BLE001 - the edge of a thread: whatever it is, keep the rows
            self.num_failures += 1
            _log.exception("audit_write_failed", num_rows_waiting=len(self._waiting))
            return False
        with self._lock:
            for _ in batch:
                self._waiting.popleft()
        self.num_written += len(batch)
        return True
