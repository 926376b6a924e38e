from collections.abc import Iterator
from pathlib import Path

import pytest

from index.config import IndexConfig
from index.milvus.collections import MilvusCollections
from store.workspace import Workspace
from tests.milvus_servers import embedded_milvus, milvus_config, standalone_milvus


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "workspace")


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a standalone server."""
    with standalone_milvus(tmp_path_factory.mktemp("milvus")) as uri:
        yield uri


@pytest.fixture
def in_milvus_lite(tmp_path: Path) -> IndexConfig:
    """Builds in the embedded server, in a folder of its own."""
    return milvus_config(embedded_milvus(tmp_path))


@pytest.fixture(
    params=["milvus-lite", pytest.param("milvus", marks=[pytest.mark.slow, pytest.mark.milvus])]
)
def in_milvus(request: pytest.FixtureRequest, tmp_path: Path) -> IndexConfig:
    """Builds in either server; each test has an alias of its own."""
    if request.param == "milvus-lite":
        return milvus_config(embedded_milvus(tmp_path))
    uri = request.getfixturevalue("milvus_server")
    return milvus_config(uri, alias=f"t{abs(hash(request.node.name)) % 10**12}")


@pytest.fixture
def collections(in_milvus: IndexConfig) -> MilvusCollections:
    return MilvusCollections(in_milvus)
