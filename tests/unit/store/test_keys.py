from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from store.database import Database
from store.errors import DatabaseError, KeyNameInvalid, KeyNameTaken, KeyUnknown, ScopeUnknown
from store.keys import SCOPES, Key, KeyRing, create_key, list_keys, revoke_key

NOW = datetime(2024, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def check(ring: KeyRing, secret: str) -> Key | None:
    """Ask as a service does."""
    ring.refresh()
    return ring.check(secret)


def find(ring: KeyRing, name: str) -> Key | None:
    ring.refresh()
    return ring.find(name)


def test_a_key_opens_what_its_scopes_say(database: Database) -> None:
    secret = create_key(database, "robot", ["risk:read", "neighbors:read"], now=NOW)
    key = check(KeyRing(database), secret)
    assert key is not None
    assert (key.name, key.created_at) == ("robot", NOW)
    assert [scope for scope in sorted(SCOPES) if key.allows(scope)] == [
        "neighbors:read",
        "risk:read",
    ]


def test_the_star_scope_is_everything(database: Database) -> None:
    key = check(KeyRing(database), create_key(database, "root", ["*"], now=NOW))
    assert key is not None
    assert all(key.allows(scope) for scope in SCOPES)


@pytest.mark.parametrize("guess", ["", "lk_", "lk_wrong", "x" * 10_000, "é", "\ud800"])
def test_a_wrong_secret_opens_nothing(database: Database, guess: str) -> None:
    secret = create_key(database, "robot", ["*"], now=NOW)
    ring = KeyRing(database)
    assert check(ring, guess) is None
    assert check(ring, secret[:-1]) is None
    assert check(ring, secret + " ") is None


def test_the_secret_is_not_stored(database: Database) -> None:
    secret = create_key(database, "robot", ["*"], now=NOW)
    assert secret.startswith("lk_")
    assert len(secret) > 40
    assert secret != create_key(database, "other", ["*"], now=NOW)
    with database.read() as connection:
        rows = connection.execute(text("SELECT * FROM api_keys")).all()
    assert secret not in repr(rows)


def test_a_revoked_key_stops_within_the_refresh_time(database: Database) -> None:
    clock = Clock()
    ring = KeyRing(database, refresh_seconds=2, clock=clock)
    secret = create_key(database, "robot", ["*"], now=NOW)
    assert check(ring, secret) is not None
    assert find(ring, "robot") == check(ring, secret)
    revoke_key(database, "robot", now=NOW)
    clock.seconds = 1.9
    assert check(ring, secret) is not None
    clock.seconds = 2.0
    assert check(ring, secret) is None
    assert find(ring, "robot") is None
    revoke_key(database, "robot", now=NOW)
    (key,) = list_keys(database)
    assert key.revoked_at == NOW


def test_keys_outlive_an_outage_of_the_database_for_a_minute(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    ring = KeyRing(database, refresh_seconds=2, clock=clock)
    secret = create_key(database, "robot", ["*"], now=NOW)
    tries = []

    def away() -> None:
        tries.append(clock.seconds)
        raise DatabaseError("no route to host")

    with monkeypatch.context() as patched:
        patched.setattr(database, "read", away)
        with pytest.raises(DatabaseError, match="no route"):
            check(ring, secret)  # no keys were ever read
    clock.seconds = 5.0
    key = check(ring, secret)
    tries.clear()
    with monkeypatch.context() as patched:
        patched.setattr(database, "read", away)
        for clock.seconds in (10.0, 11.0, 14.9, 15.0, 40.0):
            assert check(ring, secret) == key
        assert tries == [10.0, 15.0, 40.0], "a database that is away is not asked at each request"
        tries.clear()
        for clock.seconds in (65.1, 65.2, 70.0, 70.2):
            with pytest.raises(DatabaseError, match="no route"):
                check(ring, secret)
        assert tries == [65.1, 70.2], "nor does each request wait for it in a long outage"
    revoke_key(database, "robot", now=NOW)
    with pytest.raises(DatabaseError, match="no route"):
        check(ring, secret)
    clock.seconds = 75.2
    assert check(ring, secret) is None, "once it is asked again, what it says counts"


def test_guesses_do_not_reach_the_database(database: Database) -> None:
    ring = KeyRing(database, refresh_seconds=60, clock=Clock())
    assert check(ring, "lk_first") is None
    secret = create_key(database, "robot", ["*"], now=NOW)
    assert check(ring, secret) is None


def test_wrong_names_and_scopes_are_refused(database: Database) -> None:
    create_key(database, "robot", ["*"], now=NOW)
    with pytest.raises(KeyNameTaken, match="robot"):
        create_key(database, "robot", ["*"], now=NOW)
    with pytest.raises(ScopeUnknown, match="scope everything is unknown; scopes are"):
        create_key(database, "other", ["*", "everything"], now=NOW)
    with pytest.raises(ScopeUnknown, match="needs a scope"):
        create_key(database, "other", [], now=NOW)
    for name in ("", "  ", "x" * 201, "two\nlines"):
        with pytest.raises(KeyNameInvalid):
            create_key(database, name, ["*"], now=NOW)
    with pytest.raises(KeyUnknown, match="nobody"):
        revoke_key(database, "nobody", now=NOW)
    assert [key.name for key in list_keys(database)] == ["robot"]
