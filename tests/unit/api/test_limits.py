"""What a client may take up, and for how long."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from api.body import read_body
from api.edge import Edge
from api.errors import BodyTooLarge, BodyTooSlow
from index.serve_config import ServeConfig
from store.workspace import Workspace
from tests.unit.api.fakes import make_world


def scope_of(path: str, **headers: str) -> Scope:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
    }


def request_from(receive: Receive, **headers: str) -> Request:
    return Request(scope_of("/", **headers), receive)


def chunks_of(num_chunks: int, size: int) -> tuple[Receive, Callable[[], int]]:
    """Return a `receive` that sends a body in chunks, and how many were taken."""
    num_taken = 0

    async def receive() -> Message:
        nonlocal num_taken
        num_taken += 1
        return {"type": "http.request", "body": b"x" * size, "more_body": num_taken < num_chunks}

    return receive, lambda: num_taken


def test_a_body_arrives_whole() -> None:
    receive, _ = chunks_of(3, 10)

    assert asyncio.run(read_body(request_from(receive), ServeConfig())) == b"x" * 30


def test_a_body_that_never_ends_is_given_up() -> None:
    async def receive() -> Message:
        return await asyncio.Future[Message]()

    with pytest.raises(BodyTooSlow):
        asyncio.run(read_body(request_from(receive), ServeConfig(body_timeout_seconds=0.05)))


def test_the_rest_of_a_large_body_is_taken_but_not_kept() -> None:
    receive, num_taken = chunks_of(50, 1_000)

    with pytest.raises(BodyTooLarge):
        asyncio.run(read_body(request_from(receive), ServeConfig(body_max_bytes=2_000)))

    assert num_taken() == 50


def test_nothing_is_waited_for_after_a_body_that_was_too_large() -> None:
    receive, num_taken = chunks_of(1, 3_000)

    with pytest.raises(BodyTooLarge):
        asyncio.run(read_body(request_from(receive), ServeConfig(body_max_bytes=2_000)))

    assert num_taken() == 1


def test_a_client_that_leaves_amid_its_body_is_not_waited_for() -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b"x", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    with pytest.raises(ClientDisconnect):
        asyncio.run(read_body(request_from(receive), ServeConfig()))


def test_a_client_that_asks_first_is_refused_before_it_sends() -> None:
    receive, num_taken = chunks_of(50, 1_000)
    request = request_from(receive, content_length="50000", expect="100-continue")

    with pytest.raises(BodyTooLarge):
        asyncio.run(read_body(request, ServeConfig(body_max_bytes=2_000)))

    assert num_taken() == 0


def test_too_many_open_requests_are_refused_but_probes_are_answered(tmp_path: Path) -> None:
    world = make_world(Workspace(tmp_path), config=ServeConfig(connections_max=1))

    async def scenario() -> list[int]:
        gate = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/slow":
                await gate.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        edge = Edge(app, world.services)
        slow = asyncio.create_task(status_of(edge, "/slow"))
        await asyncio.sleep(0)
        others = [await status_of(edge, path) for path in ("/v1/builds", "/livez", "/readyz")]
        gate.set()
        return [*others, await slow, await status_of(edge, "/v1/builds")]

    assert asyncio.run(scenario()) == [503, 200, 200, 200, 200]


def test_a_client_that_leaves_is_no_failure_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.edge._log", structlog.get_logger())
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(Request(scope, receive), ServeConfig())

    edge = Edge(app, make_world(Workspace(tmp_path)).services)
    with capture_logs() as lines:
        asyncio.run(edge(scope_of("/v1/risk:batch"), receive, send))

    assert sent == []
    (line,) = lines
    assert (line["status"], line["log_level"]) == (499, "info")


async def status_of(app: Any, path: str) -> int:
    """Return the status that an ASGI application answers with."""
    statuses: list[int] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    receive, _ = chunks_of(1, 0)
    await app(scope_of(path), receive, send)
    return statuses[0]
