"""The operational database: SQLite in WAL mode by default, PostgreSQL by URL."""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import (
    Connection,
    Engine,
    ExceptionContext,
    Table,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    SQLAlchemyError,
)

from store.errors import DatabaseError

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_MS = 10_000
_BEGIN = "sqlite_begin"
MIGRATION_LOCK = int.from_bytes(b"lookalik", "big", signed=True)
DIALECTS = ("sqlite", "postgresql")
POSTGRES, PSYCOPG, CONNECT_SECONDS = "postgresql://", "postgresql+psycopg://", 5

_migrating = threading.Lock()
"""Alembic keeps what it is at in its module."""


class Database:
    """Connections to the operational database; safe to share between threads.

    They are closed by `close`, or once nobody holds it any more.
    """

    def __init__(self, url: str) -> None:
        """Prepare connections; nothing is opened before the first use.

        Raises:
            DatabaseError: If the URL can't be understood, or its driver is not installed.
        """
        self._engine = _engine_of(url)
        weakref.finalize(self, self._engine.dispose)
        event.listen(self._engine, "handle_error", _hide_details)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine, for the store's own modules."""
        return self._engine

    def migrate(self) -> None:
        """Bring the schema up to date; nothing happens where it is.

        Raises:
            DatabaseError: If the database can't be opened, or is newer than this program.
        """
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        try:
            with _migrating, self.begin() as connection:
                if self._is_postgres:  # SQLite lets one transaction write at a time anyway
                    connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except (SQLAlchemyError, CommandError, DatabaseError) as error:
            raise DatabaseError(f"{self._place} can't be migrated: {error}") from error

    @property
    def _is_postgres(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    @property
    def _place(self) -> str:
        """The URL as it may be shown: without its password and without options."""
        return self._engine.url.set(query={}).render_as_string(hide_password=True)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction: committed at the end of the block, rolled back by an exception.

        Raises:
            DatabaseError: If the database can't be reached, is damaged, locked or full.
        """
        options = {_BEGIN: "BEGIN IMMEDIATE"}
        with (
            _explained(),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads: one moment's state, without waiting for writers.

        Raises:
            DatabaseError: If the database can't be reached, or is damaged.
        """
        with _explained(), self._engine.begin() as connection:
            yield connection

    def write_alone(self, connection: Connection, table: Table) -> None:
        """Let nobody else write to a table until the transaction ends; readers don't wait.

        A transaction of SQLite that writes has the whole database anyway.
        """
        if self._is_postgres:
            quoted = self._engine.dialect.identifier_preparer.format_table(table)
            connection.execute(text(f"LOCK TABLE {quoted} IN SHARE ROW EXCLUSIVE MODE"))

    def insert(self, table: Table) -> Any:
        """Return an insert that may say what to do on conflict, in this database's dialect."""
        if self._is_postgres:
            return postgresql_insert(table)
        return sqlite_insert(table)

    def close(self) -> None:
        """Close all pooled connections."""
        self._engine.dispose()


def _engine_of(url: str) -> Engine:
    """Return an engine; what is wrong with a URL is told without the URL, which is a secret."""
    if url.startswith(POSTGRES):  # SQLAlchemy would take the driver's predecessor
        url = PSYCOPG + url.removeprefix(POSTGRES)
    try:
        engine = create_engine(
            url,
            pool_pre_ping=not url.startswith("sqlite"),
            hide_parameters=True,  # they name users, and errors are logged
            connect_args={"connect_timeout": CONNECT_SECONDS} if url.startswith(PSYCOPG) else {},
        )
    except (NoSuchModuleError, ImportError) as error:
        raise DatabaseError(f"database_url can't be used: {error}") from None
    except (ArgumentError, ValueError):
        raise DatabaseError(
            "database_url can't be used: it is no URL that SQLAlchemy reads, such as "
            "postgresql+psycopg://user:password@host:5432/name or sqlite:////path/ops.sqlite"
        ) from None
    if engine.dialect.name not in DIALECTS:
        raise DatabaseError(
            f"database_url can't be used: {engine.dialect.name} is none of {', '.join(DIALECTS)}"
        )
    return engine


def _hide_details(failure: ExceptionContext) -> None:
    """Keep the first line of a driver's failure: the details after it quote the row."""
    for error in (failure.original_exception, failure.sqlalchemy_exception):
        if error is not None:
            error.args = tuple(str(part).partition("\n")[0] for part in error.args[:1])


@contextmanager
def _explained() -> Iterator[None]:
    """Turn a driver's failure into one line without the statement, which may name users."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise DatabaseError(f"the operational database failed: {error.orig}") from error


def _configure_sqlite(connection: Any, _record: Any) -> None:
    """Let SQLAlchemy, not the driver, begin transactions: only then does DDL roll back too."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes its place at once: a reader that turns writer may find it can't."""
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
