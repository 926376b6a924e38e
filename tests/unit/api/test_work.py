import asyncio
import threading

import pytest

from api.errors import QueueFull, WorkTimeout
from api.work import WorkPool


def test_work_returns_what_the_function_returns() -> None:
    pool = WorkPool(num_threads=1, queue_max=1, timeout_seconds=5)

    assert asyncio.run(pool.run(lambda: threading.current_thread().name)).startswith("work")


def test_an_error_of_the_function_reaches_the_caller() -> None:
    pool = WorkPool(num_threads=1, queue_max=1, timeout_seconds=5)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(pool.run(lambda: 1 // 0))


def test_what_would_wait_too_long_in_line_is_refused_at_once() -> None:
    async def scenario() -> None:
        pool = WorkPool(num_threads=1, queue_max=1, timeout_seconds=5)
        gate = threading.Event()
        accepted = [asyncio.create_task(pool.run(gate.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await pool.run(gate.wait)
        gate.set()
        assert await asyncio.gather(*accepted) == [True, True]
        assert await pool.run(gate.wait)

    asyncio.run(scenario())


def test_work_that_timed_out_keeps_its_place_until_it_is_done() -> None:
    async def scenario() -> None:
        pool = WorkPool(num_threads=1, queue_max=1, timeout_seconds=0.05)
        gate = threading.Event()
        for _ in range(2):
            with pytest.raises(WorkTimeout):
                await pool.run(gate.wait)
        with pytest.raises(QueueFull):
            await pool.run(gate.wait)
        gate.set()

    asyncio.run(scenario())
