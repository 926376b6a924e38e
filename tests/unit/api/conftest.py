from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from store.workspace import Workspace
from tests.unit.api.fakes import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(Workspace(tmp_path))


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    """A caller with a key for everything."""
    with TestClient(
        create_app(world.services),
        headers={"Authorization": "Bearer everything"},
        follow_redirects=False,
    ) as client:
        yield client
