"""Reading the keys holds up neither the event loop nor, in an outage, anybody."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.scopes import ServedKeys
from store.database import Database
from store.errors import DatabaseError
from store.keys import OUTAGE_SECONDS, RETRY_SECONDS, KeyRing, create_key, revoke_key

NOW = datetime(2024, 1, 1, tzinfo=UTC)


class SlowDatabase:
    """Reads wait until they are let go, and may fail then."""

    def __init__(self, database: Database) -> None:
        self._read = database.read
        self.go = threading.Event()
        self.go.set()
        self.reading = threading.Event()
        self.fails = False
        self.num_reads = 0

    def read(self) -> object:
        self.num_reads += 1
        self.reading.set()
        assert self.go.wait(30)
        if self.fails:
            raise DatabaseError("no route to host")
        return self._read()

    def hold(self) -> None:
        self.go.clear()
        self.reading.clear()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'ops.sqlite'}")
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def slow(database: Database, monkeypatch: pytest.MonkeyPatch) -> SlowDatabase:
    slow = SlowDatabase(database)
    monkeypatch.setattr(database, "read", slow.read)
    return slow


async def until(told: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not told():
            await asyncio.sleep(0.001)


def test_one_read_serves_all_who_ask_and_the_loop_goes_on(
    database: Database, slow: SlowDatabase
) -> None:
    asyncio.run(_many_ask_while_it_reads(database, slow))


async def _many_ask_while_it_reads(database: Database, slow: SlowDatabase) -> None:
    secret = create_key(database, "robot", ["*"], now=NOW)
    keys = ServedKeys(KeyRing(database, refresh_seconds=60))
    slow.hold()
    asked = [asyncio.create_task(keys.check(secret)) for _ in range(50)]
    await until(slow.reading.is_set)
    await asyncio.sleep(0)
    assert not any(one.done() for one in asked), "there is nothing to say yet"
    asked[0].cancel()
    slow.go.set()
    found = await asyncio.gather(*asked[1:], keys.find("robot"))
    assert {key.name for key in found if key is not None} == {"robot"}
    assert None not in found
    assert slow.num_reads == 1


def test_in_an_outage_nobody_waits_for_the_database(database: Database, slow: SlowDatabase) -> None:
    asyncio.run(_asked_in_an_outage(database, slow))


async def _asked_in_an_outage(database: Database, slow: SlowDatabase) -> None:
    secret = create_key(database, "robot", ["*"], now=NOW)
    seconds = [0.0]
    keys = ServedKeys(KeyRing(database, refresh_seconds=1, clock=lambda: seconds[0]))
    assert await keys.check(secret) is not None
    seconds[0], slow.fails = 2.0, True
    assert await keys.check(secret) is not None, "the keys outlive it"
    for later, is_known in ((RETRY_SECONDS, True), (OUTAGE_SECONDS, False)):
        seconds[0] += later
        slow.hold()
        for _ in range(3):
            if is_known:
                assert await keys.check(secret) is not None
            else:
                with pytest.raises(DatabaseError, match="no route"):
                    await keys.check(secret)
        await until(slow.reading.is_set)
        slow.go.set()
        await asyncio.sleep(0.05)
    assert slow.num_reads == 4
    revoke_key(database, "robot", now=NOW)
    seconds[0], slow.fails = seconds[0] + 2 * OUTAGE_SECONDS, False
    assert await keys.check(secret) is None, "who comes long after it waits for the truth"
