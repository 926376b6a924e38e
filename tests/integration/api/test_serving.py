"""Starting, swapping builds under load, several workers, stopping."""

import re
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from index.publish import read_live
from store.audit import read
from store.database import Database
from store.workspace import Workspace
from tests.integration.api.serving import (
    Server,
    make_key,
    make_workspace,
    publish_users,
    serving,
    wait_until_ready,
)


def until(server: Server, path: str, wanted: Any, secret: str = "") -> httpx.Response:
    """Ask again and again until the answer is as wanted."""
    deadline = time.monotonic() + 20
    with server.client(secret) as client:
        while True:
            answer = client.get(path)
            if wanted(answer):
                return answer
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.02)


def test_a_service_without_a_build_waits_for_one(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    secret = make_key(workspace, "someone", "*")
    with serving(workspace, tmp_path / "log", ready=False) as server:
        until(server, "/livez", lambda answer: answer.status_code == 200)
        with server.client(secret) as client:
            not_ready = client.get("/readyz")
            unanswered = client.get("/v1/users/ü/neighbors")
            builds = client.get("/v1/builds").json()
        build_id = publish_users(workspace, seed=1)
        wait_until_ready(server)
        answer = until(server, "/v1/users/ü/neighbors", lambda answer: True, secret)

    assert not_ready.status_code == unanswered.status_code == 503
    assert not_ready.headers["Retry-After"]
    assert builds["builds"] == []
    assert builds["meta"].pop("request_id")
    assert set(builds["meta"].values()) == {None}
    assert builds["live"] is None
    assert answer.json()["meta"]["build_id"] == build_id


def test_builds_swap_under_load_without_a_failed_request(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    secret = make_key(workspace, "someone", "*")
    publish_users(workspace, seed=1)
    seen: set[str] = set()
    failures: list[object] = []
    stop = threading.Event()

    def ask(server: Server) -> None:
        with server.client(secret) as client:
            while not stop.is_set():
                try:
                    answer = client.get("/v1/users/ü/neighbors?k=3")
                    if answer.status_code != 200:
                        failures.append(answer.text)
                    else:
                        seen.add(answer.json()["meta"]["build_id"])
                except httpx.HTTPError as error:
                    failures.append(error)

    with serving(workspace, tmp_path / "log") as server:
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        published = []
        for seed in (2, 3, 4):
            build_id = publish_users(workspace, seed=seed, now=datetime.now(UTC))
            published.append(build_id)
            until(server, "/readyz", lambda answer, b=build_id: answer.json()["build_id"] == b)
        stop.set()
        for thread in threads:
            thread.join()

    assert failures == []
    assert set(published) <= seen


META = {"request_id", "build_id", "space_id", "data_as_of", "search_mode", "state"}


def test_builds_are_listed_promoted_and_rolled_back_over_http(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    secret = make_key(workspace, "operator", "builds:admin", "neighbors:read")
    now = datetime.now(UTC)
    first = publish_users(workspace, seed=1, now=now - timedelta(hours=1))
    second = publish_users(workspace, seed=2, now=now)
    with serving(workspace, tmp_path / "log") as server, server.client(secret) as client:
        listed = client.get("/v1/builds").json()
        rolled_back = client.post(f"/v1/builds/{second}:rollback").json()
        served = client.get("/v1/users/ü/neighbors").json()["meta"]["build_id"]
        again = client.post(f"/v1/builds/{second}:rollback")
        promoted = [client.post(f"/v1/builds/{second}:promote") for _ in range(2)]
        unknown = client.post("/v1/builds/b0:promote")
        traversal = client.post("/v1/builds/..%2F..:promote")

    assert [build["build_id"] for build in listed["builds"]] == [second, first]
    assert (listed["live"], listed["previous"]) == (second, first)
    assert (rolled_back["live"], rolled_back["previous"]) == (first, second)
    assert served == first
    assert listed["meta"]["build_id"] == promoted[1].json()["meta"]["build_id"] == second
    assert rolled_back["meta"]["build_id"] == first
    assert set(listed["meta"]) == META
    assert again.status_code == 409
    assert again.json()["type"] == "urn:lookalike:problem:rollback-conflict"
    assert [answer.json()["live"] for answer in promoted] == [second, second]
    assert [answer.json()["previous"] for answer in promoted] == [first, first]
    assert unknown.status_code == 404
    assert traversal.status_code == 404
    pointer = read_live(workspace)
    assert pointer is not None
    assert pointer.live == second
    database = Database(workspace.ops_url)
    assert [row.action for row in read(database)].count("builds.rollback") == 2
    database.close()


def test_a_damaged_build_is_not_promoted_and_the_old_one_goes_on(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    secret = make_key(workspace, "operator", "*")
    now = datetime.now(UTC)
    first = publish_users(workspace, seed=1, now=now - timedelta(hours=1))
    second = publish_users(workspace, seed=2, now=now)
    vectors = workspace.builds_dir / first / "vectors.npy"
    damaged = bytearray(vectors.read_bytes())
    damaged[-1] ^= 1
    vectors.write_bytes(damaged)
    with serving(workspace, tmp_path / "log") as server, server.client(secret) as client:
        refused = client.post(f"/v1/builds/{first}:promote")
        answer = client.get("/v1/users/ü/neighbors")

    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:lookalike:problem:build-corrupt"
    assert str(tmp_path) not in refused.text
    assert answer.json()["meta"]["build_id"] == second


def test_workers_share_sessions_and_add_up_their_metrics(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    secret = make_key(workspace, "someone", "*")
    publish_users(workspace, seed=1)
    with serving(workspace, tmp_path / "log", workers=2) as server:
        _sign_in_and_ask_on_many_connections(server, secret)
        for _ in range(40):
            with server.client(secret) as client:
                assert client.get("/v1/users/ü/neighbors").status_code == 200
        totals = {_requests_counted(server) for _ in range(10)}

    assert totals == {40}
    assert {row.subject for row in _audited(workspace)} == {"ü"}
    assert len(_audited(workspace)) == 40 + 20
    assert len({line["event"] for line in server.events()}) > 1


def _sign_in_and_ask_on_many_connections(server: Server, secret: str) -> None:
    with server.client() as client:
        token = re.search(r'name="form_token" value="([^"]+)"', client.get("/").text)
        assert token is not None
        client.post("/sign-in", data={"key": secret, "form_token": token[1]})
        cookies = dict(client.cookies)
    for _ in range(20):
        with httpx.Client(base_url=server.url, cookies=cookies) as client:
            assert "look-alikes" in client.get("/?user_id=ü").text.lower()


def _requests_counted(server: Server) -> float:
    with server.client() as client:
        text = client.get("/metrics").text
    line = re.search(
        r'lookalike_requests_total\{.*route="/v1/users/\{user_id\}/neighbors".*\} (\S+)', text
    )
    assert line is not None
    return float(line[1])


def _audited(workspace: Workspace) -> list[Any]:
    database = Database(workspace.ops_url)
    rows = read(database)
    database.close()
    return rows


def test_stopping_writes_every_audit_row(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    secret = make_key(workspace, "someone", "*")
    publish_users(workspace, seed=1)
    slow_flush = {"LOOKALIKE_SERVE__AUDIT_FLUSH_SECONDS": "10"}
    with (
        serving(workspace, tmp_path / "log", variables=slow_flush) as server,
        server.client(secret) as client,
    ):
        client.post("/v1/risk:batch", json={"user_ids": ["ü", "a/b"] * 100})

    assert len(_audited(workspace)) == 200


def test_the_service_uses_the_database_that_the_environment_names(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    publish_users(workspace, seed=1)
    other = tmp_path / "other.sqlite"
    (workspace.root / "ops.sqlite").rename(other)
    named = {"LOOKALIKE_DATABASE_URL": f"sqlite:///{other}"}
    secret = make_key(Workspace(workspace.root, named["LOOKALIKE_DATABASE_URL"]), "someone", "*")
    with (
        serving(workspace, tmp_path / "log", workers=2, variables=named) as server,
        server.client(secret) as client,
    ):
        assert client.get("/v1/users/ü/neighbors").status_code == 200

    assert [row.subject for row in _audited(Workspace(workspace.root, f"sqlite:///{other}"))] == [
        "ü"
    ]
    assert not (workspace.root / "ops.sqlite").exists()


def run_main(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "api", *arguments], capture_output=True, text=True, timeout=60
    )


def test_no_workspace_is_one_line_and_status_1(tmp_path: Path) -> None:
    done = run_main("-w", str(tmp_path))

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    ["[serve]\nport = 99999999\n", "[serve]\ncolour = 1\n", "[serve\n", "database_url = 3\n"],
)
def test_wrong_settings_are_one_line_and_status_1(tmp_path: Path, line: str) -> None:
    make_workspace(tmp_path).config_file.write_text(line)

    done = run_main("-w", str(tmp_path))

    assert done.returncode == 1
    assert done.stderr.startswith("error: lookalike.toml")
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_one_line_and_status_1(tmp_path: Path) -> None:
    make_workspace(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        alone = run_main("-w", str(tmp_path), "--port", port)
        several = run_main("-w", str(tmp_path), "--port", port, "--workers", "2")

    for done in (alone, several):
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: can't listen on 127.0.0.1 port {port}: address")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "x" * 300])
def test_a_host_that_is_not_ours_is_one_line_and_status_1(tmp_path: Path, host: str) -> None:
    make_workspace(tmp_path)

    done = run_main("-w", str(tmp_path), "--host", host)

    assert done.returncode == 1
    assert done.stderr.startswith(f"error: can't listen on {host} port 0: ")
    assert done.stderr.count("\n") == 1
