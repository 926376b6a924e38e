import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.audit import AuditWriter
from api.errors import AuditUnavailable
from index.serve_config import ServeConfig
from store.audit import AuditEntry
from store.workspace import Workspace
from tests.unit.api.fakes import make_world


class Ledger:
    """A database that fails when told to."""

    def __init__(self) -> None:
        self.rows: list[str | None] = []
        self.works = True

    def __call__(self, entries: Sequence[AuditEntry]) -> None:
        if not self.works:
            raise OSError("database is gone")
        self.rows.extend(entry.subject for entry in entries)


def make_writer(ledger: Ledger, *, rows_max: int = 100) -> AuditWriter:
    return AuditWriter(ledger, rows_max=rows_max, flush_seconds=0.01)


def enter(writer: AuditWriter, *subjects: str) -> None:
    writer.enter(key_name="k", action="a", subjects=subjects, request_id="r", details={})


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_rows_are_written_in_order_without_being_asked() -> None:
    ledger = Ledger()
    writer = make_writer(ledger)
    writer.start()

    enter(writer, "u-1", "u-2")
    enter(writer, "u-3")

    wait_until(lambda: ledger.rows == ["u-1", "u-2", "u-3"])
    writer.stop()


def test_stopping_writes_what_waits() -> None:
    ledger = Ledger()
    writer = AuditWriter(ledger, rows_max=100, flush_seconds=10)
    writer.start()
    enter(writer, "u-1")

    writer.stop()

    assert ledger.rows == ["u-1"]


def test_rows_survive_a_database_that_comes_back() -> None:
    ledger = Ledger()
    ledger.works = False
    writer = make_writer(ledger)
    writer.start()
    enter(writer, "u-1")
    wait_until(lambda: writer.num_failures >= 2)

    ledger.works = True

    wait_until(lambda: ledger.rows == ["u-1"])
    writer.stop()
    assert ledger.rows == ["u-1"]


def test_a_full_queue_takes_all_rows_of_a_read_or_none() -> None:
    writer = make_writer(Ledger(), rows_max=3)
    enter(writer, "u-1", "u-2")

    with pytest.raises(AuditUnavailable):
        enter(writer, "u-3", "u-4")

    assert writer.num_waiting == 2
    enter(writer, "u-3")
    assert not writer.accepts


def test_many_threads_lose_no_row() -> None:
    ledger = Ledger()
    writer = make_writer(ledger, rows_max=100_000)
    writer.start()

    def enter_many() -> None:
        for number in range(500):
            enter(writer, str(number))

    threads = [threading.Thread(target=enter_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.stop()

    assert sorted(row or "" for row in ledger.rows) == sorted(
        str(number) for number in range(500) for _ in range(4)
    )


def test_nothing_is_read_while_reads_cannot_be_recorded(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.works = False
    config = ServeConfig(audit_queue_max=10_000, audit_flush_seconds=0.02)
    world = make_world(Workspace(tmp_path), config=config, record=ledger)
    app = create_app(world.services)
    with TestClient(app, headers={"Authorization": "Bearer everything"}) as client:
        filled = client.post("/v1/features:batch", json={"user_ids": ["u-1"] * 10_000})
        refused = client.get("/v1/users/u-1/neighbors")
        not_ready = client.get("/readyz")
        ledger.works = True
        wait_until(lambda: world.services.audit.num_waiting == 0)
        healed = client.get("/v1/users/u-1/neighbors")

    assert filled.status_code == 200
    assert refused.status_code == not_ready.status_code == 503
    assert refused.json()["type"] == "urn:lookalike:problem:audit-unavailable"
    assert healed.status_code == 200
