"""Which lists to probe: the nearest so many, or those within a distance that depends on the query.

    python -m benchmarks.reach --vectors 1000000 --probes 141 -o reach.json

Clustered vectors in an inverted file of bits; the recall of held-out queries, how many of them find
less than half of their neighbors, and how many lists are probed, by rule: all of some number of
lists, lists up to a multiple of the squared distance of the nearest (SPANN), up to a gap beyond
it, and up to both, as `index/reach.py` has it. Times are not compared: `benchmarks.ann` does.

Shape key: `Q` queries, `P` lists to probe.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ann.sources import clustered
from index.approximate import ApproximateIndex
from index.choice import Reach
from index.config import IndexConfig
from index.distinct import group_identical
from index.exact import ExactIndex
from index.ivf import InvertedFile
from index.kinds import build_index
from index.questions import DEPTHS, Questions, answered
from index.tuning import POOR_RECALL, recall_of
from index.vectors import Rows

REFINE = 4
PROBES = (8, 16, 32, 64)
RATIOS = (2.0, 2.5, 3.0, 4.0, 5.0)
GAPS = (0.1, 0.2, 0.3, 0.5, 1.0)
SHARES = (0.5, 0.75, 1.0, 1.5, 2.0)


def main() -> None:
    """Parse the command line, measure, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--vectors", type=int, default=200_000, help="stored vectors")
    parser.add_argument("--queries", type=int, default=3_000, help="held-out queries")
    parser.add_argument("--probes", type=int, default=64, help="most lists that are probed")
    parser.add_argument("--seed", type=int, default=0, help="of the vectors")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    result = {
        "benchmark": "reach",
        "command": " ".join(["python -m benchmarks.reach", *sys.argv[1:]]),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "num_vectors": arguments.vectors,
        "num_queries": arguments.queries,
        "seed": arguments.seed,
        "num_cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("faiss-cpu", "numpy")},
        "rules": [],
    }
    for measured in measure(
        arguments.vectors, arguments.queries, arguments.probes, seed=arguments.seed
    ):
        print(json.dumps(measured), flush=True)
        result["rules"].append(measured)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(
    num_vectors: int, num_queries: int, most: int, *, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield what each rule finds, and how many lists it probes."""
    drawn = np.concatenate(
        list(clustered(num_vectors + num_queries, clusters_for=num_vectors, seed=seed))
    )
    vectors, queries = drawn[:num_vectors], np.ascontiguousarray(drawn[num_vectors:])
    exact, entries = ExactIndex(vectors), group_identical(vectors)
    index = build_index("ivf_rabitq", exact, entries, IndexConfig(seed=seed))
    assert isinstance(index.inner, InvertedFile)
    lists = index.inner.with_refine(REFINE)
    found = exact.search(queries, k=max(DEPTHS) + 1)
    nobody = np.full(num_queries, -1, dtype=np.int64)
    questions = answered(queries, nobody, found, num_vectors)
    most = min(most, lists.effort_max)
    distance_QP = lists.with_effort(most).centroid_distances(queries)
    for probes in (*(number for number in PROBES if number < most), most):
        all_of_them = ApproximateIndex(entries, lists.with_effort(probes))
        probed_Q = np.full(num_queries, probes)
        yield {"rule": f"{probes} lists"} | _judged(exact, all_of_them, questions, probed_Q)
    mean = float(distance_QP[:, 0].mean())
    rules = [
        *((f"ratio {ratio}", Reach(ratio=ratio, gap=0)) for ratio in RATIOS),
        *((f"gap {gap}", Reach(ratio=1, gap=gap)) for gap in GAPS),
        *((f"both {share}", Reach.of(share, mean)) for share in SHARES),
    ]
    for name, reach in rules:
        within = ApproximateIndex(entries, lists.with_effort(most).with_reach(reach))
        probed_Q = lists.with_effort(most).num_probed(queries, reach)
        yield {"rule": name} | _judged(exact, within, questions, probed_Q)


def _judged(
    exact: ExactIndex, index: ApproximateIndex, questions: Questions, probed_Q: Rows
) -> dict[str, Any]:
    recalls = {k: recall_of(exact, index, questions, k=k) for k in DEPTHS}
    return {
        **{f"recall_at_{k}": round(float(recall.mean()), 5) for k, recall in recalls.items()},
        **{f"poor_at_{k}": int((recall < POOR_RECALL).sum()) for k, recall in recalls.items()},
        "probes_mean": round(float(probed_Q.mean()), 2),
        "probes_median": float(np.median(probed_Q)),
        "probes_p99": float(np.quantile(probed_Q, 0.99)),
    }


if __name__ == "__main__":
    main()
