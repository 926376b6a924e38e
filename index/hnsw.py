"""HNSW graph search, by FAISS; the only module that knows it.

Identical vectors are one entry of the graph and are spread to their rows in the answer: thousands
of equal bots would otherwise fill each other's links and cut the graph apart.

Shape key: `N` stored vectors, `E` entries of the graph, `Q` queries, `K` neighbors.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index.config import IndexConfig
from index.distinct import Entries
from index.errors import BuildCorrupt
from index.hubness import augment_gallery, augment_queries
from index.vectors import Floats, Neighbors, Rows, Vectors, check_dim, row_blocks

GRAPH_FILE = "hnsw.faiss"
OFFSETS_FILE = "hnsw_offsets.npy"
ROWS_FILE = "hnsw_rows.npy"
EXTRA_DIMS = 2
ADD_BYTES = 128 * 2**20


@dataclass(frozen=True)
class HnswIndex:
    """An approximate index of inner products, hub-corrected if built with penalties.

    Attributes:
        dim: D of the queries.
        square_length: That of every vector in the graph.
        ef_search: Beam width where a search names none.
        num_threads: Threads of a search with several queries; one query takes one.
    """

    graph: Any
    entries: Entries
    dim: int
    square_length: float
    ef_search: int
    num_threads: int

    @classmethod
    def build(
        cls,
        vectors_ND: Vectors,
        entries: Entries,
        config: IndexConfig,
        *,
        penalty_N: Floats | None = None,
    ) -> "HnswIndex":
        """Insert one vector of each entry; with one thread the same input gives the same graph."""
        dim = vectors_ND.shape[1]
        width = dim if penalty_N is None else dim + EXTRA_DIMS
        graph = faiss.IndexHNSWFlat(width, config.m, faiss.METRIC_L2)
        graph.hnsw.efConstruction = config.ef_construction
        levels: Any = graph.hnsw
        levels.rng = faiss.RandomGenerator(config.seed)  # type: ignore[attr-defined]  # not in its stubs
        faiss.omp_set_num_threads(config.build_threads)
        penalty_max = _penalty_max(penalty_N)
        first_rows_E = entries.first_rows_E
        for block in row_blocks(len(first_rows_E), width * 4, block_bytes=ADD_BYTES):
            rows = first_rows_E[block]
            part = vectors_ND[rows]
            if penalty_N is not None:
                part = augment_gallery(part, penalty_N[rows], penalty_max=penalty_max)
            graph.add(part)
        square_length = _square_length(penalty_N)
        return cls(graph, entries, dim, square_length, config.ef_search, config.search_threads)

    def save(self, directory: Path) -> None:
        """Write the graph and the rows of its entries.

        Raises:
            OSError: If the disk does not take them.
        """
        try:
            faiss.write_index(self.graph, str(directory / GRAPH_FILE))
        except RuntimeError as error:
            raise OSError(f"{directory / GRAPH_FILE} can't be written: {error}") from error
        np.save(directory / OFFSETS_FILE, self.entries.offsets_E)
        np.save(directory / ROWS_FILE, self.entries.rows_N)

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        dim: int,
        penalty_N: Floats | None,
        ef_search: int,
        num_threads: int,
    ) -> "HnswIndex":
        """Map what `save` wrote into memory, so that processes share it.

        Raises:
            BuildCorrupt: If the files don't fit together.
        """
        try:
            graph = faiss.read_index(str(directory / GRAPH_FILE), faiss.IO_FLAG_MMAP_IFC)
            offsets_E = np.load(directory / OFFSETS_FILE, mmap_mode="r", allow_pickle=False)
            rows_N = np.load(directory / ROWS_FILE, mmap_mode="r", allow_pickle=False)
        except (RuntimeError, OSError, ValueError) as error:
            raise BuildCorrupt(f"the graph in {directory} can't be read: {error}") from error
        if graph.ntotal != len(offsets_E) - 1 or graph.d != dim + (
            0 if penalty_N is None else EXTRA_DIMS
        ):
            raise BuildCorrupt(f"the graph in {directory} does not fit its entries")
        entries = Entries(offsets_E, rows_N)
        square_length = _square_length(penalty_N)
        return cls(graph, entries, dim, square_length, ef_search, num_threads)

    @property
    def num_vectors(self) -> int:
        """N."""
        return len(self.entries.rows_N)

    def search(self, query_QD: Vectors, *, k: int, ef_search: int | None = None) -> Neighbors:
        """Return about the k rows with the largest (corrected) inner product for each query.

        Args:
            query_QD: Unit vectors, float32.
            k: Rows per query.
            ef_search: Beam width; at least k is used.
        """
        check_dim(query_QD, self.dim)
        if self.num_vectors == 0 or len(query_QD) == 0:
            return self._spread(
                np.full((len(query_QD), k), -1, dtype=np.int64),
                np.full((len(query_QD), k), -np.inf, dtype=np.float32),
            )
        query = np.ascontiguousarray(query_QD)
        if self.graph.d != self.dim:
            query = augment_queries(query_QD)
        beam = _beam(max(k, ef_search or self.ef_search))
        if len(query) > 1:  # OpenMP keeps this number per calling thread
            faiss.omp_set_num_threads(self.num_threads)
        distance_QK, entry_QK = self.graph.search(query, k, params=beam)
        square_Q = np.einsum("qd,qd->q", query, query)
        product_QK = (square_Q[:, None] + np.float32(self.square_length) - distance_QK) / 2
        return self._spread(entry_QK, product_QK)

    def _spread(self, entry_QK: Rows, score_QK: Floats) -> Neighbors:
        """Replace entries by their rows, and order equal scores by row."""
        found_QK = entry_QK >= 0
        score_QK = np.where(found_QK, score_QK, np.float32(-np.inf))
        start_QK = np.where(found_QK, self.entries.offsets_E[entry_QK], 0)
        size_QK = np.where(found_QK, self.entries.offsets_E[entry_QK + 1] - start_QK, 0)
        if (size_QK <= 1).all():  # mostly so, and quick
            rows_QK = np.where(found_QK, self.entries.rows_N[start_QK], -1)
        else:
            rows_QK, score_QK = self._unfold(start_QK, size_QK, score_QK)
        if (score_QK[:, 1:] < score_QK[:, :-1]).all():
            return Neighbors(rows_QK, score_QK)
        order = np.lexsort((rows_QK, -score_QK), axis=-1)
        return Neighbors(
            np.take_along_axis(rows_QK, order, axis=1),
            np.take_along_axis(score_QK, order, axis=1),
        )

    def _unfold(self, start_QK: Rows, size_QK: Rows, score_QK: Floats) -> tuple[Rows, Floats]:
        """Return the first k rows of the entries of each query, one entry after the other."""
        num_queries, k = size_QK.shape
        before_QK = np.cumsum(size_QK, axis=1) - size_QK
        taken = np.clip(k - before_QK, 0, size_QK).ravel()
        within = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
        place = np.repeat((before_QK + np.arange(num_queries)[:, None] * k).ravel(), taken) + within
        rows = np.full(num_queries * k, -1, dtype=np.int64)
        score = np.full(num_queries * k, -np.inf, dtype=np.float32)
        rows[place] = self.entries.rows_N[np.repeat(start_QK.ravel(), taken) + within]
        score[place] = np.repeat(score_QK.ravel(), taken)
        return rows.reshape(num_queries, k), score.reshape(num_queries, k)


def _penalty_max(penalty_N: Floats | None) -> float:
    return 0.0 if penalty_N is None else float(np.abs(penalty_N).max(initial=0.0))


def _square_length(penalty_N: Floats | None) -> float:
    """Return the square of the length that all vectors in the graph have."""
    return 1.0 + _penalty_max(penalty_N) ** 2


def _beam(ef_search: int) -> Any:
    """Return the parameters of one search; those of the graph itself are shared by threads."""
    return faiss.SearchParametersHNSW(efSearch=ef_search)  # type: ignore[attr-defined]  # not in its stubs
