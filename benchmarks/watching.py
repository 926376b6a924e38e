"""A look at the machine every so often, while something else is measured."""

import threading
from collections.abc import Callable
from typing import Self


class Watcher:
    """Calls a function again and again, in a thread of its own, while it is entered.

    Args:
        look: What to call.
        seconds: Pause between two calls.
    """

    def __init__(self, look: Callable[[], None], *, seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._seconds):
            self._look()
