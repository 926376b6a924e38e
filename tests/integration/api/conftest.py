from collections.abc import Iterator
from pathlib import Path

import pytest

from store.workspace import Workspace
from tests.integration.api.serving import Server, make_key, make_workspace, publish_users, serving


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a live build."""
    workspace = make_workspace(tmp_path_factory.mktemp("workspace"))
    publish_users(workspace, seed=1)
    return workspace


@pytest.fixture(scope="module")
def secret(workspace: Workspace) -> str:
    return make_key(workspace, "everything", "*")


@pytest.fixture(scope="module")
def server(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log: Path = tmp_path_factory.mktemp("log") / "server.log"
    with serving(workspace, log) as server:
        yield server
