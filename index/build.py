"""Builds: immutable folders with vectors, users and index, written once and then only read.

    builds/<build_id>/
      manifest.json      what the build promises: see `index.manifest`
      users.arrow        who: see `index.users`
      vectors.npy        N by D, float32, unit rows
      violators.npy      the rows of known violators again, together: their view is searched exactly
      penalties.npy      hub correction of every row (absent without it)
      entry_*.npy        which rows have the same vector: see `index.distinct`
      hnsw.faiss         the graph (absent in small builds)
      rings.parquet, risk/   written by `index.risk` (absent where there is none)
      report.json        what the gate said

Shape key: `N` users, `D` dimensions.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from index.approximate import ApproximateIndex, IndexKind
from index.config import IndexConfig
from index.distinct import Entries, group_identical
from index.errors import BuildCorrupt, BuildInvalid
from index.exact import ExactIndex
from index.hnsw import HnswIndex
from index.hubness import hub_penalty
from index.manifest import (
    BlockSpec,
    Manifest,
    describe_files,
    read_manifest,
    verify_files,
    write_manifest,
)
from index.recall import tune_effort
from index.remote import RemoteSearch
from index.users import UserTable, conform_users, read_users, write_users
from index.vectors import Floats, Rows, Vectors, check_stored
from store.durable import remove_folder
from store.workspace import Workspace

VECTORS_FILE = "vectors.npy"
VIOLATORS_FILE = "violators.npy"
PENALTIES_FILE = "penalties.npy"
RINGS_FILE = "rings.parquet"
RISK_DIR = "risk"
STAGING_PREFIX = ".staging-"
BUILD_ID = re.compile(r"b\d{20}-[0-9a-f]{6}")


@dataclass(frozen=True)
class BuildInput:
    """What a job hands over to be written.

    Attributes:
        model_digest: Digest of the model's manifest.
        blocks: Slices that cover the D dimensions one after the other.
        users: Columns of `index.users.USERS_SCHEMA`, sorted by user_id; those of labels and rings
            may be absent.
        vectors_ND: Unit rows, one a user, in the order of `users`.
        made_with: Config and versions, JSON values, to be remembered in the manifest.
    """

    space_id: str
    model_digest: str
    data_as_of: datetime
    blocks: tuple[BlockSpec, ...]
    users: pa.Table
    vectors_ND: Vectors
    made_with: Mapping[str, Any]


@dataclass(frozen=True)
class _Indexed:
    """What indexing the vectors gave; small builds are searched exactly."""

    entries: Entries
    approximate: ApproximateIndex | None


@dataclass(frozen=True)
class Build:
    """A build read back: everything mapped, nothing copied.

    Attributes:
        everyone: Exact view of all users.
        violator_rows: Rows of known violators, ascending: row v of `violators` is violator_rows[v].
        violators: Exact view of known violators.
        entries: Which rows have the same vector.
        approximate: Approximate view of all users; None in small builds.
        remote: Who answers instead of the mapped files; None where they do.
    """

    directory: Path
    manifest: Manifest
    users: UserTable
    everyone: ExactIndex
    violator_rows: Rows
    violators: ExactIndex
    entries: Entries
    approximate: ApproximateIndex | None
    remote: RemoteSearch | None = None

    @property
    def vectors_ND(self) -> Vectors:
        """The vectors of all users, mapped."""
        return self.everyone.vectors_ND


def new_build_id(now: datetime) -> str:
    """Return an id that sorts by time."""
    return f"b{now.astimezone(UTC):%Y%m%d%H%M%S%f}-{secrets.token_hex(3)}"


def write_build(
    workspace: Workspace,
    build: BuildInput,
    config: IndexConfig,
    *,
    now: datetime,
    write_extra: Callable[[Path], None] | None = None,
) -> Path:
    """Write a build into a staging folder, and return it; nothing is published.

    Args:
        workspace: Where builds live.
        build: What to write.
        config: How to index it.
        now: When the build counts as made.
        write_extra: Writes rings and risk model into the folder it is given.

    Raises:
        BuildInvalid: If the input can't be a build.
    """
    users = conform_users(build.users)
    _check_input(build, users)
    build_id = new_build_id(now)
    directory = workspace.builds_dir / f"{STAGING_PREFIX}{build_id}"
    directory.mkdir(parents=True)
    try:
        write_users(directory, users)
        indexed = _write_index(directory, UserTable.of(users), build.vectors_ND, config)
        if write_extra is not None:
            write_extra(directory)
        promise = _promise(directory, build, UserTable.of(users), indexed, config, now)
        write_manifest(directory, promise)
    except BaseException:
        remove_folder(directory)
        raise
    return directory


def load_build(directory: Path, *, search_threads: int = 1) -> Build:
    """Verify a build to the last byte, and map it.

    Args:
        directory: The folder of the build.
        search_threads: Threads of a graph search with several queries at once.

    Raises:
        BuildCorrupt: If a file is missing, cut or changed, or does not fit the others.
        BuildIncompatible: If it is of another format.
    """
    manifest = read_manifest(directory)
    if manifest.build_id != directory.name.removeprefix(STAGING_PREFIX):
        raise BuildCorrupt(f"{directory} holds build {manifest.build_id}")
    verify_files(directory, manifest)
    users = UserTable.of(read_users(directory))
    vectors_ND = _load_array(directory, VECTORS_FILE)
    penalty_N = _load_array(directory, PENALTIES_FILE) if manifest.hub_corrected else None
    violators_VD = _load_array(directory, VIOLATORS_FILE)
    violator_rows = users.violator_rows
    shape = (manifest.num_users, manifest.dim)
    if (
        vectors_ND.shape != shape
        or len(users) != manifest.num_users
        or violators_VD.shape != (len(violator_rows), manifest.dim)
        or (penalty_N is not None and penalty_N.shape != shape[:1])
    ):
        raise BuildCorrupt(f"the files of {directory} do not fit together")
    entries = Entries.load(directory)
    if len(entries.rows_N) != manifest.num_users or entries.num_entries != manifest.num_distinct:
        raise BuildCorrupt(f"the entries of {directory} do not fit its users")
    return Build(
        directory,
        manifest,
        users,
        ExactIndex(vectors_ND, penalty_N),
        violator_rows,
        ExactIndex(violators_VD, None if penalty_N is None else penalty_N[violator_rows]),
        entries,
        _load_approximate(directory, manifest, entries, penalty_N, search_threads),
    )


def add_file(directory: Path, name: str, content: bytes) -> None:
    """Add a file to a staged build, and promise it in the manifest."""
    manifest = read_manifest(directory)
    (directory / name).write_bytes(content)
    write_manifest(directory, manifest.model_copy(update={"files": describe_files(directory)}))


def _check_input(build: BuildInput, users: pa.Table) -> None:
    """Raise BuildInvalid unless vectors, users and blocks fit together."""
    check_stored(build.vectors_ND)
    num_vectors, dim = build.vectors_ND.shape
    if num_vectors != users.num_rows or num_vectors == 0:
        raise BuildInvalid(f"{users.num_rows} users and {num_vectors} vectors make no build")
    borders = [0, *(block.stop for block in build.blocks)]
    starts = [block.start for block in build.blocks]
    if starts != borders[:-1] or borders[-1] != dim:
        raise BuildInvalid(f"the blocks must cover the {dim} dimensions one after the other")
    if build.data_as_of.tzinfo is None:
        raise BuildInvalid("data_as_of needs a time zone")


def _write_index(
    directory: Path, users: UserTable, vectors_ND: Vectors, config: IndexConfig
) -> _Indexed:
    """Write the vectors, both views, the hub correction, and the graph where there is to be one."""
    entries = group_identical(vectors_ND)
    entries.save(directory)
    penalty_N: Floats | None = None
    if config.hub_correction:
        penalty_N = hub_penalty(vectors_ND, entries, config)
        np.save(directory / PENALTIES_FILE, penalty_N)
    np.save(directory / VECTORS_FILE, vectors_ND)
    np.save(directory / VIOLATORS_FILE, vectors_ND[users.violator_rows])
    if config.backend == "milvus" or len(vectors_ND) <= config.exact_up_to:
        return _Indexed(entries, None)
    graph = HnswIndex.build(vectors_ND, entries, config, penalty_N=penalty_N)
    graph.save(directory)
    approximate = ApproximateIndex(entries, graph)
    return _Indexed(entries, tune_effort(ExactIndex(vectors_ND, penalty_N), approximate, config))


def _promise(
    directory: Path,
    build: BuildInput,
    users: UserTable,
    indexed: _Indexed,
    config: IndexConfig,
    now: datetime,
) -> Manifest:
    """Return the manifest of a folder that is complete but for it."""
    approximate = indexed.approximate
    alone: IndexKind = "milvus" if config.backend == "milvus" else "exact"
    return Manifest(
        build_id=directory.name.removeprefix(STAGING_PREFIX),
        space_id=build.space_id,
        model_digest=build.model_digest,
        created_at=now.astimezone(UTC),
        data_as_of=build.data_as_of.astimezone(UTC),
        num_users=len(users),
        num_violators=len(users.violator_rows),
        num_distinct=indexed.entries.num_entries,
        dim=build.vectors_ND.shape[1],
        index=alone if approximate is None else approximate.inner.kind,
        effort=None if approximate is None else approximate.inner.effort,
        hub_corrected=config.hub_correction,
        blocks=build.blocks,
        config=config,
        made_with=dict(build.made_with),
        files=describe_files(directory),
    )


def _load_array(directory: Path, name: str) -> Floats:
    """Map an array of float32."""
    try:
        array = np.load(directory / name, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BuildCorrupt(f"{directory / name} can't be read: {error}") from error
    if array.dtype != np.float32:
        raise BuildCorrupt(f"{directory / name} holds {array.dtype} instead of float32")
    return np.asarray(array)


def _load_approximate(
    directory: Path,
    manifest: Manifest,
    entries: Entries,
    penalty_N: Floats | None,
    search_threads: int,
) -> ApproximateIndex | None:
    if manifest.effort is None or manifest.index == "milvus":  # see `index.milvus`
        return None
    graph = HnswIndex.load(
        directory,
        dim=manifest.dim,
        penalty_N=penalty_N,
        effort=manifest.effort,
        num_threads=search_threads,
    )
    return ApproximateIndex(entries, graph)
