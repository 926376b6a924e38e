"""Filtered searches beside unfiltered ones: recall, time and mode in every slice.

    python -m benchmarks.filters --users 200000 -o filters.json

`random` slices are drawn without regard to the vectors; `region` slices hold vectors that lie
together, as a region whose users behave alike does, and are asked from `inside`, by its users, and
from `anywhere`, by vectors that are not stored. True neighbors are computed here, by sorting all
inner products. Filtered and unfiltered searches take turns, when the slice's own index is made if
it gets one; until then it is scanned.

`clusters` have few latent dimensions in common, and a region is some neighbors among them;
`unequal` clusters have each their own dimensions and very different sizes, and a region is the
largest of them; `gaussian` vectors lie in all directions alike, and a region is a cap.

Shape key: `N` stored vectors, `M` rows of a slice, `Q` queries, `K` neighbors, `D` dimensions.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
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
MAKING_SECONDS_MAX = 900.0
SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5, 1.0)
LATENT_DIMS = 10
USERS_PER_CLUSTER = 200
SPREAD, NOISE = 0.5, 0.02
UNEQUAL_CLUSTERS, UNEQUAL_DIMS, UNEQUAL_SIGMA, UNEQUAL_WIDTH = 200, 6, 1.2, 0.6
SCORE_TOLERANCE = 1e-5
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


def main() -> None:
    """Parse the command line, measure, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--users", type=int, default=200_000, help="stored vectors")
    parser.add_argument("--dim", type=int, default=128, help="dimensions")
    parser.add_argument("--vectors", choices=sorted(DRAWN), default="clusters", help="which ones")
    parser.add_argument("--kind", default="hnsw", help="the index of everyone, or auto")
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
        "vectors": arguments.vectors,
        **measure(
            arguments.users,
            arguments.dim,
            arguments.queries,
            seed=arguments.seed,
            vectors=arguments.vectors,
            kind=arguments.kind,
        ),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


@dataclass(frozen=True)
class Drawn:
    """Unit vectors, and where regions are.

    Attributes:
        vectors_ND: Unit rows.
        number_N: Vectors whose numbers are near each other make a region.
        first_share: How much of what is left has lower numbers than a region.
    """

    vectors_ND: Vectors
    number_N: npt.NDArray[np.number]
    first_share: float

    def split(self, num: int) -> tuple["Drawn", Vectors]:
        """Return all but the last `num`, and those."""
        stored = replace(self, vectors_ND=self.vectors_ND[:-num], number_N=self.number_N[:-num])
        return stored, np.ascontiguousarray(self.vectors_ND[-num:])


def measure(
    num_users: int,
    dim: int,
    num_queries: int,
    *,
    seed: int,
    vectors: str = "clusters",
    kind: str = "hnsw",
) -> dict[str, Any]:
    """Build once, and ask every slice."""
    generator = np.random.default_rng(seed)
    drawn, held_out_QD = DRAWN[vectors](num_users + num_queries, dim, generator).split(num_queries)
    config = IndexConfig.model_validate({"kind": kind, "filter_bytes": 512 * 2**20})
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace.create(Path(name))
        given = build_input(drawn.vectors_ND, drawn.number_N, generator)
        directory = write_build(workspace, given, config, now=EPOCH)
        build = load_build(directory, filter_bytes=config.filter_bytes)
        figures = [
            measure_slice(build, drawn.first_share, share, shape, held_out_QD, generator)
            for share in SHARES
            for shape in ("random", "region_inside", "region_anywhere")
        ]
        costs = build.manifest.costs
        return {
            "index": build.manifest.index,
            "effort": build.manifest.effort,
            "choice": build.manifest.choice.reason,
            "costs": None if costs is None else costs.model_dump(),
            "slices_bytes": build.slices.size_bytes,
            "figures": figures,
        }


def draw_clusters(num: int, dim: int, generator: np.random.Generator) -> Drawn:
    """Return vectors in clusters of one size, near numbers near each other."""
    centre = generator.standard_normal((max(num // USERS_PER_CLUSTER, 1), LATENT_DIMS))
    centre = centre[np.argsort(centre[:, 0])]
    cluster_N = generator.integers(0, len(centre), num)
    latent = centre[cluster_N] + SPREAD * generator.standard_normal((num, LATENT_DIMS))
    vectors = latent.astype(np.float32) @ generator.standard_normal((LATENT_DIMS, dim)).astype(
        np.float32
    )
    vectors += NOISE * LATENT_DIMS**0.5 * generator.standard_normal((num, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Drawn(vectors, cluster_N, 0.5)


def draw_unequal(num: int, dim: int, generator: np.random.Generator) -> Drawn:
    """Return vectors in clusters of very different sizes, numbered from the smallest."""
    weight = np.sort(generator.lognormal(sigma=UNEQUAL_SIGMA, size=UNEQUAL_CLUSTERS))
    cluster_N = generator.choice(UNEQUAL_CLUSTERS, num, p=weight / weight.sum())
    centre = generator.standard_normal((UNEQUAL_CLUSTERS, dim))
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    axes = generator.standard_normal((UNEQUAL_CLUSTERS, UNEQUAL_DIMS, dim))
    axes *= UNEQUAL_WIDTH / np.sqrt(UNEQUAL_DIMS * dim)
    vectors = np.empty((num, dim), dtype=np.float32)
    for cluster in range(UNEQUAL_CLUSTERS):
        rows = np.flatnonzero(cluster_N == cluster)
        within = generator.standard_normal((len(rows), UNEQUAL_DIMS))
        vectors[rows] = centre[cluster] + within @ axes[cluster]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Drawn(vectors, cluster_N, 1.0)


def draw_gaussian(num: int, dim: int, generator: np.random.Generator) -> Drawn:
    """Return vectors in all directions alike, numbered by how far they point in one."""
    vectors = generator.standard_normal((num, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Drawn(vectors, vectors[:, 0].copy(), 1.0)


DRAWN = {"clusters": draw_clusters, "unequal": draw_unequal, "gaussian": draw_gaussian}


def build_input(
    vectors_ND: Vectors, number_N: npt.NDArray[np.number], generator: np.random.Generator
) -> BuildInput:
    """Return users whose number of events is a random rank, and whose first day is a region."""
    num_users, dim = vectors_ND.shape
    number = np.arange(num_users)
    day = np.argsort(np.argsort(number_N, kind="stable"))
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
    build: Build,
    first_share: float,
    share: float,
    kind: str,
    held_out_QD: Vectors,
    generator: np.random.Generator,
) -> dict[str, Any]:
    """Return recall, medians and means of single queries, and how they were found."""
    num_users = build.manifest.num_users
    size = max(round(share * num_users), 1)
    first = round(first_share * (num_users - size))
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
    is_made, making_seconds = timed(partial(build.slices.settle, MAKING_SECONDS_MAX))
    assert is_made
    assert len(part.users_P) == size
    query_QD = held_out_QD
    if kind == "region_inside":
        num = min(len(held_out_QD), size)
        query_QD = build.vectors_ND[generator.choice(part.users_P, num, replace=False)]
    nobody = Tombstones.none(num_users)
    found: list[Rows] = []
    filtered, unfiltered, modes = [], [], Counter[str]()
    for query in range(len(query_QD)):
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
        "queries": len(query_QD),
        "modes": dict(modes),
        "us_p50": round(float(np.median(filtered)), 1),
        "us_mean": round(float(np.mean(filtered)), 1),
        "unfiltered_us_p50": round(float(np.median(unfiltered)), 1),
        "times_unfiltered_p50": round(float(np.median(filtered) / np.median(unfiltered)), 2),
        "times_unfiltered_mean": round(float(np.mean(filtered) / np.mean(unfiltered)), 2),
        "first_use_ms": round(first_seconds * 1_000, 2),
        "second_use_ms": round(second_seconds * 1_000, 2),
        "making_seconds": round(making_seconds, 2),
        "has_index": get().index is not None,
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
