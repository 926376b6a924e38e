"""The OpenAPI document: what FastAPI can't know of our routes."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from api.errors import PROBLEMS
from api.problems import MEDIA_TYPE
from api.schemas import ProblemBody

TITLE = "lookalike"
DESCRIPTION = """\
Which known violators behave like this user, how risky is that, and why?

Send `Authorization: Bearer KEY`; `lookalike keys create` makes a key.
Failures are problem documents (RFC 9457).
A stale build answers 200 with `meta.state` `stale`: it is no outage.
A person decides; the system never bans.
"""

Responses = dict[int | str, dict[str, Any]]


def problem_responses(statuses: Iterable[int]) -> Responses:
    """Describe the failures of an endpoint."""
    return {status: _problem_response(status) for status in sorted(set(statuses))}


def _problem_response(status: int) -> dict[str, Any]:
    titles = sorted({kind.title for kind in PROBLEMS.values() if kind.status == status})
    description = "; ".join(titles) or HTTPStatus(status).phrase
    return {"description": description, "model": ProblemBody}


def install_openapi(app: FastAPI) -> None:
    """Complete FastAPI's document: the bearer scheme, and problems under their media type."""
    generate = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _complete(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _complete(document: dict[str, Any]) -> None:
    document["components"].setdefault("securitySchemes", {})["bearer"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "A key made by `lookalike keys create`, with the scopes that it needs.",
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            _problems_as_problems(operation["responses"])


def _problems_as_problems(responses: dict[str, dict[str, Any]]) -> None:
    for status, response in responses.items():
        content = response.get("content", {})
        if status >= "400" and "application/json" in content:
            content[MEDIA_TYPE] = content.pop("application/json")
