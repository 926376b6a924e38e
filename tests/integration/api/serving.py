"""A server process and a client for it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import pyarrow as pa

from index.build_input import BuildInput
from store.database import Database
from store.keys import create_key
from store.workspace import Workspace
from tests.index_fakes import build_input, publish_build, unit_vectors, write_rings_and_risk

START_SECONDS = 60.0
NUM_USERS = 300
VIOLATORS = tuple(range(0, 60))
ODD_IDS = ("a/b", "x:y", "ü")


@dataclass(frozen=True)
class Server:
    """A running service; `log` has its standard error."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def client(self, secret: str = "") -> httpx.Client:
        """Return a client that sends a key."""
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def events(self) -> list[dict[str, Any]]:
        """Return what was logged; every line must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def make_workspace(root: Path) -> Workspace:
    """Return an empty workspace with a database."""
    workspace = Workspace.create(root)
    workspace.config_file.write_text("[serve]\nport = 0\npoll_seconds = 0.1\n")
    database = Database(workspace.ops_url)
    database.migrate()
    database.close()
    return workspace


def make_key(workspace: Workspace, name: str, *scopes: str) -> str:
    """Return the secret of a new key."""
    database = Database(workspace.ops_url)
    secret = create_key(database, name, scopes, now=datetime.now(UTC))
    database.close()
    return secret


def publish_users(workspace: Workspace, *, seed: int, now: datetime | None = None) -> str:
    """Publish a build of some hundred users, three of them with odd ids; returns its id."""
    build = _with_odd_ids(build_input(unit_vectors(NUM_USERS, seed=seed), violators=VIOLATORS))
    published = publish_build(
        workspace, build, now=now or datetime.now(UTC), write_extra=write_rings_and_risk
    )
    assert published.is_live
    return published.build_id


def _with_odd_ids(build: BuildInput) -> BuildInput:
    ids = build.users["user_id"].to_pylist()
    ids = [ODD_IDS[0], *ids[1:-2], *ODD_IDS[1:]]
    users = build.users.set_column(0, "user_id", pa.array(ids))
    return BuildInput(**{**vars(build), "users": users})


@contextmanager
def serving(
    workspace: Workspace,
    log: Path,
    *,
    workers: int = 1,
    ready: bool = True,
    program: Sequence[str] = ("-m", "tests.integration.api.server"),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    """Run the service on a free port until the block ends; then it must stop cleanly."""
    command = [sys.executable, *program, "-w", str(workspace.root)]
    command += ["--port", "0", "--workers", str(workers)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stderr=stream, stdout=stream, env={**os.environ, **variables}
        )
    try:
        server = Server(process, _address(process, log), log)
        if ready:
            wait_until_ready(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=60)
    assert status == 0, log.read_text()


def wait_until_ready(server: Server) -> None:
    """Wait until `/readyz` says 200."""
    deadline = time.monotonic() + START_SECONDS
    with server.client() as client:
        while True:
            try:
                if client.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert server.process.poll() is None, server.log.read_text()
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.05)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait until the service says where it listens."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        if found is not None and not found[0].endswith(":0"):
            return found[0]
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
