"""Inverted files over distinct vectors, by FAISS: plain, in bytes, or in bits (RaBitQ).

Vectors are put into lists around the centroids of a k-means, and a search reads the lists nearest
to the query. In the compressed kinds it reads codes and scores the best candidates again, exactly.
RaBitQ (Gao and Long, SIGMOD 2024) keeps one bit a dimension; its estimates need a random rotation
first, without which a block that outweighs the others leaves most bits without meaning.

Shape key: `N` stored vectors, `E` entries (distinct ones), `Q` queries, `K` neighbors,
`C` candidates, `B` queries at once.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index.approximate import ApproximateKind
from index.centroids import ITERATIONS, learn_centroids
from index.choice import Reach
from index.config import IndexConfig
from index.distinct import Entries
from index.errors import BuildCorrupt
from index.faiss_files import read_faiss, write_faiss
from index.mapped_lists import map_lists, scan_of, write_lists
from index.refine import ExactScores, num_candidates
from index.stages import REACHED_UP_TO, FileKind, Stages, probing
from index.vectors import Floats, Neighbors, Rows, Vectors, check_dim, row_blocks

FILE_NAME = "ivf.faiss"
WIDTH_STEP = 16
"""Codes of a width that isn't a multiple of this are read slower than plain vectors."""
BITS_MIN = 64
BLOCK_CODES = 32
"""Codes of bits are kept in blocks of so many, the last one of a list filled up."""
LISTS_PER_ROOT = 2
LIST_SIZE_MIN = {"ivf_flat": 8, "ivf_sq8": 8, "ivf_rabitq": 512}
"""Entries of a list in the mean. To read codes of bits, a table is made for each list that is
probed, which takes as long as to read some 250 codes."""
TRAIN_PER_LIST = 50
TWO_LEVELS_FROM = 1_000
"""Lists from which a k-means of all of them is most of the cost of a build."""
PROBES = 4
REFINE = {"ivf_flat": 1, "ivf_sq8": 2, "ivf_rabitq": 8}
REFINE_WIDER, REFINE_MAX = 4, 128
"""Times as many candidates, where those miss the target at every effort, up to so many."""
ADD_BYTES = 32 * 2**20
TABLES_BYTES = 32 * 2**20
"""Memory for the tables of the queries that are searched together; with more it is slower."""
TABLE_BYTES_PER_DIM, LIST_BYTES, CANDIDATE_BYTES = 4, 32, 40


@dataclass(frozen=True)
class InvertedFile:
    """Lists of entries by inner product, hub-corrected if built with penalties.

    Attributes:
        file: The lists behind what widens or rotates the vectors.
        file_kind: How vectors are kept in the lists.
        scores: Exact scores of the entries.
        effort: Lists to probe where a search names no number.
        refine: Candidates scored again for each neighbor; 1 where the lists hold the vectors.
        reach: Up to which distance lists are probed; None for all of the effort.
        num_threads: Threads of a search with several queries; one query takes one.
    """

    file: Any
    file_kind: FileKind
    scores: ExactScores
    effort: int
    refine: int
    num_threads: int
    reach: Reach | None = None

    @classmethod
    def build(
        cls,
        vectors_ND: Vectors,
        entries: Entries,
        config: IndexConfig,
        *,
        kind: FileKind,
        penalty_N: Floats | None = None,
        untrained: Rows | None = None,
    ) -> "InvertedFile":
        """Put one vector of each entry into about 2 sqrt(E) lists, or fewer of the least size.

        Centroids are learned on a sample, so the cost is about E x sqrt(E) x D and memory beside
        the lists is bounded; with one thread the same input gives the same file.

        Args:
            vectors_ND: Unit vectors, float32.
            entries: Which of them are distinct.
            config: Seed and threads.
            kind: How vectors are kept.
            penalty_N: Subtracted from inner products; None for no correction.
            untrained: Rows whose entries no centroid is learned from, so that they are as far from
                centroids as newcomers are; at most half of all entries are left out.
        """
        faiss.omp_set_num_threads(config.build_threads)
        rows_E = np.ascontiguousarray(entries.first_rows_E)
        width = vectors_ND.shape[1] + int(penalty_N is not None)
        num_lists = _num_lists(kind, len(rows_E))
        file = _empty_file(kind, width, num_lists, config.seed)
        penalty_min = 0.0 if penalty_N is None else float(penalty_N.min())

        def widened(rows: Rows) -> Vectors:
            part = np.ascontiguousarray(vectors_ND[rows])
            return part if penalty_N is None else _farther(part, penalty_N[rows] - penalty_min)

        generator = np.random.default_rng([config.seed, num_lists])
        pool = _without(rows_E, entries, untrained, generator)
        num_trained = min(len(pool), TRAIN_PER_LIST * num_lists)
        trained = np.sort(generator.choice(pool, num_trained, replace=False))
        with _trained(file, widened(trained), config.seed):
            for block in row_blocks(len(rows_E), width * 4, block_bytes=ADD_BYTES):
                file.add(widened(rows_E[block]))
        scores = ExactScores(vectors_ND, rows_E, penalty_N)
        effort = min(PROBES, num_lists)
        return cls(file, kind, scores, effort, REFINE[kind], config.search_threads)

    def save(self, directory: Path) -> None:
        """Write the lists.

        Raises:
            OSError: If the disk does not take them.
        """
        write = write_lists if self.file_kind == "ivf_rabitq" else write_faiss
        write(self.file, directory / FILE_NAME)

    @classmethod
    def load(
        cls,
        directory: Path,
        scores: ExactScores,
        *,
        kind: FileKind,
        effort: int,
        refine: int,
        num_threads: int,
        reach: Reach | None = None,
    ) -> "InvertedFile":
        """Map what `save` wrote into memory, so that processes share it.

        Raises:
            BuildCorrupt: If the files don't fit together.
        """
        read = map_lists if kind == "ivf_rabitq" else read_faiss
        file = read(directory / FILE_NAME)
        width = scores.vectors_ND.shape[1] + int(scores.penalty_N is not None)
        same_kind = type(scan_of(file)) is type(scan_of(_empty_file(kind, width, 1, 0)))
        if not same_kind or file.d != width:
            raise BuildCorrupt(f"the lists in {directory} do not fit its vectors")
        return cls(file, kind, scores, effort, refine, num_threads, reach)

    @property
    def kind(self) -> ApproximateKind:
        """What it is called in manifests and answers."""
        return self.file_kind

    @property
    def num_entries(self) -> int:
        """E."""
        return int(self.file.ntotal)

    @property
    def dim(self) -> int:
        """D of the queries."""
        return int(self.scores.vectors_ND.shape[1])

    @cached_property
    def effort_max(self) -> int:
        """The number of lists; all of them are an exact search but for the codes."""
        return int(scan_of(self.file).nlist)

    def packed(self) -> "InvertedFile":
        """Return the same lists in memory that fits them: they grew beyond it, up to twice."""
        return replace(self, file=faiss.clone_index(self.file))

    def with_effort(self, effort: int) -> "InvertedFile":
        """Return the same lists, of which another number is probed."""
        return replace(self, effort=effort)

    def with_refine(self, refine: int) -> "InvertedFile":
        """Return the same lists, with another number of candidates scored again."""
        return replace(self, refine=refine)

    def with_reach(self, reach: Reach | None) -> "InvertedFile":
        """Return the same lists, probed up to another distance."""
        return replace(self, reach=reach)

    def centroid_distances(self, query_QD: Vectors) -> Floats:
        """Return the squared distances of the centroids that a search may probe, ascending."""
        query = self._stages.transformed(self._widened(query_QD))
        faiss.omp_set_num_threads(self.num_threads)
        return self._stages.nearest(query, self.effort)[0]

    def num_probed(self, query_QD: Vectors, reach: Reach) -> Rows:
        """Return how many lists a search with this reach scans for each query."""
        query = self._stages.transformed(self._widened(query_QD))
        faiss.omp_set_num_threads(self.num_threads)
        nearest_QP = self._stages.nearest(query, self.effort)
        num_Q: Rows = (~self._stages.is_beyond(*nearest_QP, reach)).sum(axis=1)
        return num_Q

    def search_entries(self, query_QD: Vectors, *, k: int, effort: int | None = None) -> Neighbors:
        """Return about the k entries with the largest (corrected) inner product for each query.

        Args:
            query_QD: Unit vectors, float32.
            k: Entries per query; more lists are probed where they hold fewer.
            effort: Lists to probe, at most all, whatever their distance.
        """
        check_dim(query_QD, self.dim)
        query_exact = np.ascontiguousarray(query_QD, dtype=np.float32)  # read as such
        query = self._widened(query_exact)
        faiss.omp_set_num_threads(self.num_threads if len(query) > 1 else 1)
        probes = min(effort or self.effort, self.effort_max)
        reach = self.reach if effort is None and k <= REACHED_UP_TO else None
        if len(query) == 1:
            return self.scores.best(query_exact, self._candidates(query, k, probes, reach), k=k)
        found = Neighbors.none(len(query), k)
        for block in row_blocks(len(query), self._query_bytes(k, probes), block_bytes=TABLES_BYTES):
            entry_BC = self._candidates(query[block], k, probes, reach)
            best = self.scores.best(query_exact[block], entry_BC, k=k)
            found.rows_QK[block], found.score_QK[block] = best.rows_QK, best.score_QK
        return found

    def _candidates(self, query_QD: Vectors, k: int, probes: int, reach: Reach | None) -> Rows:
        """Return the entries that are to be scored again for the k best, Q by C."""
        wanted, enough = num_candidates(k, self.refine), min(k, self.num_entries)
        if reach is None:
            return self._among(query_QD, wanted, probes, enough)
        entry_QC = self._stages.search(query_QD, wanted, self.file_kind, probes, reach)
        lacking = entry_QC[:, enough - 1] < 0
        if lacking.any():
            entry_QC[lacking] = self._among(query_QD[lacking], wanted, probes, enough)
        return entry_QC

    def _query_bytes(self, k: int, probes: int) -> int:
        """Return what a query takes in the library, of bits a table for each list, and after it."""
        num_numbers = int(scan_of(self.file).d) if self.file_kind == "ivf_rabitq" else 0
        list_bytes = TABLE_BYTES_PER_DIM * num_numbers + LIST_BYTES
        return probes * list_bytes + CANDIDATE_BYTES * num_candidates(k, self.refine)

    def _among(self, query_QD: Vectors, wanted: int, probes: int, enough: int) -> Rows:
        """Return candidates from so many lists, and from more where these hold too few."""
        entry_QC = self._scanned(query_QD, wanted, probes)
        while probes < self.effort_max and (lacking := entry_QC[:, enough - 1] < 0).any():
            probes = min(2 * probes, self.effort_max)
            entry_QC[lacking] = self._scanned(query_QD[lacking], wanted, probes)
        return entry_QC

    def _scanned(self, query_QD: Vectors, wanted: int, probes: int) -> Rows:
        """Return the best codes of so many lists, -1 where they hold fewer."""
        params = probing(self.file_kind, probes)
        entry_QC: Rows = self.file.search(query_QD, wanted, params=params)[1]
        return entry_QC

    def _widened(self, query_QD: Vectors) -> Vectors:
        """Return queries as wide as what is in the lists."""
        if self.scores.penalty_N is None:
            return np.ascontiguousarray(query_QD)
        return np.hstack([query_QD, np.zeros((len(query_QD), 1), dtype=np.float32)])

    @cached_property
    def _stages(self) -> "Stages":
        return Stages.of(self.file)


@contextmanager
def _trained(file: Any, sample_MD: Vectors, seed: int) -> Iterator[None]:
    """Learn the centroids and the codes; within, vectors are added to the lists.

    Many centroids are learned, and compared with, in two levels; a search compares with all.
    """
    lists = scan_of(file)
    if lists.nlist < TWO_LEVELS_FROM:
        file.train(sample_MD)
        yield
        return
    learned = learn_centroids(transformed(file, sample_MD), lists.nlist, seed=seed)
    every_list, few_lists = lists.quantizer, learned.assigner()
    every_list.add(learned.list_LD)
    lists.quantizer = few_lists
    try:
        file.train(sample_MD)
        yield
    finally:
        lists.quantizer = every_list


def transformed(file: Any, vectors_MD: Vectors) -> Vectors:
    """Return vectors as the lists get them."""
    return Stages.of(file).transformed(vectors_MD)


def lists_bytes(kind: FileKind, num_entries: int, width: int) -> int:
    """Return about what the lists of so many entries take, when they are packed.

    Args:
        kind: How vectors are kept.
        num_entries: How many.
        width: D, and one more with penalties.
    """
    num_lists = _num_lists(kind, num_entries)
    file = _empty_file(kind, width, 1, 0)
    lists = scan_of(file)  # part of it, and gone with it
    num_codes = num_entries + (BLOCK_CODES * num_lists if kind == "ivf_rabitq" else 0)
    return int(num_codes * (lists.code_size + 8) + num_lists * lists.d * 4)


def _without(
    rows_E: Rows, entries: Entries, left_out: Rows | None, generator: np.random.Generator
) -> Rows:
    """Return the rows of entries but of those to be left out, half of all at most, drawn by lot.

    Who is drawn from a crowd of equal users stays: it finds the crowd wherever the centroids are.
    """
    if left_out is None:
        return rows_E
    out = np.unique(entries.entry_N[left_out])
    is_alone = entries.offsets_E[out + 1] - entries.offsets_E[out] == 1
    alone, most = out[is_alone], len(rows_E) // 2
    if len(alone) > most:
        alone = generator.choice(alone, most, replace=False)
    return np.delete(rows_E, alone)


def _num_lists(kind: FileKind, num_entries: int) -> int:
    """Return about 2 sqrt(E) lists, and fewer where they would be smaller than is worth it."""
    most = num_entries // LIST_SIZE_MIN[kind]
    return max(1, min(int(LISTS_PER_ROOT * math.sqrt(num_entries)), most))


def _farther(vectors_ND: Vectors, penalty_N: Floats) -> Vectors:
    """Return unit vectors with one more dimension, in which they are as far as they are penalized.

    The query has a 0 there, so squared distances are 2 - 2 (q x - penalty) (after Bachrach et al.,
    RecSys 2014). The extra dimensions of a graph would put queries far from everybody, and errors
    of codes grow with that distance: recall@10 falls from 1 to .97 at eight candidates a neighbor.
    """
    extra = np.sqrt(2 * np.maximum(penalty_N, 0))
    return np.ascontiguousarray(np.hstack([vectors_ND, extra[:, None]]), dtype=np.float32)


def _empty_file(kind: FileKind, width: int, num_lists: int, seed: int) -> Any:
    """Return untrained lists behind a rotation (bits) or a widening (bytes).

    Distances are Euclidean, where k-means is at home; of unit vectors their order is that of the
    inner product.
    """
    padded = -(-width // WIDTH_STEP) * WIDTH_STEP
    if kind == "ivf_rabitq":
        padded = max(padded, BITS_MIN)  # few dimensions get more than a bit each
    quantizer = faiss.IndexFlatL2(width if kind == "ivf_flat" else padded)
    lists: Any
    transform: Any = None
    if kind == "ivf_flat":
        lists = faiss.IndexIVFFlat(quantizer, width, num_lists, faiss.METRIC_L2)
    elif kind == "ivf_sq8":
        bits = faiss.ScalarQuantizer.QT_8bit
        lists = faiss.IndexIVFScalarQuantizer(quantizer, padded, num_lists, bits, faiss.METRIC_L2)
        transform = faiss.RemapDimensionsTransform(width, padded, False)  # type: ignore[arg-type]  # wrong stub
    else:
        lists = faiss.IndexIVFRaBitQFastScan(quantizer, padded, num_lists, faiss.METRIC_L2)
        transform = faiss.RandomRotationMatrix(width, padded)
        transform.init(seed)
    lists.cp.seed = seed + 1
    lists.cp.niter = ITERATIONS
    lists.cp.min_points_per_centroid = 1  # few users are no reason to warn
    return lists if transform is None else faiss.IndexPreTransform(transform, lists)
