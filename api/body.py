"""Request bodies: read up to a limit within a time, never buffered beyond it."""

import asyncio

from starlette.requests import ClientDisconnect, Request

from api.errors import BodyTooLarge, BodyTooSlow
from index.serve_config import ServeConfig

DRAIN_SECONDS = 5.0


async def read_body(request: Request, config: ServeConfig) -> bytes:
    """Return the whole body.

    Raises:
        BodyTooLarge: If it is larger than `body_max_bytes`, known from its header or by counting.
        BodyTooSlow: If it does not arrive in time.
    """
    try:
        async with asyncio.timeout(config.body_timeout_seconds):
            return await _read(request, config.body_max_bytes)
    except TimeoutError:
        raise BodyTooSlow(
            f"the body did not arrive within {config.body_timeout_seconds:g} seconds"
        ) from None


async def _read(request: Request, max_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "0")
    too_large = BodyTooLarge(f"the body is larger than {max_bytes} bytes")
    if announced.isdecimal() and int(announced) > max_bytes:
        if "expect" not in request.headers:
            await _drain(request)
        raise too_large
    chunks: list[bytes] = []
    num_bytes = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            chunks.clear()
            if message.get("more_body", False):
                await _drain(request)
            raise too_large
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _drain(request: Request) -> None:
    """Discard the rest for a while: many clients read no answer before they have sent it all."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while (await request.receive()).get("more_body", False):
                pass
    except TimeoutError:
        return
