"""`lookalike erase` while `lookalike serve` runs: nobody restarts or rebuilds anything."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from store.workspace import Workspace
from tests.integration.api.serving import Server, make_key, serving
from tests.integration.bad_input.conftest import SERVE
from tests.integration.jobs.conftest import WITH_RISK, invoke
from tests.integration.jobs.test_rebuild import live_build, some_users

GONE_WITHIN_SECONDS = 5.0
NUM_WORKERS = 2
CONNECTIONS = 20  # enough to meet both workers, but for one chance in a million


@dataclass(frozen=True)
class Served:
    """The running service of a workspace with a live build."""

    workspace: Path
    server: Server
    secret: str
    user_ids: list[str]

    def ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Ask on a connection of its own, so by whichever worker takes it."""
        with self.server.client(self.secret) as client:
            return client.request(method, path, **arguments)


@pytest.fixture
def served(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv(*WITH_RISK)
    invoke("rebuild", "-w", workspace)
    users = some_users(live_build(workspace), live_build(workspace).manifest.num_users)
    secret = make_key(Workspace.open(workspace), "everything", "*")
    log = tmp_path / "server.log"
    with serving(Workspace.open(workspace), log, program=SERVE, workers=NUM_WORKERS) as server:
        yield Served(workspace, server, secret, users)
    assert "Traceback" not in log.read_text()


def test_an_erased_user_is_gone_from_every_answer_within_seconds(served: Served) -> None:
    gone, other = served.user_ids[:2]
    k = min(1_000, len(served.user_ids) - 2)
    assert gone in hits(served.ask("GET", f"/v1/users/{other}/neighbors?k={k}"))
    assert served.ask("GET", f"/v1/users/{gone}/risk").status_code == 200

    command = [sys.executable, "-m", "jobs.cli", "erase", gone, "-w", str(served.workspace)]
    subprocess.run(command, check=True, capture_output=True)
    done_at = time.monotonic()
    wait_until(lambda: gone_from_both_workers(served, gone), done_at + GONE_WITHIN_SECONDS)

    for _ in range(CONNECTIONS):
        answer = served.ask("GET", f"/v1/users/{other}/neighbors?k={k}")
        assert gone not in hits(answer)
        assert len(hits(answer)) == k, "as many as were asked for"
    assert_unknown_everywhere(served, gone, other)
    assert invoke("builds", "list", "-w", served.workspace)["builds"][-1]["live"] is True


def gone_from_both_workers(served: Served, user_id: str) -> bool:
    path = f"/v1/users/{user_id}/neighbors"
    return {served.ask("GET", path).status_code for _ in range(CONNECTIONS)} == {404}


def assert_unknown_everywhere(served: Served, gone: str, other: str) -> None:
    assert served.ask("GET", f"/v1/users/{gone}/risk").status_code == 404
    batch = {"queries": [{"query": {"user_id": user}, "k": 5} for user in (gone, other)]}
    results = served.ask("POST", "/v1/neighbors:batch_query", json=batch).json()["results"]
    assert [result["status"] for result in results] == [404, 200]
    ids = {"user_ids": [gone, other]}
    risks = served.ask("POST", "/v1/risk:batch", json=ids).json()["risks"]
    assert [risk["status"] == "unknown_user" for risk in risks] == [True, False]
    features = served.ask("POST", "/v1/features:batch", json=ids).json()["features"]
    assert [row["found"] for row in features] == [False, True]
    violators = {"query": {"user_id": other}, "k": 1_000, "known_violators": True}
    assert gone not in hits(served.ask("POST", "/v1/neighbors:query", json=violators))
    filtered = {"query": {"user_id": other}, "k": 1_000, "filter": {"min_events": 1}}
    assert gone not in hits(served.ask("POST", "/v1/neighbors:query", json=filtered))


def hits(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["user_id"] for hit in answer.json()["neighbors"]]


def wait_until(condition: Callable[[], bool], deadline: float) -> None:
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
