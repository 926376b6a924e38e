"""A migrated database in a file of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'ops.sqlite'}")
    database.migrate()
    yield database
    database.close()
