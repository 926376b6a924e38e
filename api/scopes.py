"""What a key may do, and the check that it may."""

import asyncio
from typing import Final, Literal, get_args

from api.errors import KeyAbsent, KeyRefused, ScopeMissing
from store.keys import Key, KeyRing

Scope = Literal["neighbors:read", "risk:read", "features:read", "builds:admin"]

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
KEYS_REFRESH_SECONDS: Final = 0.25
"""How soon a new key opens and a revoked one no longer does."""

_SCHEME = "bearer "


async def authenticate(authorization: str | None, keys: KeyRing) -> Key:
    """Return the key that the `Authorization` header carries.

    Raises:
        KeyAbsent: If there is no bearer key.
        KeyRefused: If it is unknown or revoked.
    """
    if authorization is None or not authorization.lower().startswith(_SCHEME):
        raise KeyAbsent("send `Authorization: Bearer KEY`; `lookalike keys create` makes a key")
    key = await find_key(authorization[len(_SCHEME) :].strip(), keys)
    if key is None:
        raise KeyRefused("this key is unknown or revoked")
    return key


async def find_key(secret: str, keys: KeyRing) -> Key | None:
    """Return the key of a secret, also one that was made a moment ago.

    An unknown secret is looked for again once the keys were reread; the wait slows guessing, too.
    """
    key = keys.check(secret)
    if key is None:
        await asyncio.sleep(KEYS_REFRESH_SECONDS)
        key = keys.check(secret)
    return key


def authorize(key: Key, scope: Scope) -> None:
    """Check that a key may use an endpoint.

    Raises:
        ScopeMissing: If it may not; the message names the scope.
    """
    if not key.allows(scope):
        raise ScopeMissing(f"the key {key.name!r} lacks the scope {scope}")
