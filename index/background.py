"""Work that no request waits for, done in a thread beside them."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

logger = logging.getLogger(__name__)


class Background:
    """Does jobs one after another in one thread, which ends when none is left.

    The thread does not keep a process from ending. A job that raises is logged, and the next one
    is done.

    Args:
        name: Of the thread.
        waiting_max: How many jobs may wait.
    """

    def __init__(self, name: str, *, waiting_max: int) -> None:
        self._name = name
        self._waiting_max = waiting_max
        self._waiting: OrderedDict[Hashable, Callable[[], None]] = OrderedDict()
        self._running: Hashable | None = None
        self._is_busy = False
        self._changed = threading.Condition()

    def offer(self, key: Hashable, job: Callable[[], None]) -> bool:
        """Do a job soon; return False if its key waits or runs, too many wait, or it is closed."""
        with self._changed:
            is_known = key in self._waiting or (self._is_busy and key == self._running)
            if is_known or len(self._waiting) >= self._waiting_max:
                return False
            self._waiting[key] = job
            if not self._is_busy:
                self._is_busy = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            return True

    def close(self) -> None:
        """Drop the jobs that wait and take no others; one that runs is done."""
        with self._changed:
            self._waiting.clear()
            self._waiting_max = 0

    def wait(self, timeout_seconds: float) -> bool:
        """Return whether no job is left, after at most so long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._is_busy, timeout_seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._running, self._is_busy = None, False
                    self._changed.notify_all()
                    return
                self._running, job = self._waiting.popitem(last=False)
            try:
                job()
            except Exception:  # the edge of a thread that must live on
                logger.exception("%s: a job failed", self._name)
            del job  # what it holds must not outlive it while the next one runs
