"""The collections of a workspace's builds: loaded, verified, made live by an alias, dropped.

A collection is named for its build, written once, and never edited. The service reads it by that
name, so the rows it gets are always those of the build it loaded; the alias is for everybody else.
The folder of a build outlives its collection, so none is forgotten on the server.

Shape key: `E` entries, `D` dimensions.
"""

import logging
import time
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from index.approximate import ApproximateIndex
from index.build import Build, load_build
from index.choosing import tune_loaded
from index.config import IndexConfig
from index.errors import (
    AliasNotMoved,
    CollectionInvalid,
    CollectionMissing,
    MilvusError,
    MilvusNotConfigured,
)
from index.hubness import augment_gallery
from index.manifest import write_manifest
from index.milvus.client import MilvusServer
from index.milvus.entities import (
    ENTRY,
    FLAGS,
    NUMBERS,
    POLICIES,
    SENTINEL_PARTITION,
    VECTOR,
    EntityTable,
    policy_codes,
    sentinel_key,
)
from index.milvus.search import MilvusIndex, MilvusView
from index.vectors import Floats, Vectors, row_blocks

INSERT_BYTES = 8 * 2**20
ATTRIBUTE_BYTES = 128
POLL_SECONDS = 0.05
EXTRA_DIMS = 2

_log = logging.getLogger(__name__)


class MilvusCollections:
    """What the builds of one workspace have on a server; the server is asked when it is needed."""

    def __init__(self, config: IndexConfig) -> None:
        self._config = config
        self._milvus = config.milvus

    @cached_property
    def server(self) -> MilvusServer:
        """The connection.

        Raises:
            MilvusNotConfigured, MilvusUnavailable.
        """
        return MilvusServer(self._milvus)

    def name_of(self, build_id: str) -> str:
        """Return how the collection of a build is called."""
        return f"{self._milvus.alias}_{build_id.replace('-', '_')}"

    def load(self, build: Build) -> Build:
        """Load a staged build into a collection of its own, and return the build searched there.

        Memory is bounded: entities are sent block by block. The beam is tuned as that of any index,
        and the manifest remembers it and what was measured.

        Raises:
            CollectionInvalid: If the server does not hold what was sent.
            MilvusError: If it refuses, or does not answer.
        """
        name = self.name_of(build.manifest.build_id)
        begin = time.perf_counter()
        self.server.drop(name)
        self._insert(build, name)
        self.server.seal(name, m=self._config.m, ef_construction=self._config.ef_construction)
        num_sent = build.entries.num_entries + 1
        num_stored = self.server.num_stored(name)
        if num_stored != num_sent:
            raise CollectionInvalid(f"{num_sent:,} entities were sent, {name} holds {num_stored:,}")
        self._verify(build, name)
        approximate = ApproximateIndex(
            build.entries, self._index(build, name, self._config.ef_search)
        )
        chosen = tune_loaded(
            build.everyone,
            approximate,
            self._config,
            build_seconds=time.perf_counter() - begin,
        )
        assert chosen.approximate is not None
        inner = chosen.approximate.inner
        manifest = build.manifest.model_copy(
            update={"effort": inner.effort, "refine": inner.refine, "choice": chosen.choice}
        )
        write_manifest(build.directory, manifest)
        return self._attach(replace(build, manifest=manifest), name)

    def open(self, build: Build) -> Build:
        """Return a build searched in its collection, once that is loaded and verified.

        Raises:
            CollectionMissing: If it was never loaded, or was dropped.
            CollectionInvalid: If it does not hold what the build does.
        """
        name = self.name_of(build.manifest.build_id)
        if build.manifest.effort is None or not self.server.has(name):
            raise CollectionMissing(
                f"{self._milvus.uri} has no collection {name}; "
                'run "lookalike rebuild", or promote another build'
            )
        self.server.load(name)
        self._verify(build, name)
        return self._attach(build, name)

    def point_to(self, build_id: str | None) -> None:
        """Let the alias stand for the collection of a build, or for none, and see that it does.

        It is searched, not described: a server may answer searches from the old collection while it
        names the new one. Where that does not end in time the alias is swung back.

        Raises:
            AliasNotMoved: If the alias still answers from another collection.
        """
        alias = self._milvus.alias
        before = self.server.alias_target(alias)
        if build_id is None:
            self.server.drop_alias(alias)
            return
        name = self.name_of(build_id)
        try:
            if before != name:
                self.server.set_alias(alias, name)
            self._await_answer(alias, build_id)
        except MilvusError:
            self._swing_back(alias, before, name)
            raise

    def release(self, build_id: str) -> None:
        """Free the server's memory of a build's collection; `open` loads it again."""
        self.server.release(self.name_of(build_id))

    def drop(self, build_id: str) -> None:
        """Remove the collection of a build, if there is one; never the one that the alias names.

        Raises:
            CollectionInvalid: If the alias stands for it.
        """
        name = self.name_of(build_id)
        if self.server.alias_target(self._milvus.alias) == name:
            raise CollectionInvalid(f"the alias {self._milvus.alias} stands for {name}: it stays")
        self.server.drop(name)

    def _insert(self, build: Build, name: str) -> None:
        """Make the collection, and send every entry and the sentinel."""
        codes = policy_codes(build.users)
        table = EntityTable(build.users, build.entries, codes)
        penalty_N = build.everyone.penalty_N
        penalty_max = 0.0 if penalty_N is None else float(np.abs(penalty_N).max(initial=0.0))
        width = build.manifest.dim + (0 if penalty_N is None else EXTRA_DIMS)
        self.server.create(name, dim=width, policies_max=table.policies_max())
        first_rows_E = build.entries.first_rows_E
        row_bytes = 4 * width + ATTRIBUTE_BYTES
        for block in row_blocks(len(first_rows_E), row_bytes, block_bytes=INSERT_BYTES):
            rows = first_rows_E[block]
            vectors_MD = _as_stored(
                build.vectors_ND[rows], None if penalty_N is None else penalty_N[rows], penalty_max
            )
            keys = range(block.start, block.stop)
            columns = {ENTRY: keys, VECTOR: list(vectors_MD), **table.attributes(block)}
            self.server.insert(name, columns)
        build_id = build.manifest.build_id
        self.server.insert(name, _sentinel(build_id, width), is_sentinel=True)

    def _verify(self, build: Build, name: str) -> None:
        """Raise CollectionInvalid unless a collection holds the entries of this build."""
        corrected = build.everyone.penalty_N is not None
        width, found = build.manifest.dim + (EXTRA_DIMS if corrected else 0), self.server.dim(name)
        if found != width:
            raise CollectionInvalid(f"vectors of {name} have {found} numbers instead of {width}")
        num_loaded, num_entries = self.server.count(name), build.entries.num_entries
        if num_loaded != num_entries:
            raise CollectionInvalid(
                f"{name} answers from {num_loaded:,} entries instead of {num_entries:,}"
            )
        if self._answering(name) != sentinel_key(build.manifest.build_id):
            raise CollectionInvalid(f"{name} is not of build {build.manifest.build_id}")

    def _attach(self, build: Build, name: str) -> Build:
        effort = build.manifest.effort
        assert effort is not None
        index = self._index(build, name, effort)
        view = MilvusView(index, policy_codes(build.users), self._milvus.exact_candidates)
        return replace(build, approximate=ApproximateIndex(build.entries, index), remote=view)

    def _index(self, build: Build, name: str, effort: int) -> MilvusIndex:
        return MilvusIndex(
            self.server,
            name,
            num_entries=build.entries.num_entries,
            dim=build.manifest.dim,
            is_corrected=build.everyone.penalty_N is not None,
            effort=effort,
        )

    def _answering(self, name: str) -> int:
        """Return the key of the sentinel that a search by this name, or alias, finds."""
        query_QD = _first_axis(self.server.dim(name))
        found = self.server.search(name, query_QD, k=1, effort=1, partition=SENTINEL_PARTITION)
        return int(found.rows_QK[0, 0])

    def _await_answer(self, alias: str, build_id: str) -> None:
        deadline = time.monotonic() + self._milvus.timeout_seconds
        while self._answering(alias) != sentinel_key(build_id):
            if time.monotonic() > deadline:
                raise AliasNotMoved(
                    f"the alias {alias} on {self._milvus.uri} was swung to {self.name_of(build_id)}"
                    f" and answers from another collection after "
                    f"{self._milvus.timeout_seconds:g} s; it was swung back"
                )
            time.sleep(POLL_SECONDS)

    def _swing_back(self, alias: str, before: str | None, name: str) -> None:
        """Undo a swing, as far as the server lets us; the fault that led here is raised anyway."""
        if before == name:
            return
        try:
            if before is None:
                self.server.drop_alias(alias)
            else:
                self.server.set_alias(alias, before)
        except MilvusError as error:
            _log.warning("the alias %s can't be swung back: %s", alias, error)


def collections_of(config: IndexConfig) -> MilvusCollections | None:
    """Return the collections of a deployment, None where no Milvus server is set."""
    return MilvusCollections(config) if config.milvus.uri else None


def open_build(directory: Path, config: IndexConfig) -> Build:
    """Verify a build, map it, and open its collection if it is in Milvus.

    Raises:
        BuildCorrupt, BuildIncompatible: As `load_build` does.
        MilvusError: As `in_collection` does.
    """
    build = load_build(
        directory, search_threads=config.search_threads, filter_bytes=config.filter_bytes
    )
    return in_collection(build, collections_of(config))


def in_collection(build: Build, collections: MilvusCollections | None) -> Build:
    """Return a build that is in Milvus as it is searched there, and any other as it is.

    Raises:
        MilvusNotConfigured: If it is in Milvus, and no server is set.
        MilvusError: If its collection can't be searched.
    """
    if build.manifest.index != "milvus":
        return build
    if collections is None:
        raise MilvusNotConfigured(
            f"build {build.manifest.build_id} is in Milvus: set `uri` in [index.milvus]"
        )
    return collections.open(build)


def release_quietly(collections: MilvusCollections, build_id: str) -> None:
    """Free the memory of a collection if the server lets us; it is only a saving."""
    with suppress(MilvusError):
        collections.release(build_id)


def _as_stored(vectors_MD: Vectors, penalty_M: Floats | None, penalty_max: float) -> Vectors:
    if penalty_M is None:
        return vectors_MD
    return augment_gallery(vectors_MD, penalty_M, penalty_max=penalty_max)


def _first_axis(dim: int) -> Vectors:
    axis = np.zeros((1, dim), dtype=np.float32)
    axis[0, 0] = 1
    return axis


def _sentinel(build_id: str, dim: int) -> dict[str, list[object]]:
    """Return the one entity that tells of which build a collection is."""
    numbers = [f"{name}_{bound}" for name in NUMBERS for bound in ("min", "max")]
    return {
        ENTRY: [sentinel_key(build_id)],
        VECTOR: [_first_axis(dim)[0]],
        **{name: [False] for name in FLAGS},
        **{name: [0] for name in numbers},
        POLICIES: [[]],
    }
