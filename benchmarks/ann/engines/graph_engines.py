"""Graph libraries with small interfaces: usearch, voyager, VSAG, and SymphonyQG of rabitqlib.

Each library is imported where it is used first, since no environment needs to have all.

Shape key: see `benchmarks.ann.engines.engine`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ann.engines.engine import Flags, Ids, Params, Vectors, padded

SYMQG_DIM_MULTIPLE = 64


class UsearchEngine:
    """usearch; its Python interface has no filters."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        from usearch.index import Index

        index = Index(
            ndim=vectors_ND.shape[1],
            metric="ip",
            dtype=params["dtype"],
            connectivity=params["m"],
            expansion_add=params["ef_construction"],
        )
        index.add(np.arange(len(vectors_ND)), vectors_ND, threads=threads)
        index.save(str(folder / "usearch.index"))

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        from usearch.index import Index

        self._index: Any = Index.restore(str(folder / "usearch.index"))
        self._threads = threads

    def tune(self, effort: Params) -> None:
        self._index.expansion_search = effort["ef"]

    def search(self, query_QD: Vectors, k: int) -> Ids:
        if len(query_QD) == 1:
            return padded(self._index.search(query_QD[0], k, threads=1).keys, k)[None]
        found = self._index.search(query_QD, k, threads=self._threads)
        return np.asarray(found.keys, dtype=np.int64)

    def remove(self, ids_M: Ids) -> None:
        self._index.remove(ids_M)

    def add(self, ids_M: Ids, vectors_MD: Vectors) -> None:
        self._index.add(ids_M, vectors_MD, threads=1)

    def close(self) -> None:
        """Nothing was started."""


class VoyagerEngine:
    """voyager, of Spotify; it has no filters."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        import voyager

        index = voyager.Index(
            voyager.Space.InnerProduct,
            vectors_ND.shape[1],
            M=params["m"],
            ef_construction=params["ef_construction"],
            max_elements=len(vectors_ND),
        )
        index.add_items(vectors_ND, list(range(len(vectors_ND))), num_threads=threads)
        index.save(str(folder / "voyager.index"))

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        import voyager

        self._index: Any = voyager.Index.load(str(folder / "voyager.index"))
        self._threads, self._ef = threads, -1

    def tune(self, effort: Params) -> None:
        self._ef = effort["ef"]

    def search(self, query_QD: Vectors, k: int) -> Ids:
        ids_QK, _ = self._index.query(query_QD, k, num_threads=self._threads, query_ef=self._ef)
        return np.asarray(ids_QK).astype(np.int64)

    def remove(self, ids_M: Ids) -> None:
        for row in ids_M.tolist():
            self._index.mark_deleted(row)

    def add(self, ids_M: Ids, vectors_MD: Vectors) -> None:
        self._index.add_items(vectors_MD, ids_M.tolist(), num_threads=1)

    def close(self) -> None:
        """Nothing was started."""


class VsagEngine:
    """VSAG: `kind` is its index, `index` what its JSON says of it; its binding has no filters."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        num, dim = vectors_ND.shape
        index = _vsag_index(params, dim, threads)
        index.build(np.ascontiguousarray(vectors_ND).ravel(), np.arange(num), num, dim)
        index.save(str(folder / "vsag.index"))
        (folder / "dim.txt").write_text(str(dim))

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        self._index = _vsag_index(params, int((folder / "dim.txt").read_text()), threads)
        self._index.load(str(folder / "vsag.index"))
        self._kind = params["kind"]

    def tune(self, effort: Params) -> None:
        self._effort = json.dumps({self._kind: {"ef_search": effort["ef"]}})

    def search(self, query_QD: Vectors, k: int) -> Ids:
        rows = [padded(self._index.knn_search(one, k, self._effort)[0], k) for one in query_QD]
        return np.stack(rows)

    def close(self) -> None:
        """Nothing was started."""


def _vsag_index(params: Params, dim: int, threads: int) -> Any:
    import pyvsag

    pyvsag.set_logger_off()
    about = dict(params["index"])
    if params["kind"] == "hgraph":
        about["build_thread_count"] = threads
    key = "index_param" if params["kind"] == "hgraph" else params["kind"]
    whole = {"dtype": "float32", "metric_type": "l2", "dim": dim, key: about}
    return pyvsag.Index(params["kind"], json.dumps(whole))


class SymqgEngine:
    """SymphonyQG; it takes dimensions in multiples of 64, so others are padded with zeros."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        from rabitqlib import SymqgIndex

        wide = _widened(vectors_ND)
        index = SymqgIndex(wide.shape[1], params["degree"], "l2", params["bits"])
        index.build(wide, params["ef_construction"], threads)
        index.save(str(folder / "symqg.index"))

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        from rabitqlib import SymqgIndex

        self._index: Any = SymqgIndex.load(str(folder / "symqg.index"))
        self._threads = threads

    def tune(self, effort: Params) -> None:
        self._ef = effort["ef"]

    def search(self, query_QD: Vectors, k: int) -> Ids:
        ids_QK = self._index.search(_widened(query_QD), k, self._ef, self._threads)[0]
        return np.asarray(ids_QK).astype(np.int64)

    def close(self) -> None:
        """Nothing was started."""


def _widened(vectors_ND: Vectors) -> Vectors:
    missing = -vectors_ND.shape[1] % SYMQG_DIM_MULTIPLE
    if not missing:
        return np.ascontiguousarray(vectors_ND)
    num, dim = vectors_ND.shape  # `np.pad` takes as long as a search
    wide = np.zeros((num, dim + missing), dtype=np.float32)
    wide[:, :dim] = vectors_ND
    return wide
