"""Opens the published build as a worker of the service does, and asks it, in a process of its own.

Shape key: `N` users, `Q` queries, `K` neighbors, `D` dimensions.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from benchmarks.large.building import SPACE_ID, WORKSPACE, limit_memory
from benchmarks.large.config import LargeConfig
from benchmarks.large.draw import FIRST_US, POLICIES, QUERIES, SPAN_US, read_array
from benchmarks.large.phases import memory_kb
from index.answers import Filter, NeighborRequest, UnknownUser
from index.config import IndexConfig
from index.parts import EventEmbedder
from index.service import LookalikeService
from index.vectors import Rows, Vectors
from store.workspace import Workspace

ANSWERS = "answers_{k}.npy"
KS = (10, 100)
QUERIES_AT_ONCE = 32
WARM_UP = 20
LATELY = (0.001, 0.01, 0.1)

Facts = dict[str, Any]
Ask = Callable[[int], object]


class NoEmbedder:
    """Stands for the encoder of the build's space; queries come as vectors."""

    def __init__(self, dim: int) -> None:
        self.space_id, self.dim = SPACE_ID, dim


def open_service(config: LargeConfig, folder: Path) -> LookalikeService:
    """Open what is live as `python -m api` does."""
    embedder = cast(EventEmbedder, NoEmbedder(config.dim))
    return LookalikeService.open(
        Workspace.create(folder / WORKSPACE),
        config=IndexConfig(),
        load_embedder=lambda _: embedder,
    )


def first_answer(config: LargeConfig, folder: Path) -> tuple[LookalikeService, Facts]:
    """Open the build and ask once; return the seconds of both."""
    limit_memory(config.memory_gb)
    query_QD = read_array(folder / QUERIES)[:1]
    pa.array([0]).to_numpy()  # Arrow loads pandas now, where it is installed, and not while opening
    start, began, cpu_began = memory_kb(), time.perf_counter(), time.process_time()
    service = open_service(config, folder)
    opened = time.perf_counter()
    (answer,) = service.neighbors_of_vectors(query_QD, SPACE_ID, NeighborRequest(k=10))
    answered = time.perf_counter()
    assert len(answer.hits) == 10
    return service, {
        "open_seconds": round(opened - began, 4),
        "first_answer_ms": round((answered - opened) * 1e3, 3),
        "until_first_answer_seconds": round(answered - began, 4),
        "cpu_seconds": round(time.process_time() - cpu_began, 4),
        "anonymous_kb": memory_kb()["RssAnon"] - start["RssAnon"],
        "start_anonymous_kb": start["RssAnon"],
    }


def open_once(config: LargeConfig, folder: Path) -> Facts:
    """Return what opening took."""
    return first_answer(config, folder)[1]


def ask_everything(config: LargeConfig, folder: Path) -> Facts:
    """Answer the held-out queries for recall, then time single queries of every kind."""
    service, opened = first_answer(config, folder)
    query_QD = read_array(folder / QUERIES)
    for k in KS:
        np.save(folder / ANSWERS.format(k=k), found_rows(service, query_QD, k=k))
    after_recall = memory_kb()
    timed = [
        time_kind(name, ask, num_queries=config.timed_queries)
        for name, ask in kinds(service, query_QD)
    ]
    now = memory_kb()
    return {
        "opened": opened,
        "anonymous_kb_after_recall": after_recall["RssAnon"],
        "anonymous_kb": now["RssAnon"],
        "mapped_kb": now["RssFile"],
        "peak_kb": now["VmHWM"],
        "batch": time_batch(service, query_QD),
        "kinds": timed,
    }


def found_rows(service: LookalikeService, query_QD: Vectors, *, k: int) -> Rows:
    """Return the row of one user of each of the k behaviors found, Q by K, -1 for none."""
    request = NeighborRequest(k=k, count="behaviors")
    rows_QK = np.full((len(query_QD), k), -1, dtype=np.int64)
    for start in range(0, len(query_QD), QUERIES_AT_ONCE):
        part = query_QD[start : start + QUERIES_AT_ONCE]
        for place, answer in enumerate(service.neighbors_of_vectors(part, SPACE_ID, request)):
            ids = [hit.user_id for hit in answer.hits]
            rows_QK[start + place, : len(ids)] = service.population.rows_of(ids)
    return rows_QK


def kinds(service: LookalikeService, query_QD: Vectors) -> list[tuple[str, Ask]]:
    """Return the kinds of queries that are timed, and how the n-th of each is asked."""
    rows = np.random.default_rng(0).integers(0, service.num_users, len(query_QD))
    user_ids = service.population.ids_of(rows)

    def by_vector(request: NeighborRequest) -> Ask:
        return lambda number: service.neighbors_of_vectors(
            query_QD[[number % len(query_QD)]], SPACE_ID, request
        )

    def by_user(request: NeighborRequest) -> Ask:
        return partial(_neighbors_of, service, user_ids, request)

    def filtered(condition: Filter) -> NeighborRequest:
        return NeighborRequest(k=10, filter=condition)

    def since(share: float) -> Filter:
        first = datetime.fromtimestamp(FIRST_US / 1e6, UTC)
        return Filter(first_seen_after=first + timedelta(microseconds=SPAN_US * (1 - share)))

    return [
        ("a vector, k 10", by_vector(NeighborRequest(k=10))),
        ("a vector, k 100", by_vector(NeighborRequest(k=100))),
        ("a stored user, k 10", by_user(NeighborRequest(k=10))),
        ("among known violators", by_vector(NeighborRequest(k=10, known_violators=True))),
        ("among those of one policy", by_vector(filtered(Filter(policies=(POLICIES[0],))))),
        *(
            (f"first seen lately, {100 * share:g} %", by_vector(filtered(since(share))))
            for share in LATELY
        ),
    ]


def _neighbors_of(
    service: LookalikeService, user_ids: list[str], request: NeighborRequest, number: int
) -> object:
    (answer,) = service.neighbors_of_users([user_ids[number % len(user_ids)]], request)
    assert not isinstance(answer, UnknownUser)
    return [answer]


def time_kind(name: str, ask: Ask, *, num_queries: int) -> Facts:
    """Return percentiles of single queries in milliseconds, and what the first two took.

    The first makes what a filter needs, the second the index of a slice that is asked for again.
    """
    before = memory_kb()["RssAnon"]
    first_ms = [_milliseconds(ask, number)[0] for number in range(2)]
    for number in range(WARM_UP):
        ask(number)
    modes: dict[str, int] = {}
    taken: list[float] = []
    cpu_began = time.process_time()
    for number in range(num_queries):
        milliseconds, answers = _milliseconds(ask, number)
        taken.append(milliseconds)
        mode = cast(Any, answers)[0].search_mode
        modes[mode] = modes.get(mode, 0) + 1
    cpu_ms = (time.process_time() - cpu_began) / num_queries * 1e3
    p50, p95, p99 = np.percentile(taken, [50, 95, 99]).round(3).tolist()
    return {
        "kind": name,
        "ms_p50": p50,
        "ms_p95": p95,
        "ms_p99": p99,
        "cpu_ms": round(cpu_ms, 3),
        "first_ms": round(first_ms[0], 1),
        "second_ms": round(first_ms[1], 1),
        "modes": modes,
        "added_mb": round((memory_kb()["RssAnon"] - before) / 1024, 1),
    }


def time_batch(service: LookalikeService, query_QD: Vectors) -> Facts:
    """Return how many queries a second one thread answers, asked together."""
    request, began = NeighborRequest(k=10), time.perf_counter()
    for start in range(0, len(query_QD), QUERIES_AT_ONCE):
        part = query_QD[start : start + QUERIES_AT_ONCE]
        service.neighbors_of_vectors(part, SPACE_ID, request)
    seconds = time.perf_counter() - began
    return {"at_once": QUERIES_AT_ONCE, "queries_per_second": round(len(query_QD) / seconds, 1)}


def mapped_parts(process: int) -> dict[str, dict[str, int]]:
    """Return what a process holds of each file of the build: resident, and its fair share.

    Kilobytes, from `/proc/PID/smaps`; what is anonymous stands under `anonymous`.
    """
    parts: dict[str, dict[str, int]] = {}
    name = ""
    for line in Path(f"/proc/{process}/smaps").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            name = Path(words[5]).name if len(words) > 5 and "/builds/" in words[5] else "other"
        elif words[0] in ("Rss:", "Pss:", "Anonymous:"):
            of = parts.setdefault(name, {})
            key = words[0].rstrip(":").lower() + "_kb"
            of[key] = of.get(key, 0) + int(words[1])
    return parts


def _milliseconds(ask: Ask, number: int) -> tuple[float, object]:
    began = time.perf_counter()
    answers = ask(number)
    return (time.perf_counter() - began) * 1e3, answers
