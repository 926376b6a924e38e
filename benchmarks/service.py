"""Requests per second and latency of a running service.

    python -m benchmarks.service --url http://127.0.0.1:8080 --key KEY -w DIR -o service.json

One process sends requests over a few connections that stay open, each connection one request at a
time; user ids are drawn from the live build. It runs beside the service, so on a small machine the
two share the cores and the figures are a lower bound.
"""

import argparse
import asyncio
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import numpy as np

from index.builds import build_dir
from index.publish import live_build_id
from index.users import read_users
from store.workspace import Workspace

WARM_UP_SECONDS: Final = 1.0

MakeRequest = Callable[[str], bytes]


@dataclass(frozen=True)
class Scenario:
    """One kind of request."""

    name: str
    make: MakeRequest


@dataclass(frozen=True)
class Figures:
    """What one scenario took; latencies as a client sees them."""

    scenario: str
    num_connections: int
    num_requests: int
    num_failures: int
    requests_per_second: float
    latency_ms_p50: float
    latency_ms_p95: float
    latency_ms_p99: float
    latency_ms_max: float


@dataclass(frozen=True)
class Target:
    """Where the service is, and the key for it."""

    host: str
    port: int
    key: str

    def request(self, method: str, path: str, body: object = None) -> bytes:
        """Return a request as it goes over the wire."""
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


def scenarios(target: Target) -> list[Scenario]:
    """Return the requests that are measured."""
    return [
        Scenario("livez", lambda user: target.request("GET", "/livez")),
        Scenario("neighbors", lambda user: target.request("GET", f"{_path(user)}/neighbors?k=10")),
        Scenario(
            "neighbors among violators",
            lambda user: target.request("GET", f"{_path(user)}/neighbors?known_violators=true"),
        ),
        Scenario(
            "neighbors:query, explained",
            lambda user: target.request(
                "POST", "/v1/neighbors:query", {"query": {"user_id": user}, "explain": True}
            ),
        ),
        Scenario("risk", lambda user: target.request("GET", f"{_path(user)}/risk")),
    ]


def _path(user_id: str) -> str:
    return f"/v1/users/{quote(user_id, safe='')}"


async def measure(
    target: Target, scenario: Scenario, users: Sequence[str], *, connections: int, seconds: float
) -> Figures:
    """Send requests for a while, after a warm-up that does not count."""
    await _load(target, scenario, users, connections=connections, seconds=WARM_UP_SECONDS)
    started = time.perf_counter()
    results = await _load(target, scenario, users, connections=connections, seconds=seconds)
    elapsed = time.perf_counter() - started
    latency_ms = np.array([latency * 1e3 for latency, _ in results])
    p50, p95, p99 = np.percentile(latency_ms, [50, 95, 99]).round(3).tolist()
    return Figures(
        scenario=scenario.name,
        num_connections=connections,
        num_requests=len(results),
        num_failures=sum(status != 200 for _, status in results),
        requests_per_second=round(len(results) / elapsed, 1),
        latency_ms_p50=p50,
        latency_ms_p95=p95,
        latency_ms_p99=p99,
        latency_ms_max=round(float(latency_ms.max()), 3),
    )


async def _load(
    target: Target, scenario: Scenario, users: Sequence[str], *, connections: int, seconds: float
) -> list[tuple[float, int]]:
    deadline = time.perf_counter() + seconds
    lanes = [
        _one_connection(target, scenario, users[lane::connections], deadline=deadline)
        for lane in range(connections)
    ]
    return [result for results in await asyncio.gather(*lanes) for result in results]


async def _one_connection(
    target: Target, scenario: Scenario, users: Sequence[str], *, deadline: float
) -> list[tuple[float, int]]:
    """Return latency and status of each request."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    results = []
    requests = [scenario.make(user) for user in users]
    number = 0
    while (started := time.perf_counter()) < deadline:
        writer.write(requests[number % len(requests)])
        status = await _read_answer(reader)
        results.append((time.perf_counter() - started, status))
        number += 1
    writer.close()
    await writer.wait_closed()
    return results


async def _read_answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(head[9:12])


def _sample_users(workspace: Workspace, num: int, *, seed: int) -> list[str]:
    ids = read_users(build_dir(workspace, live_build_id(workspace)))["user_id"]
    rows = np.random.default_rng(seed).integers(0, len(ids), num)
    return [str(ids[int(row)]) for row in rows]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure a running service.")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--key", required=True, help="an API key with every scope")
    parser.add_argument("-w", "--workspace", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the result")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Measure and print; write a result file when asked to."""
    options = _parse()
    gc.disable()  # the client must not pause, for that would be told of the service
    address = urlsplit(options.url)
    target = Target(address.hostname or "127.0.0.1", address.port or 80, options.key)
    users = _sample_users(Workspace.open(options.workspace), 2_000, seed=options.seed)
    figures = []
    for scenario in scenarios(target):
        for connections in options.connections:
            one = asyncio.run(
                measure(target, scenario, users, connections=connections, seconds=options.seconds)
            )
            figures.append(one)
            print(
                f"{one.scenario:28} {connections:3} connections {one.requests_per_second:9,.0f}/s  "
                f"p50 {one.latency_ms_p50:.2f}  p95 {one.latency_ms_p95:.2f}  "
                f"p99 {one.latency_ms_p99:.2f}  max {one.latency_ms_max:.2f} ms  "
                f"{one.num_failures} failures"
            )
    if options.output is not None:
        options.output.write_text(json.dumps(_result(options, figures), indent=2) + "\n")


def _result(options: argparse.Namespace, figures: Sequence[Figures]) -> dict[str, object]:
    arguments = [argument for argument in sys.argv[1:] if argument != options.key]
    return {
        "benchmark": "service",
        "command": ["python", "-m", "benchmarks.service", *arguments],
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": options.seed,
        "machine": {"cores": os.cpu_count(), "processor": platform.machine()},
        "versions": {name: version(name) for name in ("fastapi", "uvicorn", "numpy", "faiss-cpu")},
        "figures": [asdict(one) for one in figures],
    }


if __name__ == "__main__":
    main()
