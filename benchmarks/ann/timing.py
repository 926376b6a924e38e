"""Measured loops of the worker: what is timed is the library's own call, one query at a time.

The clock runs around each search alone. Answers are kept and judged by the harness, later and
elsewhere.

Shape key: `Q` queries, `K` neighbors, `D` dimensions, `M` rows changed.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.ann.engines.engine import Engine, Ids, SessionEngine, UpdatingEngine, Vectors

WARM_UP_QUERIES, QUERIES_MIN = 30, 20
ROUND_TRIP = "round_trip_ms_p50"
UPDATES_AT_ONCE, QUERIES_BETWEEN = 100, 10

Search = Callable[[Vectors, int], Ids]
Facts = dict[str, Any]
Seconds = npt.NDArray[np.float64]


def time_queries(
    search: Search, query_QD: Vectors, k: int, *, seconds_max: float
) -> tuple[Ids, Facts]:
    """Ask one query after the other, twenty of them at least; stop early when the time is up.

    Answers are copied and let go, as by a caller who has read them: kept as they are, they would
    lie between what searches take and give back, and memory would grow with each query.

    Returns:
        The answers of those asked, and the latency of each in aggregate.
    """
    for row in range(min(WARM_UP_QUERIES, len(query_QD))):
        ids_QK = search(query_QD[row : row + 1], k)
    answers_QK = np.empty((len(query_QD), *ids_QK.shape[1:]), dtype=ids_QK.dtype)
    seconds_Q, num, deadline = np.empty(len(query_QD)), 0, time.perf_counter() + seconds_max
    for row in range(len(query_QD)):
        one = query_QD[row : row + 1]
        began = time.perf_counter()
        ids_QK = search(one, k)
        ended = time.perf_counter()
        answers_QK[row], seconds_Q[row], num = ids_QK[0], ended - began, row + 1
        if ended > deadline and num >= QUERIES_MIN:
            break
    return answers_QK[:num], latency_facts(seconds_Q[:num])


def latency_facts(seconds_Q: Seconds) -> Facts:
    """Return throughput of one caller, and percentiles in milliseconds."""
    p50, p95, p99 = (np.percentile(seconds_Q, [50, 95, 99]) * 1e3).round(5).tolist()
    return {
        "num_queries": len(seconds_Q),
        "qps": round(len(seconds_Q) / float(seconds_Q.sum()), 2),
        "latency_ms_p50": p50,
        "latency_ms_p95": p95,
        "latency_ms_p99": p99,
    }


def time_batches(
    engine: Engine, query_QD: Vectors, k: int, *, batch: int, seconds_max: float
) -> tuple[Ids, Facts]:
    """Ask many queries at once, all of them at least once, until the time is up."""
    blocks = [query_QD[start : start + batch] for start in range(0, len(query_QD), batch)]
    engine.search(blocks[0], k)
    began, answers, num = time.perf_counter(), [], 0
    for block in blocks:
        answers.append(engine.search(block, k))
        num += len(block)
        if time.perf_counter() - began > seconds_max:
            break
    seconds = time.perf_counter() - began
    return np.concatenate(answers), {"num_queries": num, "qps": round(num / seconds, 2)}


def time_threads(
    engine: Engine, query_QD: Vectors, k: int, *, threads: int, seconds: float
) -> Facts:
    """Search from several threads for a while; each has its own session where the engine has them.

    Raises:
        Exception: What a search of a thread raised first.
    """
    searchers = [
        engine.session() if isinstance(engine, SessionEngine) else engine for _ in range(threads)
    ]
    took: list[list[float]] = [[] for _ in range(threads)]
    failures: list[Exception] = []
    ready = threading.Barrier(threads + 1)

    def work(number: int) -> None:
        try:
            search, row = searchers[number].search, number
            search(query_QD[:1], k)
            ready.wait()
            deadline = time.perf_counter() + seconds
            while (began := time.perf_counter()) < deadline:
                search(query_QD[row : row + 1], k)
                took[number].append(time.perf_counter() - began)
                row = (row + threads) % len(query_QD)
        except Exception as error:  # noqa: BLE001  handed to the caller's thread below
            failures.append(error)
            ready.abort()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        ready.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - began
    for searcher in searchers:
        if searcher is not engine:
            searcher.close()
    if failures:
        raise failures[0]
    seconds_Q = np.concatenate([np.array(each) for each in took])
    return {**latency_facts(seconds_Q), "qps": round(len(seconds_Q) / elapsed, 2)}


def time_changes(
    change: Callable[[Ids], None],
    search: Search,
    ids_M: Ids,
    query_QD: Vectors,
    k: int,
    *,
    seconds_max: float,
) -> Facts:
    """Change rows a hundred at a time, with searches between, until all are or the time is up."""
    changing, searched, row, done = 0.0, [], 0, 0
    began = time.perf_counter()
    for start in range(0, len(ids_M), UPDATES_AT_ONCE):
        part = ids_M[start : start + UPDATES_AT_ONCE]
        before = time.perf_counter()
        change(part)
        changing += time.perf_counter() - before
        done += len(part)
        for _ in range(QUERIES_BETWEEN):
            before = time.perf_counter()
            search(query_QD[row : row + 1], k)
            searched.append(time.perf_counter() - before)
            row = (row + 1) % len(query_QD)
        if time.perf_counter() - began > seconds_max:
            break
    return {
        "changed": done,
        "changes_per_second": round(done / changing, 1),
        "searches_between": latency_facts(np.array(searched)),
    }


def time_updates(
    engine: Engine,
    vectors_ND: Vectors,
    ids_M: Ids,
    query_QD: Vectors,
    k: int,
    *,
    seconds_max: float,
) -> tuple[Ids, Ids, Facts]:
    """Remove rows, then add the same vectors under new ids, the next after the last row.

    Returns:
        The answers to all queries after the removals and after the additions, and the rates.
    """
    assert isinstance(engine, UpdatingEngine)
    search = engine.search
    removing = time_changes(engine.remove, search, ids_M, query_QD, k, seconds_max=seconds_max)
    removed_ids = ids_M[: removing["changed"]]
    without, _ = time_queries(search, query_QD, k, seconds_max=seconds_max)
    next_id = len(vectors_ND)
    places_M = np.arange(len(removed_ids), dtype=np.int64)

    def add(places: Ids) -> None:
        engine.add(next_id + places, np.ascontiguousarray(vectors_ND[removed_ids[places]]))

    adding = time_changes(add, search, places_M, query_QD, k, seconds_max=seconds_max)
    again, _ = time_queries(search, query_QD, k, seconds_max=seconds_max)
    return without, again, {"removing": removing, "adding": adding}
