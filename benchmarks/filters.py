"""Filtered searches beside unfiltered ones: recall, time and mode in every slice.

    python -m benchmarks.filters --users 200000 -o filters.json

Vectors lie in clusters of few latent dimensions. `random` slices are drawn without regard to the
vectors; `region` slices hold whole neighboring clusters, as a region whose users behave alike
does, and are asked from `inside` and from `anywhere`. True neighbors are computed here, by
sorting all inner products. Filtered and unfiltered searches take turns.

Shape key: `N` stored vectors, `M` rows of a slice, `Q` queries, `K` neighbors, `D` dimensions.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.build import timed
from index.answers import Filter, NeighborRequest
from index.build import Build, load_build, write_build
from index.build_input import BuildInput
from index.config import IndexConfig
from index.manifest import BlockSpec
from index.search import find_neighbors
from index.tombstones import Tombstones
from index.vectors import Rows, Vectors
from store.workspace import Workspace

K = 10
SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5, 1.0)
LATENT_DIMS = 10
USERS_PER_CLUSTER = 200
SPREAD, NOISE = 0.5, 0.02
SCORE_TOLERANCE = 1e-5
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


def main() -> None:
    """Parse the command line, measure, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--users", type=int, default=200_000, help="stored vectors")
    parser.add_argument("--dim", type=int, default=128, help="dimensions")
    parser.add_argument("--queries", type=int, default=200, help="queries of each slice")
    parser.add_argument("--seed", type=int, default=0, help="of the vectors")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    result = {
        "benchmark": "filters",
        "command": " ".join(["python -m benchmarks.filters", *sys.argv[1:]]),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "num_users": arguments.users,
        "dim": arguments.dim,
        "seed": arguments.seed,
        "machine": {"num_cores": os.cpu_count(), "load": list(os.getloadavg())},
        "versions": {name: version(name) for name in ("faiss-cpu", "numpy", "pyarrow")},
        **measure(arguments.users, arguments.dim, arguments.queries, seed=arguments.seed),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def measure(num_users: int, dim: int, num_queries: int, *, seed: int) -> dict[str, Any]:
    """Build once, and ask every slice."""
    generator = np.random.default_rng(seed)
    vectors_ND, cluster_N = draw_clusters(num_users, dim, generator)
    config = IndexConfig(kind="hnsw", filter_bytes=512 * 2**20)
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace.create(Path(name))
        given = build_input(vectors_ND, cluster_N, generator)
        directory = write_build(workspace, given, config, now=EPOCH)
        build = load_build(directory, filter_bytes=config.filter_bytes)
        figures = [
            measure_slice(build, share, kind, num_queries, generator)
            for share in SHARES
            for kind in ("random", "region_inside", "region_anywhere")
        ]
        costs = build.manifest.costs
        assert costs is not None
        return {
            "effort": build.manifest.effort,
            "costs": costs.model_dump(),
            "slices_bytes": build.slices.size_bytes,
            "figures": figures,
        }


def draw_clusters(num: int, dim: int, generator: np.random.Generator) -> tuple[Vectors, Rows]:
    """Return unit rows in clusters, and the number of each row's; near numbers lie near."""
    centre = generator.standard_normal((max(num // USERS_PER_CLUSTER, 1), LATENT_DIMS))
    centre = centre[np.argsort(centre[:, 0])]
    cluster_N = generator.integers(0, len(centre), num)
    latent = centre[cluster_N] + SPREAD * generator.standard_normal((num, LATENT_DIMS))
    vectors = latent.astype(np.float32) @ generator.standard_normal((LATENT_DIMS, dim)).astype(
        np.float32
    )
    vectors += NOISE * LATENT_DIMS**0.5 * generator.standard_normal((num, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, cluster_N


def build_input(vectors_ND: Vectors, cluster_N: Rows, generator: np.random.Generator) -> BuildInput:
    """Return users whose number of events is a random rank, and whose first day is a region."""
    num_users, dim = vectors_ND.shape
    number = np.arange(num_users)
    day = np.argsort(np.argsort(cluster_N, kind="stable"))
    start_us = int(EPOCH.timestamp() * 1_000_000)
    users = pa.table(
        {
            "user_id": [f"user-{one:09d}" for one in number.tolist()],
            "num_events": generator.permutation(num_users) + 1,
            "first_ts_us": start_us + day * 1_000_000,
            "last_ts_us": start_us + day * 1_000_000 + 1,
            "fingerprint": number,
        }
    )
    blocks = (BlockSpec(name="behavior", start=0, stop=dim, weight=1.0),)
    return BuildInput("bench", "none", EPOCH, blocks, users, vectors_ND, {})


def measure_slice(
    build: Build, share: float, kind: str, num_queries: int, generator: np.random.Generator
) -> dict[str, Any]:
    """Return recall, medians and means of single queries, and how they were found."""
    num_users = build.manifest.num_users
    size = max(round(share * num_users), 1)
    first = (num_users - size) // 2
    condition = Filter(min_events=first + 1, max_events=first + size)
    if kind != "random":
        condition = Filter(
            first_seen_after=EPOCH + timedelta(seconds=first),
            first_seen_before=EPOCH + timedelta(seconds=first + size),
        )
    request = NeighborRequest(k=K, filter=condition, count="behaviors")
    plain = NeighborRequest(k=K, count="behaviors")
    get = partial(build.slices.get, condition, known_violators=False)
    part, first_seconds = timed(get)
    _, second_seconds = timed(get)
    assert len(part.users_P) == size
    pool = part.users_P if kind == "region_inside" else np.arange(num_users)
    asked = generator.choice(pool, min(num_queries, len(pool)), replace=False)
    query_QD = np.ascontiguousarray(build.vectors_ND[asked])
    nobody = Tombstones.none(num_users)
    found: list[Rows] = []
    filtered, unfiltered, modes = [], [], Counter[str]()
    for query in range(len(asked)):
        one = query_QD[[query]]
        (answers, modes_Q), seconds = timed(partial(find_neighbors, build, one, request, nobody))
        found.append(answers[0].rows_K)
        filtered.append(seconds * 1e6)
        modes.update(modes_Q)
        unfiltered.append(timed(partial(find_neighbors, build, one, plain, nobody))[1] * 1e6)
    recall_Q = recalls(build, query_QD, part.rows_M, found)
    return {
        "share": share,
        "kind": kind,
        f"recall@{K}": round(float(recall_Q.mean()), 4),
        "poor_queries": int((recall_Q < 0.5).sum()),
        "queries": len(asked),
        "modes": dict(modes),
        "us_p50": round(float(np.median(filtered)), 1),
        "us_mean": round(float(np.mean(filtered)), 1),
        "unfiltered_us_p50": round(float(np.median(unfiltered)), 1),
        "times_unfiltered_p50": round(float(np.median(filtered) / np.median(unfiltered)), 2),
        "times_unfiltered_mean": round(float(np.mean(filtered) / np.mean(unfiltered)), 2),
        "first_use_ms": round(first_seconds * 1_000, 2),
        "second_use_ms": round(second_seconds * 1_000, 2),
    }


def recalls(build: Build, query_QD: Vectors, rows_M: Rows, found: Sequence[Rows]) -> Vectors:
    """Return the share of each query's hits that reach its true k-th score, within a tolerance.

    `rows_M` stand for the distinct vectors of the slice.
    """
    penalty_N = build.everyone.penalty_N
    assert penalty_N is not None
    recall_Q = np.empty(len(query_QD), dtype=np.float32)
    vectors_MD, wanted = build.vectors_ND[rows_M], min(K, len(rows_M))
    for query, query_D in enumerate(query_QD):
        score_M = vectors_MD @ query_D - penalty_N[rows_M]
        kth = np.partition(score_M, -wanted)[-wanted]
        rows = build.entries.first_rows_E[build.entries.entry_N[found[query]]]
        reached = build.vectors_ND[rows] @ query_D - penalty_N[rows] >= kth - SCORE_TOLERANCE
        recall_Q[query] = reached.sum() / wanted
    return recall_Q


if __name__ == "__main__":
    main()
