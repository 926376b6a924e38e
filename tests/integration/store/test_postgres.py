"""What PostgreSQL does otherwise than SQLite: others write while a transaction reads."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from store.clock import to_us
from store.database import Database
from store.erasures import erase_users
from store.label_ingest import ingest_labels
from store.labels import AddedLabels, Label, LabelStore
from store.workspace import Workspace
from tests.integration.store.files import LENIENT, NOW, write_jsonl
from tests.postgres_servers import PostgresServer

pytestmark = pytest.mark.slow

SINCE = datetime(2024, 1, 1, tzinfo=UTC)
LATER = SINCE + timedelta(hours=2)


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Database]:
    database = Database(postgres.make_database())
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def workspace(postgres: PostgresServer, tmp_path: Path) -> Workspace:
    workspace = Workspace.create(tmp_path / "workspace")
    return Workspace(workspace.root, postgres.make_database())


def test_a_label_written_while_changes_are_read_is_never_taken_away(database: Database) -> None:
    def write(user_id: str) -> None:
        with database.begin() as connection:
            label = Label(user_id, 1, "spam", known_at_us=to_us(SINCE))
            LabelStore(database).add_all(connection, [label], now=LATER)

    def write_after_first_read(*_: Any) -> None:
        if to_write:
            write(to_write.pop())

    to_write: list[str] = []
    event.listen(database.engine, "after_cursor_execute", write_after_first_read)
    write("al")
    to_write.append("bo")
    now = LATER + timedelta(hours=1)
    labels = {
        row["user_id"]: row["label"]
        for row in LabelStore(database).changed_since(SINCE, now=now).to_pylist()
    }

    assert labels["al"] == 1
    assert labels.get("bo", 1) == 1, "the next reading has it at the latest"
    assert LabelStore(database).changed_since(SINCE, now=now).num_rows == 2


def test_services_that_start_at_once_on_an_empty_database_all_start(
    postgres: PostgresServer,
) -> None:
    code = "import sys; from store.database import Database; Database(sys.argv[1]).migrate()"
    command = [sys.executable, "-c", code, postgres.make_database()]
    starting = [subprocess.Popen(command) for _ in range(4)]

    assert [process.wait(60) for process in starting] == [0] * 4


def test_files_of_the_same_labels_in_other_orders_can_be_ingested_at_once(
    workspace: Workspace, tmp_path: Path
) -> None:
    rows = [{"user_id": f"u{number}", "label": number % 2} for number in range(3_000)]
    files = [
        write_jsonl(tmp_path / "up.jsonl", rows),
        write_jsonl(tmp_path / "down.jsonl", rows[::-1]),
    ]
    reports: list[Any] = []

    def ingest(file: Path) -> None:
        reports.extend(ingest_labels(workspace, file, LENIENT, now=NOW).files)

    threads = [threading.Thread(target=ingest, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(report.num_kept for report in reports) == [0, 3_000]
    assert sorted(report.num_duplicates for report in reports) == [0, 3_000]


def test_who_is_erased_while_a_file_is_ingested_has_no_label_after_it(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(workspace.ops_url)
    database.migrate()
    file = write_jsonl(tmp_path / "labels.jsonl", [{"user_id": name, "label": 1} for name in "ab"])
    erasing = threading.Thread(
        target=erase_users, args=(workspace, database, ["a"]), kwargs={"now": NOW}
    )
    add_all = LabelStore.add_all

    def add_all_and_be_slow(*arguments: Any, **named: Any) -> AddedLabels:
        added = add_all(*arguments, **named)
        erasing.start()
        erasing.join(1)
        assert erasing.is_alive(), "it waits until the file's labels are there to be erased"
        return added

    monkeypatch.setattr(LabelStore, "add_all", add_all_and_be_slow)
    ingest_labels(workspace, file, LENIENT, now=NOW)
    erasing.join()

    assert LabelStore(database).as_of(NOW).table["user_id"].to_pylist() == ["b"]
    database.close()
