"""A migrated database of its own, in either dialect."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.database import Database
from tests.postgres_servers import PostgresServer


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'ops.sqlite'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.make_database()
    database = Database(url)
    database.migrate()
    yield database
    database.close()
