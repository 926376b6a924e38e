"""Heavy work off the event loop: few threads, a bounded queue, a bounded wait."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from api.errors import QueueFull, WorkTimeout

Result = TypeVar("Result")


class WorkPool:
    """Runs blocking functions in a few threads and refuses what would wait for too long.

    A thread can't be interrupted: work that timed out still holds its place until it is done, so
    that an overload can't pile up behind the answers that were already given.
    """

    def __init__(
        self, *, num_threads: int, queue_max: int, timeout_seconds: float, name: str = "work"
    ) -> None:
        self._executor = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
        self._places = num_threads + queue_max
        self._timeout_seconds = timeout_seconds
        self._num_taken = 0

    async def run(self, function: Callable[[], Result]) -> Result:
        """Run a function in a thread and return what it returns.

        Raises:
            QueueFull: If too many wait already.
            WorkTimeout: If it did not end in time.
        """
        if self._num_taken >= self._places:
            raise QueueFull(f"{self._num_taken} heavy requests are running or waiting")
        self._num_taken += 1
        work = asyncio.get_running_loop().run_in_executor(self._executor, function)
        work.add_done_callback(self._release)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await asyncio.shield(work)
        except TimeoutError:
            raise WorkTimeout(f"gave up after {self._timeout_seconds:g} seconds") from None

    def stop(self) -> None:
        """Drop what waits; what runs ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _release(self, work: "asyncio.Future[Result]") -> None:
        self._num_taken -= 1
        if not work.cancelled():
            work.exception()  # read, so that nobody warns when the waiter is gone
