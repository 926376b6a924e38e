"""How long a build takes, how good its graph is, and how fast one query is answered.

    python -m benchmarks.build --users 20000 --dim 448 -o results/build.json

Vectors are drawn around random centres, and a share of them are exact copies, as bots are. Queries
are held out. True neighbors are computed here, by sorting all inner products, not by the index.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors, `D` dimensions.
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index.build import Build, load_build, write_build
from index.build_input import BuildInput
from index.config import GateConfig, IndexConfig
from index.gate import gate
from index.manifest import BlockSpec
from index.publish import publish
from index.vectors import Neighbors, Vectors
from store.workspace import Workspace

K = 10
NUM_QUERIES = 1_000
NUM_WARM_UP = 50
EF_SEARCHES = (16, 32, 64, 128, 256)
USERS_PER_CENTRE = 50
COPIES_SHARE = 0.05
VIOLATORS_SHARE = 0.05
SCORE_TOLERANCE = 1e-5

T = TypeVar("T")


def main() -> None:
    """Parse the command line, measure, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--users", type=int, default=20_000, help="stored vectors")
    parser.add_argument("--dim", type=int, default=448, help="dimensions")
    parser.add_argument("--seed", type=int, default=0, help="of the vectors")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    result = measure(arguments.users, arguments.dim, seed=arguments.seed)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def measure(num_users: int, dim: int, *, seed: int) -> dict[str, Any]:
    """Build, publish, open and search once; return all figures with what they depend on."""
    generator = np.random.default_rng(seed)
    vectors, queries = draw_vectors(num_users, dim, generator)
    config = IndexConfig(kind="hnsw")
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace.create(Path(name))
        figures, directory = measure_build(workspace, build_input(vectors, generator), config)
        build, open_seconds = timed(lambda: load_build(directory))
        figures |= {"open_seconds": open_seconds, **measure_search(build, queries)}
    return {
        "benchmark": "build",
        "command": " ".join(["python -m benchmarks.build", *sys.argv[1:]]),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "num_users": num_users,
        "dim": dim,
        "seed": seed,
        "config": config.model_dump(),
        "machine": {
            "processor": platform.machine(),
            "num_cores": os.cpu_count(),
            "blas_threads": os.environ.get("OMP_NUM_THREADS", "all"),
        },
        "versions": {name: version(name) for name in ("faiss-cpu", "numpy", "pyarrow")},
        "figures": figures,
    }


def draw_vectors(num: int, dim: int, generator: np.random.Generator) -> tuple[Vectors, Vectors]:
    """Return unit rows around centres, some of them copies, and held-out queries."""
    centres = generator.normal(size=(max(1, num // USERS_PER_CENTRE), dim)).astype(np.float32)

    def around_centres(count: int) -> Vectors:
        drawn = generator.standard_normal((count, dim), dtype=np.float32)
        drawn += centres[generator.integers(0, len(centres), count)]
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return drawn

    vectors = around_centres(num)
    num_copies = int(num * COPIES_SHARE)
    vectors[generator.choice(num, num_copies, replace=False)] = vectors[0]
    return vectors, around_centres(NUM_QUERIES)


def build_input(vectors_ND: Vectors, generator: np.random.Generator) -> BuildInput:
    """Return what a job would hand over."""
    num_users, dim = vectors_ND.shape
    number = np.arange(num_users)
    users = pa.table(
        {
            "user_id": [f"user-{one:09d}" for one in number.tolist()],
            "num_events": generator.integers(1, 200, num_users),
            "first_ts_us": number,
            "last_ts_us": number + 1,
            "fingerprint": number,
            "label": np.less(generator.random(num_users), VIOLATORS_SHARE).astype(np.int8),
        }
    )
    now = datetime.now(UTC)
    blocks = (BlockSpec(name="behavior", start=0, stop=dim, weight=1.0),)
    return BuildInput("bench", "none", now, blocks, users, vectors_ND, {})


def measure_build(
    workspace: Workspace, given: BuildInput, config: IndexConfig
) -> tuple[dict[str, Any], Path]:
    """Write, gate and publish; return the figures and the folder of the build."""
    now = datetime.now(UTC)
    staged, write_seconds = timed(lambda: write_build(workspace, given, config, now=now))
    report, gate_seconds = timed(
        lambda: gate(
            load_build(staged),
            None,
            GateConfig(),
            known_users=given.users.column("user_id"),
            erased_users=(),
            violators=(),
        )
    )
    published, publish_seconds = timed(lambda: publish(workspace, staged, report, now=now))
    directory = workspace.builds_dir / published.build_id
    figures = {
        "ef_search": load_build(directory).manifest.effort,
        "write_seconds": write_seconds,
        "gate_seconds": gate_seconds,
        "publish_seconds": publish_seconds,
        "total_seconds": write_seconds + gate_seconds + publish_seconds,
        "gate": report.to_dict(),
        "size_bytes": sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    return figures, directory


def measure_search(build: Build, queries: Vectors) -> dict[str, Any]:
    """Return recall with speed: a frontier of the graph, and exact search beside it."""
    graph = build.approximate
    assert graph is not None
    penalty_N = build.everyone.penalty_N
    assert penalty_N is not None
    score_QN = queries @ build.vectors_ND.T - penalty_N
    kth_Q = np.partition(score_QN, -K, axis=1)[:, -K]
    frontier = []
    for ef_search in EF_SEARCHES:
        rows_QK, latency = timed_queries(queries, partial(graph.search, k=K, effort=ef_search))
        recall = mean_recall(score_QN, kth_Q, rows_QK)
        frontier.append({"ef_search": ef_search, f"recall@{K}": recall, **latency})
    rows_QK, latency = timed_queries(queries[:200], partial(build.everyone.search, k=K))
    exact = {f"recall@{K}": mean_recall(score_QN[:200], kth_Q[:200], rows_QK), **latency}
    return {"hnsw": frontier, "exact": exact}


def mean_recall(
    score_QN: npt.NDArray[np.float32],
    kth_Q: npt.NDArray[np.float32],
    rows_QK: npt.NDArray[np.int64],
) -> float:
    """Return the share of hits whose true score reaches the k-th best, within a tolerance."""
    score_QK = np.take_along_axis(score_QN, np.maximum(rows_QK, 0), axis=1)
    reached = (score_QK >= kth_Q[:, None] - SCORE_TOLERANCE) & (rows_QK >= 0)
    return float(reached.mean())


def timed_queries(
    queries: Vectors, search: Callable[[Vectors], Neighbors]
) -> tuple[npt.NDArray[np.int64], dict[str, float]]:
    """Ask one query after the other; return the rows and percentiles of the latency."""
    for query in range(min(NUM_WARM_UP, len(queries))):
        search(queries[[query]])
    rows, seconds = [], []
    for query in range(len(queries)):
        one = queries[[query]]
        found, elapsed = timed(partial(search, one))
        rows.append(found.rows_QK[0])
        seconds.append(elapsed)
    latency = np.percentile(np.array(seconds) * 1_000, [50, 95, 99])
    names = ("latency_ms_p50", "latency_ms_p95", "latency_ms_p99")
    return np.array(rows), dict(zip(names, latency.round(4).tolist(), strict=True))


def timed(action: Callable[[], T]) -> tuple[T, float]:
    """Return what an action returns, and the seconds it took."""
    started = time.perf_counter()
    result = action()
    return result, time.perf_counter() - started


if __name__ == "__main__":
    main()
