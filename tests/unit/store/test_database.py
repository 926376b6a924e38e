from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from store.database import Database
from store.errors import DatabaseError
from store.tables import metadata
from tests.milvus_servers import skip_without


def test_the_migrations_make_the_tables_of_the_metadata(database: Database) -> None:
    with database.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        made = set(inspect(connection).get_table_names()) - {"alembic_version"}
    assert made == set(metadata.tables)


def test_the_migrated_indexes_and_uniques_are_those_of_the_metadata(database: Database) -> None:
    with database.read() as connection:
        inspector = inspect(connection)
        for name, table in metadata.tables.items():
            indexes = {index["name"] for index in inspector.get_indexes(name)}
            assert {index.name for index in table.indexes} <= indexes


def test_migrating_twice_is_safe(database: Database) -> None:
    database.migrate()
    with database.read() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).all() == [
            ("0002",)
        ]


def test_sqlite_is_in_wal_mode_with_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ops.sqlite'}")
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
    database.close()


def test_a_transaction_is_whole_or_not_at_all(database: Database) -> None:
    def fail_halfway() -> None:
        with database.begin() as connection:
            connection.execute(text("CREATE TABLE half (x INTEGER)"))
            connection.execute(text("INSERT INTO erasures VALUES ('al', 1, NULL)"))
            raise KeyError

    with pytest.raises(KeyError):
        fail_halfway()
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM erasures")).scalar() == 0
        assert "half" not in inspect(connection).get_table_names()


def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    with database.begin() as writer:
        writer.execute(text("INSERT INTO erasures VALUES ('al', 1, NULL)"))
        with database.read() as reader:
            assert reader.execute(text("SELECT count(*) FROM erasures")).scalar() == 0


def test_a_database_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "ops.sqlite").write_bytes(b"this is no database" * 100)
    database = Database(f"sqlite:///{tmp_path / 'ops.sqlite'}")
    with pytest.raises(DatabaseError, match="not a database"):
        database.migrate()
    with pytest.raises(DatabaseError, match="not a database"), database.read():
        raise AssertionError("unreachable")
    database.close()


@pytest.mark.parametrize(
    "url",
    [
        "no url: secret",
        "postgresql://me:secret@host:port/db",
        "postgresql://me:secret@[::1/db",
        "postgresql+nodriver://me:secret@host/db",
        "nodialect://me:secret@host/db",
        "sqlite://me:secret@host/db",
    ],
)
def test_a_url_that_can_not_be_used_is_one_line_without_its_password(url: str) -> None:
    with pytest.raises(DatabaseError, match="database_url can't be used") as refused:
        Database(url)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_server_that_is_not_there_is_one_line_without_its_password() -> None:
    skip_without("psycopg")
    database = Database("postgresql://me:54secret/2@127.0.0.1:1/db?application_name=token")
    with pytest.raises(DatabaseError, match=r"can't be migrated: .*refused") as refused:
        database.migrate()
    for hidden in ("secret", "token", "\n"):
        assert hidden not in str(refused.value)
    database.close()


def test_what_is_shown_of_a_url_has_no_password(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'absent' / 'ops.sqlite'}?timeout=5")
    with pytest.raises(DatabaseError, match="can't be migrated") as refused:
        database.migrate()
    assert "timeout" not in str(refused.value)
    database.close()


def test_a_failed_statement_does_not_tell_what_was_to_be_stored(database: Database) -> None:
    statement = text("INSERT INTO labels (user_id) VALUES (:user_id)")
    with pytest.raises(IntegrityError) as caught, database.begin() as connection:
        connection.execute(statement, {"user_id": "u-secret"})
    assert "INSERT INTO labels" in str(caught.value)
    assert "u-secret" not in str(caught.value)


def test_a_database_from_the_future_is_refused(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="9999"):
        database.migrate()
