"""How many entries a list of bits should have: the same vectors in lists of several sizes.

    python -m benchmarks.lists --vectors vectors.npy --sizes 8,256,512,1024 -o lists.json

Each number of lists is built and tuned as a build does it (`[index] kind = "ivf_rabitq"`), and all
of them are then asked in turns by held-out vectors, one at a time. Without a file, vectors are
drawn in clusters.

Shape key: `N` stored vectors, `Q` held-out queries.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.ann.sources import clustered
from index import ivf
from index.approximate import ApproximateIndex
from index.choosing import choose_index
from index.config import IndexConfig
from index.distinct import group_identical
from index.exact import ExactIndex
from index.ivf import InvertedFile
from index.questions import DEPTHS, answered
from index.tuning import POOR_RECALL, recall_of
from index.vectors import Vectors

ROUNDS = 3


def main() -> None:
    """Parse the command line, measure, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--vectors", type=Path, help="unit vectors, .npy; drawn if absent")
    parser.add_argument("--num", type=int, default=200_000, help="vectors drawn")
    parser.add_argument("--sizes", default="8,256,512,1024", help="least entries of a list, mean")
    parser.add_argument("--queries", type=int, default=1_000, help="held-out queries")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    total = arguments.num + arguments.queries
    vectors = (
        np.concatenate(list(clustered(total, clusters_for=arguments.num, seed=arguments.seed)))
        if arguments.vectors is None
        else np.load(arguments.vectors, allow_pickle=False)
    )
    result = {
        "benchmark": "lists",
        "command": " ".join(["python -m benchmarks.lists", *sys.argv[1:]]),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "num_vectors": len(vectors) - arguments.queries,
        "dim": vectors.shape[1],
        "seed": arguments.seed,
        "machine": {"num_cores": os.cpu_count(), "load": list(os.getloadavg())},
        "versions": {name: version(name) for name in ("faiss-cpu", "numpy")},
        "sizes": measure(vectors, sizes, num_queries=arguments.queries, seed=arguments.seed),
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def measure(
    vectors: Vectors, sizes: Sequence[int], *, num_queries: int, seed: int
) -> list[dict[str, Any]]:
    """Return of each list size what was chosen, what held-out queries find, and their times."""
    held_out = np.random.default_rng(seed).permutation(len(vectors))[:num_queries]
    queries = np.ascontiguousarray(vectors[held_out])
    exact = ExactIndex(np.delete(vectors, held_out, axis=0))
    entries = group_identical(exact.vectors_ND)
    config = IndexConfig.model_validate({"kind": "ivf_rabitq", "seed": seed})
    found = exact.search(queries, k=max(DEPTHS) + 1)
    questions = answered(queries, np.full(num_queries, -1), found, exact.num_vectors)
    built: dict[int, ApproximateIndex] = {}
    rows: dict[int, dict[str, Any]] = {}
    for size in sizes:
        with patch.dict(ivf.LIST_SIZE_MIN, ivf_rabitq=size):
            chosen = choose_index(exact, entries, config)
        index, (candidate,) = chosen.approximate, chosen.choice.candidates
        assert index is not None
        assert isinstance(index.inner, InvertedFile)
        built[size] = index
        recalls = {k: recall_of(exact, index, questions, k=k) for k in DEPTHS}
        rows[size] = {
            "list_size_min": size,
            "lists": index.inner.effort_max,
            "probed_at_most": candidate.effort,
            "refine": candidate.refine,
            "has_reach": candidate.reach is not None,
            "reached": candidate.reached,
            "build_seconds": candidate.build_seconds,
            "tuning_seconds": candidate.tuning_seconds,
            **{f"recall_at_{k}": round(float(recall.mean()), 5) for k, recall in recalls.items()},
            **{f"poor_at_{k}": int((recall < POOR_RECALL).sum()) for k, recall in recalls.items()},
            **{f"us_p50_at_{k}": [] for k in DEPTHS},
        }
    for _ in range(ROUNDS):
        for size, index in built.items():
            for k in DEPTHS:
                rows[size][f"us_p50_at_{k}"].append(_median_us(index, queries, k))
    return list(rows.values())


def _median_us(index: ApproximateIndex, queries: Vectors, k: int) -> float:
    taken = []
    for query in queries:
        begin = time.perf_counter()
        index.search(query[None], k=k)
        taken.append(time.perf_counter() - begin)
    return round(float(np.median(taken)) * 1e6, 1)


if __name__ == "__main__":
    main()
