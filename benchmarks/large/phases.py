"""How long the phases of a build take, and what the process holds meanwhile.

Functions of the real path are wrapped where they are called, so that what is measured is what a
rebuild runs. Linux tells of memory in `/proc`: anonymous pages are the process's own; pages of
mapped files are shared with whoever maps them too, and the system may drop them.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.watching import Watcher

WATCH_SECONDS = 0.05

Facts = dict[str, Any]


def memory_kb(process: int | str = "self") -> dict[str, int]:
    """Return the fields of a process's memory that `/proc/PID/status` tells, in kilobytes."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    fields = [line.split() for line in lines if line.endswith(" kB")]
    return {name.rstrip(":"): int(value) for name, value, _ in fields}


class Phases(Watcher):
    """Watches, while it is entered, seconds, processor time and memory of each phase."""

    def __init__(self) -> None:
        super().__init__(self._note, seconds=WATCH_SECONDS)
        self._facts: dict[str, Facts] = {}
        self._open: list[str] = []
        self._peak = {"anonymous_mb": 0, "mapped_mb": 0, "resident_mb": 0}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what runs within; phases may lie in each other."""
        facts = self._facts.setdefault(
            name, {"seconds": 0.0, "cpu_seconds": 0.0, "anonymous_mb": 0}
        )
        began, cpu_began = time.perf_counter(), time.process_time()
        self._open.append(name)
        try:
            yield
        finally:
            self._note()
            self._open.remove(name)
            facts["seconds"] = round(facts["seconds"] + time.perf_counter() - began, 3)
            facts["cpu_seconds"] = round(facts["cpu_seconds"] + time.process_time() - cpu_began, 3)

    @contextmanager
    def of_calls(self, calls: list[tuple[Any, str, str]]) -> Iterator[None]:
        """Make every call of these functions a phase: module, function, name of the phase."""
        with ExitStack() as stack:
            for module, function, name in calls:
                told = self._told(getattr(module, function), name)
                stack.enter_context(patch.object(module, function, told))
            yield

    def to_dict(self) -> Facts:
        """Return what each phase took, and the most memory of all."""
        highest = round(memory_kb()["VmHWM"] / 1024)
        return {
            "phases": [{"phase": name, **facts} for name, facts in self._facts.items()],
            "peak": {**self._peak, "resident_mb": max(highest, self._peak["resident_mb"])},
        }

    def _told(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(function)
        def told(*arguments: Any, **named: Any) -> Any:
            with self.phase(name):
                return function(*arguments, **named)

        return told

    def _note(self) -> None:
        kb = memory_kb()
        now = {
            "anonymous_mb": round(kb["RssAnon"] / 1024),
            "mapped_mb": round((kb["RssFile"] + kb["RssShmem"]) / 1024),
            "resident_mb": round(kb["VmRSS"] / 1024),
        }
        self._peak = {name: max(value, now[name]) for name, value in self._peak.items()}
        for name in tuple(self._open):
            facts = self._facts[name]
            facts["anonymous_mb"] = max(facts["anonymous_mb"], now["anonymous_mb"])
