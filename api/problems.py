"""Failures as problem documents (RFC 9457)."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus

from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.errors import (
    BodyTooLarge,
    Fault,
    InvalidInput,
    KeyAbsent,
    KeyRefused,
    ProblemKind,
    problem_kind,
)
from api.schemas import ProblemBody
from index.errors import RequestError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:lookalike:problem:"
FAULTS_MAX = 20


def problem_document(error: Exception, *, request_id: str) -> ProblemBody:
    """Return the problem details of a failure, as they go on the wire."""
    kind = kind_of(error)
    document: ProblemBody = {
        "type": TYPE_PREFIX + kind.slug,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail or _message(error),
        "instance": f"urn:lookalike:request:{request_id}",
        "request_id": request_id,
    }
    faults = _faults_of(error)
    if faults:
        document["errors"] = [
            {"pointer": fault.pointer, "detail": fault.detail} for fault in faults[:FAULTS_MAX]
        ]
    return document


def problem_response(error: Exception, *, request_id: str) -> Response:
    """Return the answer to a request that failed."""
    kind = kind_of(error)
    headers: dict[str, str] = dict(getattr(error, "headers", None) or {})
    if isinstance(error, KeyAbsent | KeyRefused):
        headers["WWW-Authenticate"] = 'Bearer realm="lookalike"'
    if isinstance(error, BodyTooLarge):
        headers["Connection"] = "close"
    if kind.retry_after_seconds is not None:
        headers["Retry-After"] = str(kind.retry_after_seconds)
    return Response(
        to_json(problem_document(error, request_id=request_id)),
        kind.status,
        headers,
        MEDIA_TYPE,
    )


def invalid_input(error: ValidationError, *, root: Sequence[str | int] = ()) -> InvalidInput:
    """Translate what Pydantic found into faults with pointers."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return InvalidInput([_fault(detail, root) for detail in details[:FAULTS_MAX]])


def pointer_of(location: Iterable[str | int]) -> str:
    """Return a JSON pointer (RFC 6901) to a location."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)


def _fault(detail: ErrorDetails, root: Sequence[str | int]) -> Fault:
    location = [*root, *(part for part in detail["loc"] if part != "[key]")]
    return Fault(pointer_of(location)[:200], detail["msg"][:300])


def kind_of(error: Exception) -> ProblemKind:
    """Return how a failure is shown; what the router refuses has the names of its status."""
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return ProblemKind(error.status_code, phrase.lower().replace(" ", "-"), phrase)
    return problem_kind(type(error))


def _message(error: Exception) -> str:
    return str(error.detail) if isinstance(error, HTTPException) else str(error)


def _faults_of(error: Exception) -> Sequence[Fault]:
    if isinstance(error, InvalidInput):
        return error.faults
    if isinstance(error, RequestError) and error.pointer:
        return (Fault("/" + error.pointer, str(error)),)
    return ()
