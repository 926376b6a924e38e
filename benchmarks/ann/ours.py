"""Our index and service, as the benchmark's engines: the one module that knows how to reach them.

The hub correction is off, for it ranks by another measure than the true distance.

Shape key: see `benchmarks.ann.engines.engine`.
"""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from benchmarks.ann.engines.engine import Flags, Ids, Params, Vectors, padded
from index.answers import Filter, NeighborRequest
from index.build import Build, load_build, slices_of, write_build
from index.build_input import BuildInput
from index.config import IndexConfig
from index.exact import ExactIndex
from index.filters import FilterTable
from index.manifest import BlockSpec
from index.parts import EventEmbedder
from index.search import find_neighbors
from index.service import LookalikeService
from index.slices import SLICES_BYTES
from index.tombstones import Tombstones
from store.durable import write_atomic
from store.workspace import Workspace

SPACE_ID, BUILD_FILE, FLAGS_FILE = "benchmark", "build.txt", "flags.npy"
MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)
SETTLE_SECONDS = 600.0


class ExactEngine:
    """Our exact search over a mapped matrix."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        np.save(folder / "vectors.npy", vectors_ND)
        np.save(folder / FLAGS_FILE, flags_NF)

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        self._exact = ExactIndex(np.asarray(_mapped(folder / "vectors.npy")))
        self._flags_NF: Flags = _mapped(folder / FLAGS_FILE)

    def tune(self, effort: Params) -> None:
        """Exact search has nothing to tune."""

    def search(self, query_QD: Vectors, k: int) -> Ids:
        return self._exact.search(query_QD, k=k).rows_QK

    def search_filtered(self, query_QD: Vectors, k: int, filter_number: int) -> Ids:
        rows_M = np.flatnonzero(self._flags_NF[:, filter_number])
        return self._exact.search_rows(query_QD, rows_M, k=k).rows_QK

    def close(self) -> None:
        """Nothing was started."""


class BuildEngine:
    """A build as the job writes it: everyone by the index that it chose, filters by their slices.

    Building is all that a rebuild does once users are embedded: grouping equal vectors, choosing
    and tuning an index, measuring costs, checksums.
    """

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        make_build(vectors_ND, folder, params, threads=threads)
        np.save(folder / FLAGS_FILE, flags_NF)

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        build = read_build(folder, threads=threads)
        self._effort: int | None = None
        self._nobody = Tombstones.none(build.manifest.num_users)
        slices = slices_of(
            build.manifest,
            cast(FilterTable, FlagTable(_mapped(folder / FLAGS_FILE))),
            build.everyone,
            build.entries,
            build.approximate,
            SLICES_BYTES,
        )
        self._build = replace(build, slices=slices)
        self._ready_filters: set[int] = set()

    def tune(self, effort: Params) -> None:
        self._effort = effort.get("ef", effort.get("nprobe"))

    def search(self, query_QD: Vectors, k: int) -> Ids:
        index = self._build.approximate
        if index is None:
            return self._build.everyone.search(query_QD, k=k).rows_QK
        return index.search(query_QD, k=k, effort=self._effort).rows_QK

    def search_filtered(self, query_QD: Vectors, k: int, filter_number: int) -> Ids:
        request = NeighborRequest(
            k=k, filter=Filter(min_events=filter_number), ef_search=self._effort
        )
        if filter_number not in self._ready_filters:  # asked for again, a slice gets an index
            assert request.filter is not None
            for _ in range(2):
                self._build.slices.get(request.filter, known_violators=False)
            self._build.slices.settle(SETTLE_SECONDS)
            self._ready_filters.add(filter_number)
        found, _ = find_neighbors(self._build, query_QD, request, self._nobody)
        return np.stack([padded(one.rows_K.tolist(), k) for one in found])

    def close(self) -> None:
        """Nothing was started."""


class FlagTable:
    """Tells who has a flag, as a `FilterTable` tells who meets conditions."""

    def __init__(self, flags_NF: Flags) -> None:
        self._flags_NF = flags_NF

    def rows_passing(self, condition: Filter, *, known_violators: bool = False) -> Ids:
        """Return the rows that have the flag whose number stands for the least events."""
        assert condition.min_events is not None
        return np.flatnonzero(self._flags_NF[:, condition.min_events])


class ServiceEngine:
    """The service in this process, asked for the neighbors of vectors."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        make_build(vectors_ND, folder, params, threads=threads)

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        self._service = open_service(folder, threads=threads)

    def tune(self, effort: Params) -> None:
        self._ef = effort.get("ef")

    def search(self, query_QD: Vectors, k: int) -> Ids:
        request = NeighborRequest(k=k, ef_search=self._ef)
        answers = self._service.neighbors_of_vectors(query_QD, SPACE_ID, request)
        return np.stack([padded([int(hit.user_id) for hit in one.hits], k) for one in answers])

    def close(self) -> None:
        """Nothing was started."""


class NoEmbedder:
    """Stands for the encoder of the build's space; queries come as vectors."""

    def __init__(self, dim: int) -> None:
        self.space_id, self.dim = SPACE_ID, dim


def index_config(params: Params, *, threads: int) -> IndexConfig:
    """Return the settings of a build: those that are shipped but for the parameters named."""
    return IndexConfig(
        **params, hub_correction=False, build_threads=threads, search_threads=threads
    )


def make_build(vectors_ND: Vectors, folder: Path, params: Params, *, threads: int) -> None:
    """Write a build of users who are named by their rows, and check it once, as the gate does."""
    num, dim = vectors_ND.shape
    number = np.arange(num)
    zero = np.zeros(num, dtype=np.int64)
    users = pa.table(
        {
            "user_id": np.char.zfill(number.astype(np.str_), 12),
            "num_events": zero + 1,
            "first_ts_us": zero,
            "last_ts_us": zero + 1,
            "fingerprint": number,
        }
    )
    blocks = (BlockSpec(name="behavior", start=0, stop=dim, weight=1.0),)
    given = BuildInput(
        SPACE_ID, "none", MADE_AT, blocks, users, np.ascontiguousarray(vectors_ND), {}
    )
    workspace = Workspace.create(folder / "workspace")
    config = index_config(params, threads=threads)
    staged = write_build(workspace, given, config, now=MADE_AT)
    load_build(staged)
    write_atomic(folder / BUILD_FILE, staged.name.encode())


def read_build(folder: Path, *, threads: int) -> Build:
    """Load what `make_build` wrote."""
    return load_build(build_folder(folder), search_threads=threads)


def build_folder(folder: Path) -> Path:
    """Return where the build is."""
    workspace = Workspace.create(folder / "workspace")
    return workspace.builds_dir / (folder / BUILD_FILE).read_text(encoding="utf-8")


def open_service(folder: Path, *, threads: int) -> LookalikeService:
    """Return a service of the build, with an encoder that is never asked."""
    build = read_build(folder, threads=threads)
    embedder = cast(EventEmbedder, NoEmbedder(build.manifest.dim))
    return LookalikeService(build, embedder, None, IndexConfig(search_threads=threads))


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)
