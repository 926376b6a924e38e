"""What groups of identical vectors cost a search: the same vectors with and without, in turns.

    python -m benchmarks.copies --num 200000 --queries 3000 -o copies.json

Vectors are drawn in clusters; one variant has 20 groups of 1,000 identical ones, another a group of
10,000, where these are no more than a hundredth and a tenth of all for a group. Each is built and
tuned as a build does it, and all are then asked in turns, one query at a time: anywhere, and near
the groups. `lookalike bench ann` measures the same beside others, with minutes in between.

Shape key: `N` stored vectors, `Q` queries.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ann.data import VARIANTS, DataSet, make_data_set, with_copies
from benchmarks.ann.recall import recall_of
from benchmarks.ann.sources import clustered
from index.approximate import ApproximateIndex
from index.choosing import choose_index
from index.config import IndexConfig
from index.distinct import group_identical
from index.exact import ExactIndex
from index.ivf import InvertedFile
from index.vectors import Vectors

PLAIN = "without"
K = 10
ROUNDS = 5


@dataclass(frozen=True)
class Asked:
    """An index and its queries: those `anywhere`, and `near` the groups if it has any."""

    data: DataSet
    index: ApproximateIndex
    parts: dict[str, slice]


def main() -> None:
    """Parse the command line, measure, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--num", type=int, default=200_000, help="vectors drawn")
    parser.add_argument("--queries", type=int, default=3_000, help="queries; half near the groups")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    result = {
        "benchmark": "copies",
        "command": " ".join(["python -m benchmarks.copies", *sys.argv[1:]]),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "num_vectors": arguments.num,
        "seed": arguments.seed,
        "machine": {"num_cores": os.cpu_count(), "load": list(os.getloadavg())},
        "versions": {name: version(name) for name in ("faiss-cpu", "numpy")},
        "variants": measure(arguments.num, num_queries=arguments.queries, seed=arguments.seed),
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def measure(num: int, *, num_queries: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return of each variant what its index is, what it finds, and by how much it is slower.

    `ratio` is the median over the rounds of a query's median time by that without copies.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain = make_data_set(
            PLAIN,
            Path(folder),
            lambda: (clustered(num + num_queries, clusters_for=num, seed=seed), None),
            queries=num_queries,
            rows_max=None,
            seed=seed,
        )
        copies = {name: with_copies(plain, name, seed=seed) for name in VARIANTS}
        asked = {name: _built(data, seed) for name, data in {PLAIN: plain, **copies}.items()}
        taken = {name: {part: list[float]() for part in of.parts} for name, of in asked.items()}
        for _ in range(ROUNDS):
            for name, of in asked.items():
                for part, some in of.parts.items():
                    taken[name][part].append(_median_us(of.index, of.data.query_QD[some]))
        return {
            name: {
                **_facts(of.index),
                "parts": {
                    part: {
                        **_found(of, some),
                        "us_p50": taken[name][part],
                        "ratio": _ratio(taken[name][part], taken[PLAIN]["anywhere"]),
                    }
                    for part, some in of.parts.items()
                },
            }
            for name, of in asked.items()
        }


def _built(data: DataSet, seed: int) -> Asked:
    exact = ExactIndex(np.ascontiguousarray(data.vectors_ND))
    config = IndexConfig.model_validate({"kind": "ivf_rabitq", "seed": seed})
    index = choose_index(exact, group_identical(exact.vectors_ND), config).approximate
    assert index is not None
    num, num_near = len(data.query_QD), int(data.about.get("queries_near_groups", 0))
    parts = {"anywhere": slice(0, num - num_near), "near": slice(num - num_near, num)}
    return Asked(data, index, parts if num_near else {"anywhere": parts["anywhere"]})


def _facts(index: ApproximateIndex) -> dict[str, Any]:
    assert isinstance(index.inner, InvertedFile)
    return {
        "entries": index.entries.num_entries,
        "lists": index.inner.effort_max,
        "probed_at_most": index.inner.effort,
        "refine": index.inner.refine,
    }


def _found(asked: Asked, some: slice) -> dict[str, float]:
    data, query_QD = asked.data, asked.data.query_QD[some]
    rows_QK = asked.index.search(query_QD, k=K).rows_QK
    recall = recall_of(data.vectors_ND, query_QD, rows_QK, data.truth()[some], k=K)
    return {"recall": recall.to_dict()["recall"], "failed": recall.to_dict()["failed"]}


def _median_us(index: ApproximateIndex, query_QD: Vectors) -> float:
    taken = []
    for row in range(len(query_QD)):
        query = query_QD[row : row + 1]
        begin = time.perf_counter()
        index.search(query, k=K)
        taken.append(time.perf_counter() - begin)
    return round(float(np.median(taken)) * 1e6, 1)


def _ratio(taken: list[float], plain: list[float]) -> float:
    return round(float(np.median(np.array(taken) / np.array(plain))), 3)


if __name__ == "__main__":
    main()
