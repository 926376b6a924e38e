"""API keys: shown once, stored as a hash, each with scopes."""

import hashlib
import hmac
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from store.clock import from_us, to_us
from store.database import Database
from store.errors import DatabaseError, KeyNameInvalid, KeyNameTaken, KeyUnknown, ScopeUnknown
from store.tables import api_keys

EVERYTHING = "*"
SCOPES = frozenset(
    {
        "neighbors:read",
        "risk:read",
        "features:read",
        "evidence:read",
        "labels:write",
        "erasures:write",
        "builds:admin",
        "audit:read",
        EVERYTHING,
    }
)

_PREFIX = "lk_"
_SECRET_BYTES = 32
_NAME_CHARS_MAX = 200

RETRY_SECONDS, OUTAGE_SECONDS = 5.0, 60.0
"""Between two tries while the database fails, and how long keys outlive it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Key:
    """An API key as it is stored; the secret itself is not."""

    name: str
    scopes: frozenset[str]
    created_at: datetime
    revoked_at: datetime | None

    def allows(self, scope: str) -> bool:
        """Return whether the key may do this."""
        return scope in self.scopes or EVERYTHING in self.scopes


@dataclass(frozen=True)
class _Held:
    """The keys read last, by their hashes, and how reading them went since."""

    keys: Sequence[tuple[str, Key]] = ()
    read_at: float = float("-inf")
    tried_at: float = float("-inf")
    failure: DatabaseError | None = None


def create_key(database: Database, name: str, scopes: Collection[str], *, now: datetime) -> str:
    """Make a key and return its secret, which can't be had again.

    Raises:
        ScopeUnknown: If there is no such scope, or none is given.
        KeyNameInvalid: If the name is empty, very long, or not printable.
        KeyNameTaken: If a key of this name exists, revoked or not: audit rows go by the name.
    """
    unknown = sorted(set(scopes) - SCOPES)
    if unknown or not scopes:
        given = f"scope {unknown[0]} is unknown" if unknown else "a key needs a scope"
        raise ScopeUnknown(f"{given}; scopes are {', '.join(sorted(SCOPES))}")
    if not name.strip() or len(name) > _NAME_CHARS_MAX or not name.isprintable():
        raise KeyNameInvalid(f"a key's name has 1 to {_NAME_CHARS_MAX} printable characters")
    secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    row = {
        "name": name,
        "secret_sha256": _digest(secret),
        "scopes": json.dumps(sorted(set(scopes))),
        "created_at_us": to_us(now),
    }
    try:
        with database.begin() as connection:
            connection.execute(insert(api_keys), row)
    except IntegrityError as error:
        raise KeyNameTaken(f"there is a key named {name} already; choose another name") from error
    return secret


def list_keys(database: Database) -> list[Key]:
    """Return all keys, revoked ones too, sorted by name."""
    with database.read() as connection:
        return [_to_key(row) for row in connection.execute(select(api_keys).order_by("name"))]


def revoke_key(database: Database, name: str, *, now: datetime) -> None:
    """Let a key no longer open anything; services notice within seconds.

    Raises:
        KeyUnknown: If there is no key of this name.
    """
    statement = (
        update(api_keys)
        .where(api_keys.c.name == name, api_keys.c.revoked_at_us.is_(None))
        .values(revoked_at_us=to_us(now))
    )
    with database.begin() as connection:
        found = connection.execute(select(api_keys.c.id).where(api_keys.c.name == name)).first()
        if found is None:
            raise KeyUnknown(f'there is no key named {name}; "lookalike keys list" shows all')
        connection.execute(statement)


class KeyRing:
    """Checks secrets against the keys in force, reread every few seconds; safe between threads.

    All keys are held, never single answers: guessed secrets can't fill the memory, nor reach the
    database more often. While the database fails, the keys read last are in force for a minute: as
    long as the audit of reads bridges it, a short outage costs no answer. It is asked again five
    seconds after it failed, so that not each request waits for as long as a connection may take.

    Only `refresh` reads the database. Whoever asks calls it first where `is_due` tells so, and
    needs not wait for it where `waits` is false.
    """

    def __init__(
        self,
        database: Database,
        *,
        refresh_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._held = _Held()

    @property
    def is_due(self) -> bool:
        """Whether the keys held are too old, or the database failed a while ago."""
        held = self._held
        pause = self._refresh_seconds if held.failure is None else RETRY_SECONDS
        return self._clock() - held.tried_at >= pause

    @property
    def waits(self) -> bool:
        """Whether there is nothing to say before `refresh` returns.

        In an outage there is: the keys of its first minute, then that they can't be read.
        """
        held = self._held
        return held.failure is None or self._clock() - held.tried_at > OUTAGE_SECONDS

    def refresh(self) -> None:
        """Read the keys again if that is due; a failure is remembered, and `check` tells it."""
        with self._lock:
            if not self.is_due:
                return  # another thread was here first
            now = self._clock()
            try:
                self._held = _Held(self._read(), read_at=now, tried_at=now)
            except DatabaseError as error:
                _log.warning("the keys can't be read: %s", error)
                self._held = replace(self._held, tried_at=self._clock(), failure=error)

    def check(self, secret: str) -> Key | None:
        """Return the key of this secret; None if there is none in force.

        Every key is compared in constant time, so the answer's delay tells nothing of a hash.

        Raises:
            DatabaseError: If no keys could be read for longer than they outlive the database.
        """
        digest = _digest(secret)
        found = None
        for stored, key in self._in_force():
            if hmac.compare_digest(stored, digest):
                found = key
        return found

    def find(self, name: str) -> Key | None:
        """Return the key of this name; None if there is none in force.

        Raises:
            DatabaseError: As in `check`.
        """
        return next((key for _, key in self._in_force() if key.name == name), None)

    def _in_force(self) -> Sequence[tuple[str, Key]]:
        held = self._held
        if held.failure is not None and self._clock() - held.read_at > OUTAGE_SECONDS:
            raise DatabaseError(str(held.failure)) from held.failure
        return held.keys

    def _read(self) -> Sequence[tuple[str, Key]]:
        statement = select(api_keys).where(api_keys.c.revoked_at_us.is_(None))
        with self._database.read() as connection:
            return [(row.secret_sha256, _to_key(row)) for row in connection.execute(statement)]


def _digest(secret: str) -> str:
    """Hash a secret; it has too many random bits to be guessed, so a plain hash is enough."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _to_key(row: Row[Any]) -> Key:
    return Key(
        name=row.name,
        scopes=frozenset(json.loads(row.scopes)),
        created_at=from_us(row.created_at_us),
        revoked_at=None if row.revoked_at_us is None else from_us(row.revoked_at_us),
    )
