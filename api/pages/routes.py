"""The page's addresses: sign in, look a user up, sign out."""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs

import structlog
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from api.body import read_body
from api.call import Call
from api.errors import ApiError, ScopeMissing, problem_kind
from api.pages.lookup import PAGE_K_MAX, PageParams, look_up
from api.pages.reference import reference
from api.pages.render import FOLDER, render
from api.pages.session import Sessions
from api.pages.views import BuildView
from api.scopes import authorize, find_key
from embedder.errors import EmbedderError
from index.errors import IndexingError, NoLiveBuild
from store.errors import StoreError

FORM_FIELDS_MAX: Final = 5

Handler = Callable[[Call, Sessions], Awaitable[Response]]

_log = structlog.get_logger()


class PageRoute(Route):
    """A page: one that failed is still a page."""

    def __init__(self, path: str, handler: Handler, *, methods: list[str]) -> None:
        super().__init__(path, self._answer, methods=methods)
        self._handler = handler

    async def _answer(self, request: Request) -> Response:
        call = Call(request.scope, request.receive)
        call.context.route = self.path
        services = call.services
        sessions = Sessions(
            services.secret, int(services.config.session_hours * 3_600), services.keys
        )
        try:
            call.context.key = await sessions.signed_in(call)
            return await self._handler(call, sessions)
        except (ApiError, IndexingError, StoreError, EmbedderError) as error:
            return _failure_page(call, sessions, error)


def page_routes() -> list[BaseRoute]:
    """Return the routes of the page."""
    return [
        PageRoute("/", home, methods=["GET"]),
        PageRoute("/sign-in", sign_in, methods=["POST"]),
        PageRoute("/sign-out", sign_out, methods=["POST"]),
        PageRoute("/docs", documentation, methods=["GET"]),
        Mount("/static", _CachedFiles(directory=FOLDER / "static"), name="static"),
    ]


async def home(call: Call, sessions: Sessions) -> Response:
    """Show the sign-in form, the search form, or a user."""
    if call.context.key is None:
        return _sign_in_page(call, sessions)
    params, complaint = _read_params(call)
    authorize(call.key, "neighbors:read")
    service = call.services.live.current()
    view = None
    if params.user_id is not None and complaint is None:
        view = await look_up(call, service, params.user_id, params)
    return _page(
        call,
        sessions,
        "home.html",
        status=200 if complaint is None else 422,
        params=params,
        complaint=complaint,
        build=BuildView.of(service),
        view=view,
    )


async def sign_in(call: Call, sessions: Sessions) -> Response:
    """Start a session with a key."""
    form = await _read_form(call)
    sessions.check_form(call, form.get("form_token", ""))
    secret = form.get("key", "").strip()
    key = await find_key(secret, call.services.keys) if secret else None
    if key is None:
        _log.warning("sign_in_refused", request_id=call.request_id)
        return _sign_in_page(call, sessions, complaint="This key is unknown or revoked.")
    _log.info("signed_in", request_id=call.request_id, key=key.name)
    response = RedirectResponse("/", 303)
    sessions.sign_in(call, response, key)
    return response


async def sign_out(call: Call, sessions: Sessions) -> Response:
    """End the session of this browser."""
    form = await _read_form(call)
    sessions.check_form(call, form.get("form_token", ""))
    response = RedirectResponse("/", 303)
    sessions.sign_out(response)
    return response


async def documentation(call: Call, sessions: Sessions) -> Response:
    """Show the reference of the endpoints; open to everyone, like the OpenAPI document."""
    document = call.app.openapi()
    return _page(call, sessions, "reference.html", reference=reference(document))


def _read_params(call: Call) -> tuple[PageParams, str | None]:
    """Return the form's values; where they don't fit, the defaults and a complaint."""
    given = {name: value for name, value in call.query_params.items() if value.strip()}
    try:
        return PageParams.model_validate(given), None
    except ValidationError as error:
        names = {str(detail["loc"][0]) for detail in error.errors()}
        complaints = {
            "k": f"The number of look-alikes must be 1 to {PAGE_K_MAX}.",
            "user_id": "The user id is too long.",
            "known_violators": "The choice of known violators is not valid.",
            "purpose": "The choice of what to look for is not valid.",
        }
        return PageParams(), " ".join(complaints[name] for name in sorted(names))


async def _read_form(call: Call) -> dict[str, str]:
    body = await read_body(call, call.services.config)
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=FORM_FIELDS_MAX)
    except ValueError:  # neither text nor few fields: no form of ours
        return {}
    return {name: values[0] for name, values in fields.items()}


def _sign_in_page(call: Call, sessions: Sessions, *, complaint: str | None = None) -> Response:
    status = 200 if complaint is None else 401
    return _page(call, sessions, "sign_in.html", status=status, complaint=complaint)


def _failure_page(call: Call, sessions: Sessions, error: Exception) -> Response:
    """Say what went wrong, and what can be done about it."""
    kind = problem_kind(type(error))
    if kind.status >= 500:
        _log.warning("page_failed", request_id=call.request_id, problem=kind.slug, exc_info=error)
    params, _ = _read_params(call)
    advice = {
        "unknown-user": "Check the spelling. Who came within the last seconds, or has no "
        "event before a violation, is not answered for.",
        "no-live-build": "The service runs and waits for a build. An operator makes one with "
        "`lookalike rebuild`; this page then works by itself.",
        "purpose-unavailable": "Look for the same person instead, or ask the operator to train "
        "again.",
        "scope-missing": "Ask whoever gave you the key for one with this scope, sign out, and sign "
        "in with it.",
    }.get(kind.slug, "Try again in a moment; if it stays, tell the operator the request's id.")
    response = _page(
        call,
        sessions,
        "failure.html",
        status=kind.status,
        title=kind.title,
        detail=kind.detail or str(error),
        advice=advice,
        params=params,
        may_search=not isinstance(error, ScopeMissing | NoLiveBuild)
        and call.context.key is not None,
    )
    if kind.retry_after_seconds is not None:
        response.headers["retry-after"] = str(kind.retry_after_seconds)
    return response


def _page(
    call: Call, sessions: Sessions, template: str, *, status: int = 200, **values: Any
) -> Response:
    token = sessions.form_token(call)
    response = render(
        template,
        status=status,
        key=call.context.key,
        form_token=token.value,
        request_id=call.request_id,
        k_max=PAGE_K_MAX,
        **values,
    )
    sessions.remember_form(call, response, token)
    return response


class _CachedFiles(StaticFiles):
    """The style sheet; browsers may keep it for a while."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        Call(scope).context.route = "/static"
        await super().__call__(scope, receive, send)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return a file with a lifetime."""
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "public, max-age=300"
        return response
