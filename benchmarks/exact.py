"""Exact search beside FAISS flat, and beside the matrix product of float32.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.exact --threads 2 -o exact.json

Batches of ours are products of bfloat16 where the CPU has it, and what could be among the best is
scored again; torch, which multiplies, has the threads of `OMP_NUM_THREADS`.
`faiss_flat` is `IndexFlatIP` as it comes, `faiss_flat_blas` the same with
`distance_compute_blas_threshold` 20, so that batches are products too. `product` multiplies all
blocks and looks at nothing. All take turns in one process; figures are medians over the turns.
The answers of ours are compared with those of FAISS.

Shape key: `N` stored vectors, `Q` queries, `D` dimensions.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.build import draw_vectors, timed
from index.exact import SCORES_BYTES, ExactIndex
from index.vectors import Vectors, row_blocks

K = 10
BATCHES = (1, 32, 256)
SCORE_TOLERANCE = 1e-5
BLAS_THRESHOLD = 20
PRODUCT_BYTES = 64 * 2**20


def main() -> None:
    """Parse the command line, measure, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--users", type=int, default=200_000, help="stored vectors")
    parser.add_argument("--dim", type=int, default=128, help="dimensions")
    parser.add_argument("--threads", type=int, default=1, help="threads of ours, and of FAISS")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each")
    parser.add_argument("--seed", type=int, default=0, help="of the vectors")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    result = {
        "benchmark": "exact",
        "command": " ".join(["python -m benchmarks.exact", *sys.argv[1:]]),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "num_users": arguments.users,
        "dim": arguments.dim,
        "seed": arguments.seed,
        "threads": arguments.threads,
        "machine": {
            "num_cores": os.cpu_count(),
            "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "all"),
            "torch_threads": os.environ.get("OMP_NUM_THREADS", "all"),
            "load": list(os.getloadavg()),
        },
        "versions": {name: version(name) for name in ("faiss-cpu", "numpy", "torch")},
        "figures": measure(arguments),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the medians of each batch size in milliseconds, and the ratios that matter."""
    generator = np.random.default_rng(arguments.seed)
    vectors_ND, queries = draw_vectors(arguments.users, arguments.dim, generator)
    flat = faiss.IndexFlatIP(arguments.dim)
    flat.add(vectors_ND)
    ours = ExactIndex(vectors_ND, num_threads=arguments.threads)
    figures = []
    for num_queries in BATCHES:
        query_QD = np.ascontiguousarray(queries[:num_queries])
        methods: dict[str, Callable[[], object]] = {
            "faiss_flat": partial(flat.search, query_QD, K),
            "faiss_flat_blas": partial(search_by_blas, flat, query_QD),
            "product": partial(multiply, vectors_ND, query_QD, PRODUCT_BYTES, 1),
            "product_on_threads": partial(
                multiply, vectors_ND, query_QD, SCORES_BYTES, arguments.threads
            ),
            "ours": partial(ours.search, query_QD, k=K),
        }
        faiss.omp_set_num_threads(arguments.threads)
        check_scores(ours.search(query_QD, k=K).score_QK, flat.search(query_QD, K)[0])
        figures.append({"num_queries": num_queries, **take_turns(methods, arguments.repeats)})
    return figures


def take_turns(methods: dict[str, Callable[[], object]], repeats: int) -> dict[str, Any]:
    """Let each method run once a turn; return medians, and ours beside the others'."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats):
        for name, method in methods.items():
            seconds[name].append(timed(method)[1])
    medians = {name: median(several) for name, several in seconds.items()}
    product = min(medians["product"], medians["product_on_threads"])
    return {
        "median_ms": {name: round(1_000 * value, 3) for name, value in medians.items()},
        "least_ms": {name: round(1_000 * min(several), 3) for name, several in seconds.items()},
        "times_faster_than_faiss_flat": round(medians["faiss_flat"] / medians["ours"], 2),
        "times_the_product": round(medians["ours"] / product, 2),
    }


def search_by_blas(flat: Any, query_QD: Vectors) -> None:
    """Search with FAISS, told to multiply matrices."""
    usual = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = BLAS_THRESHOLD
    try:
        flat.search(query_QD, K)
    finally:
        faiss.cvar.distance_compute_blas_threshold = usual


def multiply(vectors_ND: Vectors, query_QD: Vectors, block_bytes: int, num_threads: int) -> None:
    """Multiply all blocks with the queries, on so many threads beside those of BLAS."""
    blocks = list(row_blocks(len(vectors_ND), 4 * len(query_QD), block_bytes=block_bytes))

    def multiply_some(first: int) -> None:
        out = np.empty((blocks[0].stop, len(query_QD)), dtype=np.float32)
        for block in blocks[first::num_threads]:
            np.matmul(vectors_ND[block], query_QD.T, out=out[: block.stop - block.start])

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(multiply_some, range(num_threads)))


def check_scores(ours_QK: npt.NDArray[np.float32], theirs_QK: npt.NDArray[np.float32]) -> None:
    """Fail where the two exact searches disagree; which of equal rows is found may differ."""
    np.testing.assert_allclose(ours_QK, theirs_QK, atol=SCORE_TOLERANCE)


if __name__ == "__main__":
    main()
