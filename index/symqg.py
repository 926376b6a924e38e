"""Graph search whose edges carry codes of bits (SymphonyQG), by rabitqlib: an extra.

Beside each vertex lie one-bit codes (RaBitQ) of its 32 neighbors, so one step through the graph
estimates 32 distances at once and reads one vector (Gou, Gao, Xu and Long, SIGMOD 2025). Only
vertices that are stepped on are scored, and exactly, so scores need no second look.

The only module that knows rabitqlib, which is imported when an index is first built or loaded.

Shape key: `N` stored vectors, `E` entries (distinct ones), `Q` queries, `K` neighbors,
`D` dimensions, `W` dimensions of the graph.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from index.approximate import ApproximateKind
from index.config import IndexConfig
from index.distinct import Entries
from index.errors import BuildCorrupt, KindUnavailable
from index.refine import ExactScores
from index.vectors import Floats, Neighbors, Vectors, check_dim, row_blocks

FILE_NAME = "symqg.index"
DEGREE = 32
"""Neighbors of a vertex: one batch of codes. So many entries or fewer have no graph."""
DIMS_MIN = 64
BEAM_PER_NEIGHBOR = 4
"""A beam keeps estimates, of which the steps score a part: with fewer the last neighbors miss."""
MINUS_HALF = np.float32(-0.5)
COPY_BYTES = 32 * 2**20


@dataclass(frozen=True)
class SymqgIndex:
    """A graph of entries by squared distance, hub-corrected if built with penalties.

    Attributes:
        graph: None where all entries are compared.
        scores: Exact scores of the entries.
        dim: D of the queries.
        num_entries: E.
        width: W, of which the queries have the first D.
        score_max: Of a query that equals a vector with the least penalty.
        effort: Beam width where a search names none.
        num_threads: Threads of a search with several queries; one query takes one.
    """

    graph: Any
    scores: ExactScores
    dim: int
    num_entries: int
    width: int
    score_max: np.float32
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
    ) -> "SymqgIndex":
        """Link one vector of each entry; no two graphs are the same, for its rotation has no seed.

        The library wants all vectors in one matrix: where they are not stored like that, as with
        penalties, a copy is made in memory beside the graph.

        Raises:
            KindUnavailable: If rabitqlib is not installed, or can't run on this processor.
        """
        library = graph_class()
        rows_E = np.ascontiguousarray(entries.first_rows_E)
        scores = ExactScores(vectors_ND, rows_E, penalty_N)
        graph = None
        if len(rows_E) > DEGREE:
            graph = library(_width(scores), DEGREE, "l2")
            graph.build(_matrix(scores), config.ef_construction, config.build_threads)
        return cls._of(graph, scores, config.ef_search, config.search_threads)

    def save(self, directory: Path) -> None:
        """Write the graph, if there is one.

        Raises:
            OSError: If the disk does not take it.
        """
        if self.graph is None:
            return
        path = directory / FILE_NAME
        try:
            self.graph.save(str(path))
        except RuntimeError as error:
            raise OSError(f"{path} can't be written: {error}") from error

    @classmethod
    def load(
        cls, directory: Path, scores: ExactScores, *, effort: int, num_threads: int
    ) -> "SymqgIndex":
        """Read what `save` wrote into the memory of this process; the library maps nothing.

        Raises:
            BuildCorrupt: If the files don't fit together.
            KindUnavailable: If rabitqlib is not installed, or can't run on this processor.
        """
        library = graph_class()
        graph = None
        if len(scores.rows_E) > DEGREE:
            path = directory / FILE_NAME
            try:
                graph = library.load(str(path))
            except (RuntimeError, ValueError) as error:
                raise BuildCorrupt(f"{path} can't be read: {error}") from error
            if (graph.dim, graph.metric) != (_width(scores), "l2"):
                raise BuildCorrupt(f"the graph in {directory} does not fit its vectors")
            if graph.num_points != len(scores.rows_E):
                raise BuildCorrupt(
                    f"the index holds {graph.num_points} entries instead of {len(scores.rows_E)}"
                )
        return cls._of(graph, scores, effort, num_threads)

    @classmethod
    def _of(cls, graph: Any, scores: ExactScores, effort: int, num_threads: int) -> "SymqgIndex":
        """Look up once what every search needs; for one query even that would count."""
        return cls(
            graph,
            scores,
            int(scores.vectors_ND.shape[1]),
            len(scores.rows_E),
            _width(scores),
            np.float32(1 - _penalty_min(scores)),
            effort,
            num_threads,
        )

    @property
    def kind(self) -> ApproximateKind:
        """What it is called in manifests and answers."""
        return "symqg"

    @property
    def refine(self) -> int:
        """One: the graph holds the vectors."""
        return 1

    def with_effort(self, effort: int) -> "SymqgIndex":
        """Return the same graph, searched with another beam."""
        return replace(self, effort=effort)

    def search_entries(self, query_QD: Vectors, *, k: int, effort: int | None = None) -> Neighbors:
        """Return about the k entries with the largest (corrected) inner product for each query.

        The beam goes to the library with each search, so threads may search with different ones.
        Where it would be as wide as the gallery, all entries are compared instead.

        Args:
            query_QD: Unit vectors, float32.
            k: Entries per query.
            effort: Beam width; at least four times k is used.
        """
        check_dim(query_QD, self.dim)
        num_found = min(k, self.num_entries)
        if self.graph is None or BEAM_PER_NEIGHBOR * num_found >= self.num_entries:
            found = self._compared(query_QD, num_found)
        else:
            found = self._walked(query_QD, num_found, effort or self.effort)
        return found if num_found == k else _padded(found, k)

    def _walked(self, query_QD: Vectors, k: int, effort: int) -> Neighbors:
        """Return the k entries that a walk through the graph finds."""
        query = np.ascontiguousarray(query_QD)
        if self.width != self.dim:
            query = np.zeros((len(query_QD), self.width), dtype=np.float32)
            query[:, : self.dim] = query_QD
        beam = max(BEAM_PER_NEIGHBOR * k, effort)
        threads = self.num_threads if len(query) > 1 else 1
        try:
            entry_QK, distance_QK = self.graph.search(query, k, beam, threads)
        except RuntimeError:  # a part without a way out holds fewer than k
            return self._walked_alone(query_QD, k, effort)
        score_QK = distance_QK * MINUS_HALF
        score_QK += self.score_max
        return Neighbors(entry_QK.astype(np.int64), score_QK)

    def _walked_alone(self, query_QD: Vectors, k: int, effort: int) -> Neighbors:
        """Compare all entries with the queries whose walk ends too early, and with no other."""
        if len(query_QD) == 1:
            return self._compared(query_QD, k)
        parts = [self._walked(query_QD[[place]], k, effort) for place in range(len(query_QD))]
        return Neighbors(
            np.concatenate([part.rows_QK for part in parts]),
            np.concatenate([part.score_QK for part in parts]),
        )

    def _compared(self, query_QD: Vectors, k: int) -> Neighbors:
        """Return the k best entries by comparing all; memory beside the scores is bounded."""
        vectors_ND, rows_E = self.scores.vectors_ND, self.scores.rows_E
        score_QE = np.empty((len(query_QD), len(rows_E)), dtype=np.float32)
        for block in row_blocks(len(rows_E), self.dim * 4):
            score_QE[:, block] = query_QD @ vectors_ND[rows_E[block]].T
        if self.scores.penalty_N is not None:
            score_QE -= self.scores.penalty_N[rows_E]
        entry_QK = np.argsort(-score_QE, axis=1, kind="stable")[:, :k]
        return Neighbors(entry_QK, np.take_along_axis(score_QE, entry_QK, axis=1))


@cache
def graph_class() -> Any:
    """Return the class of the library, once it has shown that it runs here.

    Raises:
        KindUnavailable: If it is not installed, or can't run on this processor.
    """
    try:
        from rabitqlib import SymqgIndex as Graph
    except ImportError as error:
        raise KindUnavailable(
            "an index of kind symqg needs rabitqlib: "
            "pip install --constraint constraints.txt '.[symqg]' in the checkout"
        ) from error
    few = np.eye(DIMS_MIN, dtype=np.float32)
    try:
        graph = Graph(DIMS_MIN, DEGREE, "l2")
        graph.build(few, DEGREE, 1)
        graph.search(few, 1, DEGREE, 1)
    except RuntimeError as error:  # it has code for AVX2, AVX-512 and NEON, and for nothing else
        raise KindUnavailable(
            f"an index of kind symqg can't be had on this processor: {error}; "
            "name another `[index] kind`"
        ) from error
    return Graph


def _matrix(scores: ExactScores) -> Vectors:
    """Return one vector of each entry as the graph takes them, without a copy where that can be.

    With penalties they have one more dimension, in which they are as far as they are penalized and
    the query is 0: squared distances are 2 - 2 (q x - penalty), as in the lists of `index.ivf`.
    """
    vectors_ND, rows_E, penalty_N = scores.vectors_ND, scores.rows_E, scores.penalty_N
    dim, width = vectors_ND.shape[1], _width(scores)
    if width == dim and len(rows_E) == len(vectors_ND):
        return np.ascontiguousarray(vectors_ND)
    matrix_EW = np.zeros((len(rows_E), width), dtype=np.float32)
    for block in row_blocks(len(rows_E), width * 4, block_bytes=COPY_BYTES):
        matrix_EW[block, :dim] = vectors_ND[rows_E[block]]
    if penalty_N is not None:
        matrix_EW[:, -1] = np.sqrt(2 * (penalty_N[rows_E] - _penalty_min(scores)))
    return matrix_EW


def _width(scores: ExactScores) -> int:
    """Return the dimensions of the graph: those of the vectors, filled up, and of the penalty."""
    return max(DIMS_MIN, int(scores.vectors_ND.shape[1])) + int(scores.penalty_N is not None)


def _penalty_min(scores: ExactScores) -> float:
    penalty_N = scores.penalty_N
    return 0.0 if penalty_N is None or not len(penalty_N) else float(penalty_N.min())


def _padded(found: Neighbors, k: int) -> Neighbors:
    """Return the same with -1 in the places up to k."""
    num_queries, num_found = found.rows_QK.shape
    padded = Neighbors.none(num_queries, k)
    padded.rows_QK[:, :num_found], padded.score_QK[:, :num_found] = found.rows_QK, found.score_QK
    return padded
