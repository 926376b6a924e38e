"""ScaNN: a partitioning tree with anisotropic product codes, reordered by the true product.

Shape key: see `benchmarks.ann.engines.engine`.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from scann.scann_ops.py import scann_ops_pybind

from benchmarks.ann.engines.engine import Flags, Ids, Params, Vectors, padded

DIMS_PER_BLOCK, ANISOTROPIC_THRESHOLD, TRAINING_MAX = 2, 0.2, 250_000


class ScannEngine:
    """ScaNN as its authors recommend: the square root of the vectors as leaves, then reordering."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        num = len(vectors_ND)
        leaves = max(1, round(params["leaves_per_root"] * math.sqrt(num)))
        builder = scann_ops_pybind.builder(vectors_ND, 10, "dot_product")
        builder = builder.set_n_training_threads(threads).tree(
            num_leaves=leaves,
            num_leaves_to_search=max(1, leaves // 10),
            training_sample_size=min(num, TRAINING_MAX),
        )
        builder = builder.score_ah(
            DIMS_PER_BLOCK, anisotropic_quantization_threshold=ANISOTROPIC_THRESHOLD
        )
        # What it writes names its files as the folder was called, and is read from there.
        builder.reorder(100).build().serialize(str(folder.resolve()))

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        self._index: Any = scann_ops_pybind.load_searcher(str(folder.resolve()))
        self._index.set_num_threads(threads)
        self._threads = threads

    def tune(self, effort: Params) -> None:
        self._effort = effort

    def search(self, query_QD: Vectors, k: int) -> Ids:
        chosen = {
            "final_num_neighbors": k,
            "leaves_to_search": self._effort["nprobe"],
            "pre_reorder_num_neighbors": k * self._effort["refine"],
        }
        if len(query_QD) == 1:
            return padded(self._index.search(query_QD[0], **chosen)[0], k)[None]
        together = self._index.search_batched
        if self._threads > 1:
            together = self._index.search_batched_parallel
        return np.asarray(together(query_QD, **chosen)[0]).astype(np.int64)

    def close(self) -> None:
        """Nothing was started."""
