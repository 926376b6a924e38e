"""`python -m benchmarks.ann.worker ENGINE`: one library in a process of its own.

Requests are JSON objects, one a line, on stdin; each is answered by one on stdout: `{"done": ...}`,
`{"unsupported": why}` or `{"error": why}`. Answers to queries are left in files, for the harness
judges them itself. It runs in any Python that has NumPy and the library.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors, `D` dimensions, `F` filters.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ann.engines.engine import (
    Engine,
    FilteringEngine,
    Ids,
    RoundTripEngine,
    Unsupported,
    UpdatingEngine,
    Vectors,
)
from benchmarks.ann.memory import (
    ChildrenPeak,
    adopt_daemons,
    cpu_seconds,
    folder_bytes,
    forget_pages,
    mapped_mb,
    peak_mb,
    reap_daemons,
    resident_mb,
)
from benchmarks.ann.timing import (
    ROUND_TRIP,
    time_batches,
    time_queries,
    time_threads,
    time_updates,
)

ENGINES = "benchmarks.ann.engines"
ROUND_TRIP_SHARE = 0.25  # of the most seconds of a measurement

Facts = dict[str, Any]


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    adopt_daemons()
    worker = None
    try:
        for line in sys.stdin:
            try:
                worker = worker or Worker(sys.argv[1])
                answer = worker.answer(json.loads(line))
            except Unsupported as error:
                answer = {"unsupported": str(error)}
            except Exception as error:  # noqa: BLE001  whatever a library raises is its answer
                answer = {"error": f"{type(error).__name__}: {error}"[:500]}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        if worker is not None:
            worker.close()


class Worker:
    """An engine and the data that it is asked about."""

    def __init__(self, engine: str) -> None:
        module, _, name = engine.partition(":")
        path = module if "." in module else f"{ENGINES}.{module}"
        self._engine: Engine = getattr(importlib.import_module(path), name)()
        self._is_open = False

    def answer(self, request: Mapping[str, Any]) -> Facts:
        """Do what is asked and return the answer."""
        asked: dict[str, Callable[..., Facts]] = {
            "versions": self.versions,
            "build": self.build,
            "load": self.load,
            "measure": self.measure,
            "filtered": self.filtered,
            "batch": self.batch,
            "threads": self.threads,
            "updates": self.updates,
        }
        return {"done": asked[request["ask"]](**request["with"])}

    def close(self) -> None:
        """End what the engine started; what it says at its end changes no figure."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(Exception):
                self._engine.close()

    def _has_servers(self) -> bool:
        return bool(getattr(self._engine, "has_servers", False))

    def versions(self, library: str) -> Facts:
        """Return which versions are measured."""
        try:
            found = version(library)
        except PackageNotFoundError:
            found = "unknown"
        return {"library": found, "python": sys.version.split()[0], "numpy": np.__version__}

    def build(self, vectors: str, flags: str, folder: str, params: Facts, threads: int) -> Facts:
        """Build an index, and tell what it took; the vectors are in the peak."""
        vectors_ND = _mapped(vectors)
        before, began, cpu = resident_mb(), time.perf_counter(), cpu_seconds()
        self._is_open = True  # until it is built, it may have started something
        with ChildrenPeak() if self._has_servers() else contextlib.nullcontext() as children:
            self._engine.build(vectors_ND, _mapped(flags), Path(folder), params, threads=threads)
        self._is_open = False
        if children is not None:
            reap_daemons()
        return {
            "build_seconds": round(time.perf_counter() - began, 3),
            "build_cpu_seconds": round(cpu_seconds() - cpu, 3),
            "build_peak_mb": round(peak_mb() + (children.mb if children else 0), 1),
            "start_mb": round(before, 1),
            "index_bytes": folder_bytes(Path(folder)),
        }

    def load(
        self, folder: str, params: Facts, threads: int, effort: Facts, queries: str, k: int
    ) -> Facts:
        """Load an index that the system has forgotten, and ask the first query."""
        forget_pages(Path(folder))
        before, began = resident_mb(), time.perf_counter()
        self._engine.load(Path(folder), params, threads=threads)
        self._is_open = True
        loaded = time.perf_counter()
        self._engine.tune(effort)
        first = _mapped(queries)[:1]
        asked = time.perf_counter()
        self._engine.search(np.ascontiguousarray(first), k)
        return {
            "load_seconds": round(loaded - began, 4),
            "first_query_ms": round((time.perf_counter() - asked) * 1e3, 3),
            "start_mb": round(before, 1),
        }

    def measure(self, effort: Facts, queries: str, k: int, seconds: float, answers: str) -> Facts:
        """Time single queries; where there is a connection, answers without a search, too."""
        engine = self._engine
        engine.tune(effort)
        query_QD = _read(queries)
        ids_QK, facts = time_queries(engine.search, query_QD, k, seconds_max=seconds)
        _keep(answers, ids_QK)
        if isinstance(engine, RoundTripEngine):
            seconds *= ROUND_TRIP_SHARE
            _, trips = time_queries(engine.round_trip, query_QD, k, seconds_max=seconds)
            facts[ROUND_TRIP] = trips["latency_ms_p50"]
        return {
            **facts,
            "resident_mb": round(resident_mb(), 1),
            "mapped_mb": round(mapped_mb(), 1),
            "serve_peak_mb": round(peak_mb(), 1),
        }

    def filtered(
        self, effort: Facts, queries: str, k: int, seconds: float, answers: str, filter_number: int
    ) -> Facts:
        """Time single queries among the rows that pass a filter."""
        engine = self._engine
        if not isinstance(engine, FilteringEngine):
            raise Unsupported("it has no filtered search")
        engine.tune(effort)

        def search(query_QD: Vectors, k: int) -> Ids:
            return engine.search_filtered(query_QD, k, filter_number)

        ids_QK, facts = time_queries(search, _read(queries), k, seconds_max=seconds)
        _keep(answers, ids_QK)
        return facts

    def batch(
        self, effort: Facts, queries: str, k: int, seconds: float, answers: str, batch: int
    ) -> Facts:
        """Time many queries at once."""
        self._engine.tune(effort)
        ids_QK, facts = time_batches(
            self._engine, _read(queries), k, batch=batch, seconds_max=seconds
        )
        _keep(answers, ids_QK)
        return facts

    def threads(self, effort: Facts, queries: str, k: int, seconds: float, threads: int) -> Facts:
        """Search from several threads."""
        self._engine.tune(effort)
        return time_threads(self._engine, _read(queries), k, threads=threads, seconds=seconds)

    def updates(
        self,
        effort: Facts,
        queries: str,
        k: int,
        seconds: float,
        vectors: str,
        changed: str,
        without: str,
        again: str,
    ) -> Facts:
        """Remove and add rows with searches between."""
        if not isinstance(self._engine, UpdatingEngine):
            raise Unsupported("it can't add and remove")
        self._engine.tune(effort)
        ids_without, ids_again, facts = time_updates(
            self._engine,
            _mapped(vectors),
            _read(changed),
            _read(queries),
            k,
            seconds_max=seconds,
        )
        _keep(without, ids_without)
        _keep(again, ids_again)
        return facts


def _mapped(path: str) -> Any:
    """Return a mapped file as a plain array that could be written: some libraries take no other."""
    return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))


def _read(path: str) -> Any:
    return np.load(path, allow_pickle=False)


def _keep(path: str, ids_QK: Ids) -> None:
    np.save(path, np.ascontiguousarray(ids_QK, dtype=np.int64))


if __name__ == "__main__":
    main()
