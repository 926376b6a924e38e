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


class ServedKeys:
    """The keys as requests ask for them: nobody's read of the database holds up the others.

    A thread reads them again, one for all requests. In an outage nobody waits for it.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._reading: asyncio.Task[None] | None = None

    async def check(self, secret: str) -> Key | None:
        """Return the key of this secret; None if there is none in force.

        Raises:
            DatabaseError: If no keys could be read for longer than they outlive the database.
        """
        await self._refresh()
        return self._ring.check(secret)

    async def find(self, name: str) -> Key | None:
        """Return the key of this name; None if there is none in force.

        Raises:
            DatabaseError: As in `check`.
        """
        await self._refresh()
        return self._ring.find(name)

    async def _refresh(self) -> None:
        if not self._ring.is_due:
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(asyncio.to_thread(self._ring.refresh))
        if self._ring.waits:
            await asyncio.shield(self._reading)


async def authenticate(authorization: str | None, keys: ServedKeys) -> Key:
    """Return the key that the `Authorization` header carries.

    Raises:
        KeyAbsent: If there is no bearer key.
        KeyRefused: If it is unknown or revoked.
        DatabaseError: If the keys can't be read.
    """
    if authorization is None or not authorization.lower().startswith(_SCHEME):
        raise KeyAbsent("send `Authorization: Bearer KEY`; `lookalike keys create` makes a key")
    key = await find_key(authorization[len(_SCHEME) :].strip(), keys)
    if key is None:
        raise KeyRefused("this key is unknown or revoked")
    return key


async def find_key(secret: str, keys: ServedKeys) -> Key | None:
    """Return the key of a secret, also one that was made a moment ago.

    An unknown secret is looked for again once the keys were reread; the wait slows guessing, too.
    """
    key = await keys.check(secret)
    if key is None:
        await asyncio.sleep(KEYS_REFRESH_SECONDS)
        key = await keys.check(secret)
    return key


def authorize(key: Key, scope: Scope) -> None:
    """Check that a key may use an endpoint.

    Raises:
        ScopeMissing: If it may not; the message names the scope.
    """
    if not key.allows(scope):
        raise ScopeMissing(f"the key {key.name!r} lacks the scope {scope}")
