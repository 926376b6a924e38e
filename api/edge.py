"""The outermost layer: request ids, the log, the metrics, failures, and safe headers."""

import re
import secrets
import time
from typing import Final

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.call import CONTEXT, UNMATCHED, CallContext
from api.errors import QueueFull, ServiceBusy
from api.problems import kind_of, problem_response
from api.services import Services

REQUEST_ID_HEADER: Final = b"x-request-id"
CACHE_HEADER: Final = b"cache-control"
CLIENT_LEFT: Final = 499
"""In logs and metrics, as other servers have it: the body broke off."""
ALWAYS_ANSWERED: Final = frozenset({"/livez", "/readyz", "/metrics"})
_SANE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")

_log = structlog.get_logger()


class Edge:
    """Wraps every request; nothing leaves the service but through here."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services
        self._num_open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = CallContext(_request_id(scope))
        scope[CONTEXT] = context
        answer = _Answer(send, context.request_id)
        started = time.perf_counter()
        self._num_open += 1
        try:
            await self._serve(scope, receive, answer)
        finally:
            self._num_open -= 1
            self._report(scope, context, answer.status, time.perf_counter() - started)

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            crowded = self._num_open > self._services.config.connections_max
            if crowded and scope["path"] not in ALWAYS_ANSWERED:
                raise QueueFull(f"{self._num_open} requests are open")
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            answer.status = CLIENT_LEFT  # nobody is there to be answered
        except Exception as error:
            self._log_failure(error, scope[CONTEXT])
            if answer.started:
                raise
            request_id = scope[CONTEXT].request_id
            await problem_response(error, request_id=request_id)(scope, receive, answer)

    def _log_failure(self, error: Exception, context: CallContext) -> None:
        """Log what an operator must know: our failures whole, a lack of something in a line."""
        kind = kind_of(error)
        fields = {"request_id": context.request_id, "route": context.route, "problem": kind.slug}
        if isinstance(error, ServiceBusy):
            self._services.metrics.request_refused(reason=kind.slug)
        if kind.status == 503:
            _log.warning("request_refused", reason=str(error), **fields)
        elif kind.status >= 500:
            _log.error("request_failed", exc_info=error, **fields)

    def _report(self, scope: Scope, context: CallContext, status: int, seconds: float) -> None:
        self._services.metrics.request_done(
            method="other" if context.route == UNMATCHED else scope["method"],
            route=context.route,
            status=status,
            seconds=seconds,
        )
        user_id, key = context.user_id, context.key
        _log.info(
            "request",
            request_id=context.request_id,
            method=scope["method"],
            route=context.route,
            status=status,
            duration_ms=round(seconds * 1e3, 2),
            key=None if key is None else key.name,
            user=None if user_id is None else self._services.hash_user(user_id),
        )


class _Answer:
    """A `send` that adds headers and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.started = False
        self.status = 500

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            headers = message["headers"] = list(message.get("headers", ()))
            headers.append((REQUEST_ID_HEADER, self._request_id.encode()))
            headers.append((b"x-content-type-options", b"nosniff"))
            if all(name != CACHE_HEADER for name, _ in headers):
                headers.append((CACHE_HEADER, b"no-store"))
        await self._send(message)


def _request_id(scope: Scope) -> str:
    """Return the caller's id for this request where it is harmless, else a new one."""
    given = next((value for name, value in scope["headers"] if name == REQUEST_ID_HEADER), b"")
    return given.decode() if _SANE_REQUEST_ID.fullmatch(given) else secrets.token_hex(12)
