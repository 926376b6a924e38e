"""What two levels of centroids cost and find beside a k-means of all lists.

    python -m benchmarks.large.lists --users 1000000

Prints processor seconds of building an inverted file of bits, the share of vectors that are in the
list of their nearest centroid, and the recall of held-out queries by lists probed.

Shape key: `N` users, `D` dimensions, `Q` queries.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import faiss
import numpy as np

from benchmarks.ann.recall import recall_of
from benchmarks.ann.truth import true_products
from benchmarks.large.config import LargeConfig
from benchmarks.large.draw import QUERIES, SAME_AS, VECTORS, draw_vectors, read_array
from index import ivf
from index.config import IndexConfig
from index.distinct import Entries
from index.ivf import InvertedFile
from index.mapped_lists import scan_of
from index.vectors import Vectors

KS, PROBES = (10, 100), (4, 8, 16, 32, 64)
SAMPLE = 100_000
ALWAYS, NEVER = 1, 10**9

Facts = dict[str, Any]


def main() -> None:
    """Build both ways, and print what each took and found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--users", type=int, default=1_000_000, help="stored vectors")
    parser.add_argument("--dim", type=int, default=64, help="dimensions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_vectors(LargeConfig(users=options.users, dim=options.dim), folder)
        same_as_N = read_array(folder / SAME_AS)
        vectors_ND = read_array(folder / VECTORS)[same_as_N == np.arange(len(same_as_N))]
        query_QD = read_array(folder / QUERIES)
    true_QK = true_products(vectors_ND, query_QD, k=max(KS))
    for levels, start in (("one", NEVER), ("two", ALWAYS)):
        with patch.object(ivf, "TWO_LEVELS_FROM", start):
            print(json.dumps({"levels": levels, **measure(vectors_ND, query_QD, true_QK)}))


def measure(vectors_ND: Vectors, query_QD: Vectors, true_QK: Any) -> Facts:
    """Return what building took, and what was found."""
    row = np.arange(len(vectors_ND))
    entries = Entries(np.arange(len(row) + 1), row, row, row)
    began = time.process_time()
    file = InvertedFile.build(vectors_ND, entries, IndexConfig(), kind="ivf_rabitq")
    seconds = time.process_time() - began
    found: Facts = {}
    for probes in PROBES:
        for k in KS:
            ids_QK = file.search_entries(query_QD, k=k, effort=probes).rows_QK
            recall = recall_of(vectors_ND, query_QD, ids_QK, true_QK, k=k)
            found[f"recall@{k} of {probes} lists"] = round(recall.recall, 4)
    return {
        "num_lists": file.effort_max,
        "cpu_seconds": round(seconds, 1),
        "in_nearest_list": round(share_in_nearest(file, vectors_ND), 4),
        **found,
    }


def share_in_nearest(file: InvertedFile, vectors_ND: Vectors) -> float:
    """Return the share of the first vectors that the list of their nearest centroid holds."""
    lists = scan_of(file.file)
    transform = ivf.transformed(file.file, np.ascontiguousarray(vectors_ND[:SAMPLE]))
    nearest = lists.quantizer.search(transform, 1)[1][:, 0]
    in_list = np.full(file.num_entries, -1, dtype=np.int64)
    for number in range(lists.nlist):
        held = faiss.rev_swig_ptr(lists.invlists.get_ids(number), lists.get_list_size(number))
        in_list[held] = number
    return float((in_list[: len(nearest)] == nearest).mean())


if __name__ == "__main__":
    main()
