"""Structured logs: one JSON object a line on standard error; user ids only as hashes."""

import hashlib
import logging
import sys

import structlog
from pydantic_core import to_json
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

# Never the values of local variables: they hold user ids and events.
_TRACEBACKS = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
_SHARED: tuple[Processor, ...] = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logs() -> None:
    """Send our events, uvicorn's, and the warnings of libraries to standard error."""
    renderer = structlog.processors.JSONRenderer(serializer=_to_json)
    structlog.configure(
        processors=[*_SHARED, _TRACEBACKS, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _TRACEBACKS,
                renderer,
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.INFO)


def _to_json(event: object, **_: object) -> str:
    return to_json(event, fallback=repr).decode()


class UserHasher:
    """Names users in logs without telling who they are; the same name while the secret lasts."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.blake2b(secret.encode(), person=b"log-users").digest()

    def __call__(self, user_id: str) -> str:
        """Return 16 hexadecimal digits that stand for this user."""
        encoded = user_id.encode(errors="surrogatepass")
        return hashlib.blake2b(encoded, key=self._key, digest_size=8).hexdigest()
