"""The harness's end of a worker: starts it, asks it, and tells why it does not answer.

Threads of numerical libraries are bounded in the environment, before they are loaded: FAISS keeps
a number set later for the calling thread alone.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.ann.memory import descendants

ROOT = Path(__file__).parents[2]
THREAD_LIMITS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("RAYON_NUM_THREADS", "LANCE_CPU_THREADS", "TOKIO_WORKER_THREADS"),
)
END_SECONDS = 20.0

Facts = dict[str, Any]


class NoAnswer(Exception):
    """A worker has no figures for what it was asked; the message says why."""


class WorkerLost(NoAnswer):
    """The worker died or ran out of time, and answers nothing more."""


class WorkerProcess:
    """A library in a process of its own, with what it prints kept in a file.

    Args:
        python: The Python that has the library.
        engine: Which engine, as `benchmarks.ann.worker` takes it.
        threads: The most threads that numerical libraries may use.
        log: Where stderr goes.
    """

    def __init__(self, python: str, engine: str, *, threads: int, log: Path) -> None:
        self._log = log
        bounds = dict.fromkeys(THREAD_LIMITS, str(threads))
        environment = {
            **os.environ,
            **bounds,
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONPATH": str(ROOT),
        }
        try:
            with log.open("ab") as errors:
                self._process = subprocess.Popen(
                    [python, "-sP", "-m", "benchmarks.ann.worker", engine],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environment,
                )
        except OSError as error:
            raise WorkerLost(f"{python} can't be run: {error}") from error
        self._read = b""

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, what: str, *, timeout: float, **arguments: Any) -> Facts:
        """Return the answer to a request.

        Raises:
            WorkerLost: If the worker has died, or has not answered within the seconds.
            NoAnswer: If the library can't do it, or failed.
        """
        assert self._process.stdin is not None
        request = json.dumps({"ask": what, "with": arguments}, default=str) + "\n"
        try:
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
        except (OSError, ValueError) as error:  # a closed pipe is one or the other
            raise WorkerLost(self._obituary()) from error
        answer: Facts = json.loads(self._line(timeout))
        if "done" in answer:
            done: Facts = answer["done"]
            return done
        raise NoAnswer(answer.get("unsupported") or answer["error"])

    def close(self) -> None:
        """End the worker and all that it started; a stubborn one is killed."""
        started = descendants(self._process.pid)
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        if self._process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for process in started:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGTERM)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _line(self, timeout: float) -> bytes:
        """Return the next line of stdout."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                left = deadline - time.monotonic()
                if left <= 0 or not ready.select(left):
                    self._process.terminate()
                    raise WorkerLost(f"it ran out of time: {timeout:,.0f} s")
                part = os.read(self._process.stdout.fileno(), 65_536)
                if not part:
                    raise WorkerLost(self._obituary())
                self._read += part
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _obituary(self) -> str:
        """Say how the process ended, with its last words."""
        try:
            status = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "it closed its output"
        how = f"status {status}"
        if status < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-status).name
        words = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"it ended with {how}{': ' + words[-1].strip()[:300] if words else ''}"
