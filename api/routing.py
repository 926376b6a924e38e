"""Routes that are closed by default and parsed without detours.

An endpoint is declared to FastAPI as usual, so that its OpenAPI document is made from the very
signature that is served. At run time the route authorizes, parses and answers by itself: FastAPI's
dependency machinery costs more than a search does, and its errors are not problem documents.

An endpoint takes a `Call` and, by name, its path parameters (strings), at most one Pydantic model
of query parameters (`Annotated[Model, Query()]`) and at most one Pydantic model as JSON body.
It returns a JSON-able value, or a `Response`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from fastapi.params import Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.body import read_body
from api.call import Call
from api.errors import BodyTypeRefused, Fault, InvalidInput
from api.openapi import problem_responses
from api.problems import invalid_input
from api.schemas import TOO_MANY_BYTES, USER_ID_MAX
from api.scopes import Scope as AccessScope
from api.scopes import authenticate, authorize
from store.tables import USER_ID_BYTES_MAX

Endpoint = Callable[..., Awaitable[Any]]
Model = TypeVar("Model", bound=BaseModel)


class GuardedRoute(APIRoute):
    """An endpoint that needs a key with a scope."""

    def __init__(
        self,
        path: str,
        endpoint: Endpoint,
        *,
        scope: AccessScope,
        failures: Sequence[int] = (),
        **options: Any,
    ) -> None:
        responses = {**problem_responses((401, 403, *failures)), **options.pop("responses", {})}
        super().__init__(
            path,
            endpoint,
            responses=responses,
            openapi_extra={"security": [{"bearer": [scope]}]},
            **options,
        )
        self.access_scope: AccessScope = scope
        self._parameters = _Parameters.of(endpoint)
        self.app = self._serve

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        call.context.route = self.path_format
        key = await authenticate(call.headers.get("authorization"), call.services.keys)
        call.context.key = key
        authorize(key, self.access_scope)
        answer = await self.endpoint(**await self._parameters.read(call))
        if not isinstance(answer, Response):
            answer = json_response(answer, status=self.status_code or 200)
        await answer(scope, receive, send)


def json_response(value: object, *, status: int = 200) -> Response:
    """Return a value as JSON; numbers that JSON does not know are null."""
    return Response(to_json(value, inf_nan_mode="null"), status, media_type="application/json")


@dataclass(frozen=True)
class _Parameters:
    """Where the arguments of an endpoint come from."""

    call: str
    path: tuple[str, ...]
    query: tuple[str, type[BaseModel]] | None
    body: tuple[str, type[BaseModel]] | None

    @classmethod
    def of(cls, endpoint: Endpoint) -> "_Parameters":
        hints = get_type_hints(endpoint, include_extras=True)
        hints.pop("return", None)
        call = next(name for name, hint in hints.items() if hint is Call)
        query, body, path = None, None, []
        for name, hint in hints.items():
            plain = get_args(hint)[0] if get_origin(hint) is not None else hint
            if name == call:
                continue
            if not issubclass(plain, BaseModel):
                path.append(name)
            elif any(isinstance(extra, Query) for extra in get_args(hint)[1:]):
                query = (name, plain)
            else:
                body = (name, plain)
        return cls(call, tuple(path), query, body)

    async def read(self, call: Call) -> dict[str, Any]:
        """Return the endpoint's arguments.

        Raises:
            InvalidInput: If something does not fit.
        """
        arguments: dict[str, Any] = {self.call: call}
        for name in self.path:
            arguments[name] = _path_parameter(name, call.path_params[name])
        if self.query is not None:
            arguments[self.query[0]] = parse_query(call, self.query[1])
        if self.body is not None:
            arguments[self.body[0]] = await _parse_body(call, self.body[1])
        return arguments


def _path_parameter(name: str, value: str) -> str:
    if not 1 <= len(value) <= USER_ID_MAX:
        raise InvalidInput([Fault(f"/{name}", f"must have 1 to {USER_ID_MAX} characters")])
    if len(value.encode()) > USER_ID_BYTES_MAX:
        raise InvalidInput([Fault(f"/{name}", TOO_MANY_BYTES)])
    if "\0" in value:  # PostgreSQL stores none, and every read is stored
        raise InvalidInput([Fault(f"/{name}", "must have no zero character")])
    return value


def parse_query(call: Call, model: type[Model]) -> Model:
    """Return the query parameters as a model.

    Raises:
        InvalidInput: If one is unknown, given twice or does not fit.
    """
    pairs = call.query_params.multi_items()
    values = dict(pairs)
    if len(values) < len(pairs):
        raise InvalidInput([Fault("", "a query parameter is given more than once")])
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_input(error) from None


async def _parse_body(call: Call, model: type[BaseModel]) -> BaseModel:
    media_type = call.headers.get("content-type", "application/json").partition(";")[0].strip()
    if media_type.lower() != "application/json":
        raise BodyTypeRefused(f"send `Content-Type: application/json`, not {media_type[:80]!r}")
    body = await read_body(call, call.services.config)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid_input(error) from None
