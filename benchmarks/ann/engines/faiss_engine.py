"""FAISS: flat, HNSW, IVF, and IVF over RaBitQ codes with refinement; one factory string each.

Shape key: see `benchmarks.ann.engines.engine`.
"""

import math
from pathlib import Path
from typing import Any

import faiss as library
import numpy as np

from benchmarks.ann.engines.engine import Flags, Ids, Params, Unsupported, Vectors

faiss: Any = library  # its stubs lack most of what is used here

INDEX_FILE, FLAGS_FILE = "faiss.index", "flags.npy"
LISTS_PER_ROOT, TRAINING_PER_LIST = 4, 64


class FaissEngine:
    """One index, searched with parameters of each search.

    The build parameter `factory` is FAISS's own description; `{lists}` in it becomes four times the
    square root of the number of vectors, as FAISS recommends.
    """

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        num, dim = vectors_ND.shape
        faiss.omp_set_num_threads(threads)
        lists = max(1, min(round(LISTS_PER_ROOT * math.sqrt(num)), num // 39))
        index = faiss.index_factory(dim, params["factory"].format(lists=lists), faiss.METRIC_L2)
        if "ef_construction" in params:
            index.hnsw.efConstruction = params["ef_construction"]
        if not index.is_trained:
            take = min(num, lists * TRAINING_PER_LIST)
            rows = np.random.default_rng(0).choice(num, take, replace=False)
            index.train(np.ascontiguousarray(vectors_ND[np.sort(rows)]))
        index.add(vectors_ND)
        faiss.write_index(index, str(folder / INDEX_FILE))
        np.save(folder / FLAGS_FILE, flags_NF)

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        faiss.omp_set_num_threads(threads)
        self._index = faiss.read_index(str(folder / INDEX_FILE))
        self._flags_NF = np.load(folder / FLAGS_FILE, mmap_mode="r", allow_pickle=False)
        self._selectors: dict[int, Any] = {}
        self._effort: Params = {}
        self._params = self._search_params(None)

    def tune(self, effort: Params) -> None:
        self._effort = effort
        self._params = self._search_params(None)

    def search(self, query_QD: Vectors, k: int) -> Ids:
        ids_QK: Ids = self._index.search(query_QD, k, params=self._params)[1]
        return ids_QK

    def search_filtered(self, query_QD: Vectors, k: int, filter_number: int) -> Ids:
        if filter_number not in self._selectors:
            bits = np.packbits(self._flags_NF[:, filter_number], bitorder="little")
            selector = faiss.IDSelectorBitmap(len(self._flags_NF), faiss.swig_ptr(bits))
            self._selectors[filter_number] = (selector, bits)  # FAISS does not copy the bits
        params = self._search_params(self._selectors[filter_number][0])
        ids_QK: Ids = self._index.search(query_QD, k, params=params)[1]
        return ids_QK

    def remove(self, ids_M: Ids) -> None:
        self._check_updates()
        self._index.remove_ids(ids_M)

    def add(self, ids_M: Ids, vectors_MD: Vectors) -> None:
        self._check_updates()
        self._index.add_with_ids(vectors_MD, ids_M)

    def close(self) -> None:
        """Nothing was started."""

    def _check_updates(self) -> None:
        if not isinstance(self._index, faiss.IndexIVFFlat):
            raise Unsupported(f"FAISS can't remove from {type(self._index).__name__} by id")

    def _search_params(self, selector: Any) -> Any:
        effort, chosen = self._effort, {} if selector is None else {"sel": selector}
        if "ef" in effort:
            return faiss.SearchParametersHNSW(efSearch=effort["ef"], **chosen)
        if "refine" in effort:
            lists = faiss.SearchParametersIVF(nprobe=effort["nprobe"], **chosen)
            return faiss.IndexRefineSearchParameters(
                k_factor=effort["refine"], base_index_params=lists
            )
        if "nprobe" in effort:
            return faiss.SearchParametersIVF(nprobe=effort["nprobe"], **chosen)
        return faiss.SearchParameters(**chosen)
