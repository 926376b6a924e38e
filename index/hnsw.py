"""HNSW graph search over distinct vectors, by FAISS.

Shape key: `N` stored vectors, `E` entries (distinct ones), `Q` queries, `K` neighbors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from index.approximate import ApproximateKind
from index.config import IndexConfig
from index.distinct import Entries
from index.errors import BuildCorrupt
from index.faiss_files import read_faiss, write_faiss
from index.hubness import augment_gallery, augment_queries
from index.vectors import Flags, Floats, Neighbors, Rows, Vectors, check_dim, row_blocks

GRAPH_FILE = "hnsw.faiss"
EXTRA_DIMS = 2
ADD_BYTES = 128 * 2**20
FEW, MANY = 11, 100
"""Neighbors up to which the effort of ten is enough (a user is asked for one more: itself), and
from which that of a hundred is needed."""


@dataclass(frozen=True)
class HnswIndex:
    """A graph of entries by inner product, hub-corrected if built with penalties.

    Attributes:
        dim: D of the queries.
        square_length: That of every vector in the graph.
        effort: Beam width where a search names none.
        num_threads: Threads of a search with several queries; one query takes one.
        effort_at_10: The same for ten neighbors, of which `effort` is for a hundred; None for
            `effort`.
        is_mapped: Whether the graph lies in a file that may only be read.
    """

    graph: Any
    dim: int
    square_length: float
    effort: int
    num_threads: int
    effort_at_10: int | None = None
    is_mapped: bool = False

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
        effort_at_10: int | None = None,
    ) -> "HnswIndex":
        """Map what `save` wrote into memory, so that processes share it.

        Raises:
            BuildCorrupt: If the files don't fit together.
        """
        graph = read_faiss(directory / GRAPH_FILE)
        if graph.d != dim + (0 if penalty_N is None else EXTRA_DIMS):
            raise BuildCorrupt(f"the graph in {directory} does not fit its vectors")
        square_length = _square_length(penalty_N)
        return cls(graph, dim, square_length, effort, num_threads, effort_at_10, is_mapped=True)

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

    def with_effort(self, effort: int, *, at_10: int | None = None) -> "HnswIndex":
        """Return the same graph, searched with another beam, and maybe another for ten."""
        return replace(self, effort=effort, effort_at_10=at_10)

    def is_at_the_bottom(self) -> Flags:
        """Tell of each entry whether it is in no layer but that which holds all."""
        levels_E = faiss.vector_to_array(self.graph.hnsw.levels)
        is_at_the_bottom: Flags = levels_E == 1
        return is_at_the_bottom

    @contextmanager
    def hidden(self, entries_H: Rows) -> Iterator[None]:
        """Within, no search comes upon some entries of the bottom; nobody else may search.

        The graph must have been built in this process: a mapped one can't be written to.
        What links to them, links to one of those to which they link instead, as a graph without
        them would have links there. It takes a pass over the links, 128 bytes an entry.
        """
        assert not self.is_mapped
        assert self.is_at_the_bottom()[entries_H].all()
        layers = self.graph.hnsw
        link_L = faiss.rev_swig_ptr(layers.neighbors.data(), layers.neighbors.size())
        start_E = faiss.vector_to_array(layers.offsets)[:-1].astype(np.int64)
        is_hidden = np.zeros(self.num_entries + 1, dtype=bool)  # the last is what -1 points at
        is_hidden[entries_H] = True
        place_P = np.flatnonzero(is_hidden[link_L])
        before_P = link_L[place_P].copy()
        instead_P = np.empty_like(before_P)
        linking_P = np.searchsorted(start_E, place_P, side="right") - 1
        linked = np.arange(layers.nb_neighbors(0))
        for block in row_blocks(len(place_P), 32 * len(linked), block_bytes=ADD_BYTES):
            links = [link_L[start_E[of[block]][:, None] + linked] for of in (before_P, linking_P)]
            further, own = (
                np.where(is_hidden[part] | (part == linking_P[block][:, None]), -1, part)
                for part in links
            )
            bridge = _one_of_each(further, place_P[block])
            instead_P[block] = np.where(bridge >= 0, bridge, _one_of_each(own, place_P[block]))
        link_L[place_P] = instead_P
        try:
            yield
        finally:
            link_L[place_P] = before_P

    def search_entries(self, query_QD: Vectors, *, k: int, effort: int | None = None) -> Neighbors:
        """Return about the k entries with the largest (corrected) inner product for each query.

        Args:
            query_QD: Unit vectors, float32.
            k: Entries per query.
            effort: Beam width whatever k is; at least k is used.
        """
        check_dim(query_QD, self.dim)
        query = np.ascontiguousarray(query_QD)
        if self.graph.d != self.dim:
            query = augment_queries(query_QD)
        beam = _beam(max(k, effort or self._effort_for(k)))
        if len(query) > 1:  # OpenMP keeps this number per calling thread
            faiss.omp_set_num_threads(self.num_threads)
        distance_QK, entry_QK = self.graph.search(query, k, params=beam)
        square_Q = np.einsum("qd,qd->q", query, query)
        product_QK = (square_Q[:, None] + np.float32(self.square_length) - distance_QK) / 2
        product_QK[entry_QK < 0] = -np.inf
        return Neighbors(entry_QK, product_QK)

    def _effort_for(self, k: int) -> int:
        """Return the beam for k neighbors, between ten and a hundred in proportion."""
        if self.effort_at_10 is None or k >= MANY:
            return self.effort
        more = max(k - FEW, 0) * (self.effort - self.effort_at_10)
        return self.effort_at_10 - (-more // (MANY - FEW))


def _one_of_each(link_PL: npt.NDArray[np.int32], number_P: Rows) -> npt.NDArray[np.int32]:
    """Return one link of each row that is not -1, another one by another number; -1 for none."""
    is_link = link_PL >= 0
    num_links = is_link.sum(axis=1)
    wanted = number_P % np.maximum(num_links, 1) + 1
    place = (np.cumsum(is_link, axis=1) == wanted[:, None]).argmax(axis=1)
    return np.where(num_links > 0, link_PL[np.arange(len(link_PL)), place], -1)


def _penalty_max(penalty_N: Floats | None) -> float:
    return 0.0 if penalty_N is None else float(np.abs(penalty_N).max(initial=0.0))


def _square_length(penalty_N: Floats | None) -> float:
    """Return the square of the length that all vectors in the graph have."""
    return 1.0 + _penalty_max(penalty_N) ** 2


@lru_cache(maxsize=64)
def _beam(ef_search: int) -> Any:
    """Return the parameters of a search, which nobody changes, so that threads may share them."""
    return faiss.SearchParametersHNSW(efSearch=ef_search)  # type: ignore[attr-defined]  # not in its stubs
