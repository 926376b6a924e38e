"""Closed by default."""

import re

import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute, Mount, Route
from starlette.testclient import TestClient

from api.app import create_app
from api.pages.routes import PageRoute
from api.routing import GuardedRoute
from api.scopes import SCOPES
from tests.unit.api.fakes import World

OPEN = {"/livez", "/readyz", "/metrics", "/openapi.json", "/static"}
PAGES = {"/", "/sign-in", "/sign-out", "/docs"}


def routes_of(app: FastAPI) -> list[BaseRoute]:
    return list(app.router.routes)


def test_every_route_needs_a_scope_unless_it_is_meant_to_be_open(world: World) -> None:
    for route in routes_of(create_app(world.services)):
        if isinstance(route, GuardedRoute):
            assert route.access_scope in SCOPES
        elif isinstance(route, PageRoute):
            assert route.path in PAGES
        else:
            assert isinstance(route, Route | Mount)
            assert route.path in OPEN


def guarded_requests(world: World) -> list[tuple[str, str]]:
    return [
        (next(iter(route.methods or ())), re.sub(r"\{[^}]+\}", "u-1", route.path))
        for route in routes_of(create_app(world.services))
        if isinstance(route, GuardedRoute)
    ]


def test_no_endpoint_answers_without_a_key(client: TestClient, world: World) -> None:
    del client.headers["Authorization"]
    for method, path in guarded_requests(world):
        answer = client.request(method, path)

        assert answer.status_code == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json()["type"] == "urn:lookalike:problem:key-absent"


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer ", "Basic everything", "everything", "Bearer é"]
)
def test_a_bad_key_is_refused(client: TestClient, header: str) -> None:
    answer = client.get("/v1/users/u-1/risk", headers={b"Authorization": header.encode()})

    assert answer.status_code == 401
    assert "WWW-Authenticate" in answer.headers


def test_a_key_without_scopes_is_refused_everywhere_and_told_which_is_missing(
    client: TestClient, world: World
) -> None:
    client.headers["Authorization"] = "Bearer nothing"
    for method, path in guarded_requests(world):
        answer = client.request(method, path)

        assert answer.status_code == 403, path
        assert any(scope in answer.json()["detail"] for scope in SCOPES)


def test_a_key_opens_only_what_its_scopes_name(client: TestClient) -> None:
    client.headers["Authorization"] = "bearer neighbors"

    assert client.get("/v1/users/u-1/neighbors").status_code == 200
    assert client.get("/v1/users/u-1/risk").status_code == 403


def test_a_refused_caller_leaves_no_audit_row(client: TestClient, world: World) -> None:
    client.get("/v1/users/u-1/risk", headers={"Authorization": "Bearer neighbors"})

    client.__exit__()
    assert world.audited == []
