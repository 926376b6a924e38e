"""Milvus for tests: the real standalone server in a temporary folder, and the embedded one."""

import importlib.util
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from index.config import IndexConfig

ETCD_PEER_PORT = 2380
"""The one port of the standalone server that can't be chosen."""


def skip_without(*packages: str) -> None:
    """Skip the test where a package is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; it comes with the extra dev")


@contextmanager
def standalone_milvus(folder: Path) -> Iterator[str]:
    """Yield the address of a server that lives as long as the block; skip where there can't be."""
    skip_without("pymilvus", "milvus")
    from milvus import MilvusServer, MilvusServerConfig

    with socket.socket() as peer:
        if peer.connect_ex(("127.0.0.1", ETCD_PEER_PORT)) == 0:
            pytest.skip(f"port {ETCD_PEER_PORT}, which a Milvus server needs, is taken")
    server = MilvusServer(MilvusServerConfig())
    server.set_base_dir(str(folder))
    server.config.set("proxy_port", 0)  # takes a free one
    server.start()
    try:
        yield f"http://127.0.0.1:{server.listen_port}"
    finally:
        server.stop()


def embedded_milvus(folder: Path) -> str:
    """Return the address of a milvus-lite; its process is started with the first connection."""
    skip_without("pymilvus", "milvus_lite")
    return str(folder / "milvus.db")


def milvus_config(uri: str, **options: object) -> IndexConfig:
    """Return a configuration whose builds are in this Milvus."""
    return IndexConfig.model_validate(
        {
            "backend": "milvus",
            "milvus": {"uri": uri, **options},
            "tuning_queries": 400,
            "poor_share_target": 0.01,
        }
    )
