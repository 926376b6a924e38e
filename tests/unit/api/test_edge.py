import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from api.app import create_app
from api.logs import UserHasher
from index.serve_config import ServeConfig
from store.workspace import Workspace
from tests.unit.api.fakes import make_world


@pytest.mark.parametrize("given", ["abc-123", "A.b:c_d", "x" * 64])
def test_a_sane_request_id_is_kept(client: TestClient, given: str) -> None:
    answer = client.get("/v1/users/u-1/neighbors", headers={"X-Request-Id": given})

    assert answer.headers["X-Request-Id"] == given
    assert answer.json()["meta"]["request_id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "a\tb"])
def test_another_request_id_is_replaced(client: TestClient, given: str) -> None:
    answer = client.get("/livez", headers={"X-Request-Id": given})

    assert answer.headers["X-Request-Id"] not in ("", given)


def test_two_requests_have_two_ids(client: TestClient) -> None:
    ids = {client.get("/livez").headers["X-Request-Id"] for _ in range(20)}

    assert len(ids) == 20


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("DELETE", "/v1/builds", 405), ("GET", "/v1/risk:batch", 405)],
)
def test_what_the_router_refuses_is_a_problem_too(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    if status == 405:
        assert answer.headers["Allow"]


def test_what_the_router_refuses_is_no_failure_of_ours(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.edge._log", structlog.get_logger())

    with capture_logs() as lines:
        client.get("/nowhere")

    (line,) = lines
    assert (line["event"], line["status"], line["log_level"]) == ("request", 404, "info")


def test_answers_are_not_stored_by_anyone(client: TestClient) -> None:
    answer = client.get("/v1/users/u-1/neighbors")

    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_body_over_the_limit_is_413_however_it_comes(tmp_path: Path) -> None:
    world = make_world(Workspace(tmp_path), config=ServeConfig(body_max_bytes=2_000))
    headers = {"Authorization": "Bearer everything", "Content-Type": "application/json"}

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1_000

    with TestClient(create_app(world.services), headers=headers) as client:
        announced = client.post("/v1/risk:batch", content=b"x" * 3_000)
        chunked = client.post("/v1/risk:batch", content=chunks())
        page = client.post("/sign-in", content=b"x" * 3_000)

    for answer in (announced, chunked):
        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:lookalike:problem:body-too-large"
        assert answer.headers["Connection"] == "close"
    assert page.status_code == 413


def test_logs_say_who_asked_for_what_but_not_about_whom(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_id = "x:y"
    # a server that another test started in this process may have fixed where the old one writes
    monkeypatch.setattr("api.edge._log", structlog.get_logger())

    with capture_logs() as lines:
        client.get(f"/v1/users/{secret_id}/neighbors?k=3")

    line = next(line for line in lines if line["event"] == "request")
    assert line["route"] == "/v1/users/{user_id}/neighbors"
    assert line["status"] == 200
    assert line["key"] == "everything"
    assert line["user"] == UserHasher("s" * 40)(secret_id)
    assert secret_id not in json.dumps(line)


def test_the_hash_of_a_user_needs_the_secret() -> None:
    assert UserHasher("a" * 32)("u-1") != UserHasher("b" * 32)("u-1")
    assert UserHasher("a" * 32)("\ud800")
