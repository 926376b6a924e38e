"""hnswlib, the reference implementation of HNSW.

Shape key: see `benchmarks.ann.engines.engine`.
"""

from pathlib import Path

import hnswlib
import numpy as np

from benchmarks.ann.engines.engine import Flags, Ids, Params, Vectors

INDEX_FILE, FLAGS_FILE = "hnswlib.bin", "flags.npy"
SPACE, SEED = "ip", 1


class HnswlibEngine:
    """One graph; a filter is a Python function called for each candidate, as its API has it."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        num, dim = vectors_ND.shape
        index = hnswlib.Index(SPACE, dim)
        index.init_index(
            num,
            M=params["m"],
            ef_construction=params["ef_construction"],
            random_seed=SEED,
            allow_replace_deleted=True,
        )
        index.add_items(vectors_ND, np.arange(num), num_threads=threads)
        index.save_index(str(folder / INDEX_FILE))
        np.save(folder / FLAGS_FILE, flags_NF)
        (folder / "dim.txt").write_text(str(dim))

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        self._index = hnswlib.Index(SPACE, int((folder / "dim.txt").read_text()))
        self._index.load_index(str(folder / INDEX_FILE), allow_replace_deleted=True)
        self._flags_NF = np.load(folder / FLAGS_FILE, mmap_mode="r", allow_pickle=False)
        self._index.set_num_threads(threads)
        self._threads = threads

    def tune(self, effort: Params) -> None:
        self._index.set_ef(effort["ef"])

    def search(self, query_QD: Vectors, k: int) -> Ids:
        ids_QK, _ = self._index.knn_query(query_QD, k, num_threads=self._threads)
        return ids_QK.astype(np.int64)  # type: ignore[no-any-return]  # the library has no types

    def search_filtered(self, query_QD: Vectors, k: int, filter_number: int) -> Ids:
        passes_N = self._flags_NF[:, filter_number]
        k_found = min(k, int(passes_N.sum()))  # it raises where it can't find k
        ids_QK = np.full((len(query_QD), k), -1, dtype=np.int64)
        ids_QK[:, :k_found], _ = self._index.knn_query(
            query_QD, k_found, num_threads=1, filter=lambda row: bool(passes_N[row])
        )
        return ids_QK

    def remove(self, ids_M: Ids) -> None:
        for row in ids_M.tolist():
            self._index.mark_deleted(row)

    def add(self, ids_M: Ids, vectors_MD: Vectors) -> None:
        self._index.add_items(vectors_MD, ids_M, num_threads=1, replace_deleted=True)

    def close(self) -> None:
        """Nothing was started."""
