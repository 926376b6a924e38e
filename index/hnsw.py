"""HNSW graph search over distinct vectors, by FAISS.

Shape key: `N` stored vectors, `E` entries (distinct ones), `Q` queries, `K` neighbors.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index.approximate import ApproximateKind
from index.config import IndexConfig
from index.distinct import Entries
from index.errors import BuildCorrupt
from index.faiss_files import read_faiss, write_faiss
from index.hubness import augment_gallery, augment_queries
from index.vectors import Floats, Neighbors, Vectors, check_dim, row_blocks

GRAPH_FILE = "hnsw.faiss"
EXTRA_DIMS = 2
ADD_BYTES = 128 * 2**20


@dataclass(frozen=True)
class HnswIndex:
    """A graph of entries by inner product, hub-corrected if built with penalties.

    Attributes:
        dim: D of the queries.
        square_length: That of every vector in the graph.
        effort: Beam width where a search names none.
        num_threads: Threads of a search with several queries; one query takes one.
    """

    graph: Any
    dim: int
    square_length: float
    effort: int
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
        return cls(graph, dim, square_length, config.ef_search, config.search_threads)

    def save(self, directory: Path) -> None:
        """Write the graph.

        Raises:
            OSError: If the disk does not take them.
        """
        write_faiss(self.graph, directory / GRAPH_FILE)

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        dim: int,
        penalty_N: Floats | None,
        effort: int,
        num_threads: int,
    ) -> "HnswIndex":
        """Map what `save` wrote into memory, so that processes share it.

        Raises:
            BuildCorrupt: If the files don't fit together.
        """
        graph = read_faiss(directory / GRAPH_FILE)
        if graph.d != dim + (0 if penalty_N is None else EXTRA_DIMS):
            raise BuildCorrupt(f"the graph in {directory} does not fit its vectors")
        return cls(graph, dim, _square_length(penalty_N), effort, num_threads)

    @property
    def kind(self) -> ApproximateKind:
        """What it is called in manifests and answers."""
        return "hnsw"

    @property
    def num_entries(self) -> int:
        """E."""
        return int(self.graph.ntotal)

    @property
    def refine(self) -> int:
        """One: the graph holds the vectors."""
        return 1

    def with_effort(self, effort: int) -> "HnswIndex":
        """Return the same graph, searched with another beam."""
        return replace(self, effort=effort)

    def search_entries(self, query_QD: Vectors, *, k: int, effort: int | None = None) -> Neighbors:
        """Return about the k entries with the largest (corrected) inner product for each query.

        Args:
            query_QD: Unit vectors, float32.
            k: Entries per query.
            effort: Beam width; at least k is used.
        """
        check_dim(query_QD, self.dim)
        query = np.ascontiguousarray(query_QD)
        if self.graph.d != self.dim:
            query = augment_queries(query_QD)
        beam = _beam(max(k, effort or self.effort))
        if len(query) > 1:  # OpenMP keeps this number per calling thread
            faiss.omp_set_num_threads(self.num_threads)
        distance_QK, entry_QK = self.graph.search(query, k, params=beam)
        square_Q = np.einsum("qd,qd->q", query, query)
        product_QK = (square_Q[:, None] + np.float32(self.square_length) - distance_QK) / 2
        product_QK[entry_QK < 0] = -np.inf
        return Neighbors(entry_QK, product_QK)


def _penalty_max(penalty_N: Floats | None) -> float:
    return 0.0 if penalty_N is None else float(np.abs(penalty_N).max(initial=0.0))


def _square_length(penalty_N: Floats | None) -> float:
    """Return the square of the length that all vectors in the graph have."""
    return 1.0 + _penalty_max(penalty_N) ** 2


@lru_cache(maxsize=64)
def _beam(ef_search: int) -> Any:
    """Return the parameters of a search, which nobody changes, so that threads may share them."""
    return faiss.SearchParametersHNSW(efSearch=ef_search)  # type: ignore[attr-defined]  # not in its stubs
