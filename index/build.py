"""Builds: immutable folders with vectors, users and index, written once and then only read.

    builds/<build_id>/
      manifest.json      what the build promises: see `index.manifest`
      users.arrow        who: see `index.users`
      vectors.npy        N by D, float32, unit rows
      violators.npy      the rows of known violators again, together: their view is searched exactly
      penalties.npy      hub correction of every row (absent without it)
      penalties_*.npy    the same for the similarities of each purpose
      entry_*.npy        which users share a vector, and who is shown first: see `index.distinct`
      hnsw.faiss, ivf.faiss or symqg.index   the approximate index (absent where all search is
                         exact, or where symqg has few entries)
      ivf_lists.bin, ivf_sizes.npy   the lists of an inverted file of bits: see
                         `index.mapped_lists`
      rings.parquet, risk/   written by `index.risk` (absent where there is none)
      report.json        what the gate said

Shape key: `N` users, `D` dimensions.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from index.answers import NeighborRequest
from index.approximate import ApproximateIndex, IndexKind
from index.build_input import BuildInput, check_input
from index.choosing import Chosen, choose_index
from index.config import IndexConfig
from index.costs import SearchCosts, measure_costs
from index.distinct import Entries, group_identical
from index.errors import BuildCorrupt, PurposeUnavailable
from index.exact import ExactIndex
from index.filters import FilterTable
from index.hubness import hub_penalty
from index.kinds import effort_at_10_of, load_index, reach_of
from index.manifest import (
    Manifest,
    describe_files,
    read_manifest,
    verify_files,
    write_manifest,
)
from index.projections import Projections
from index.purposes import View, scale_of
from index.remote import RemoteSearch
from index.slice_indexes import SliceIndexes
from index.slices import SLICES_BYTES, SliceCache
from index.users import UserTable, conform_users, read_users, write_users
from index.vectors import Floats, Rows, Vectors
from store.durable import remove_folder
from store.workspace import Workspace

VECTORS_FILE = "vectors.npy"
VIOLATORS_FILE = "violators.npy"
PENALTIES_FILE = "penalties.npy"
AS_STORED = ""
RINGS_FILE = "rings.parquet"
RISK_DIR = "risk"
STAGING_PREFIX = ".staging-"
BUILD_ID = re.compile(r"b\d{20}-[0-9a-f]{6}")


@dataclass(frozen=True)
class _Indexed:
    """What indexing the vectors gave."""

    entries: Entries
    chosen: Chosen
    costs: SearchCosts | None


@dataclass(frozen=True)
class Build:
    """A build read back: everything mapped, nothing copied.

    Attributes:
        everyone: Exact view of all users.
        violator_rows: Rows of known violators, ascending: row v of `violators` is violator_rows[v].
        violators: Exact view of known violators.
        entries: Which rows share a vector; known violators first.
        approximate: Approximate view of all users; None where all search is exact.
        purposes: Ways to compare users that have block weights of their own.
        slices: Views of the users that filters let through.
        remote: Who filters instead of the mapped files; None where they do.
    """

    directory: Path
    manifest: Manifest
    users: UserTable
    everyone: ExactIndex
    violator_rows: Rows
    violators: ExactIndex
    entries: Entries
    approximate: ApproximateIndex | None
    purposes: Mapping[str, View]
    slices: SliceCache
    remote: RemoteSearch | None = None

    @property
    def vectors_ND(self) -> Vectors:
        """The vectors of all users, mapped."""
        return self.everyone.vectors_ND

    @cached_property
    def entries_of_violators(self) -> tuple[Rows, Rows]:
        """The entry of each known violator, and which of them are the first of theirs."""
        entry_V = self.entries.entry_N[self.violator_rows]
        return entry_V, np.sort(np.unique(entry_V, return_index=True)[1]).astype(np.int64)

    @cached_property
    def has_many_violators(self) -> bool:
        """Whether a scan of the known violators takes longer than one of everyone may."""
        costs, num = self.manifest.costs, len(self.violator_rows)
        return costs is not None and costs.exact(num) > 1e3 * self.manifest.config.exact_budget_ms

    @cached_property
    def projections(self) -> Projections:
        """Tell which row a vector equals; made in one pass at the first need, 12 bytes a user."""
        return Projections.of(self.vectors_ND)

    def view(self, request: NeighborRequest) -> View:
        """Return how a request compares users.

        Raises:
            PurposeUnavailable: If the build has no weights for the purpose.
        """
        if request.compares_as_stored:
            return View(self.everyone, self.violators, self.approximate)
        view = self.purposes.get(str(request.purpose))
        if view is None:
            raise PurposeUnavailable(
                f"build {self.manifest.build_id} has no weights for {request.purpose!r}: its model "
                'was trained before there were any; run "lookalike train" and "lookalike rebuild"'
            )
        return view


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
        KindUnavailable: If the index named can't be had here.
    """
    users = conform_users(build.users)
    check_input(build, users)
    build_id = new_build_id(now)
    directory = workspace.builds_dir / f"{STAGING_PREFIX}{build_id}"
    directory.mkdir(parents=True)
    try:
        write_users(directory, users)
        del users  # what was written is mapped instead
        table = UserTable.of(read_users(directory))
        indexed = _write_index(directory, build, table, config)
        if write_extra is not None:
            write_extra(directory)
        promise = _promise(directory, build, table, indexed, config, now)
        write_manifest(directory, promise)
    except BaseException:
        remove_folder(directory)
        raise
    return directory


def load_build(
    directory: Path, *, search_threads: int = 1, filter_bytes: int = SLICES_BYTES
) -> Build:
    """Verify a build to the last byte, and map it.

    Args:
        directory: The folder of the build.
        search_threads: Threads of a large exact search, and of a graph search with several
            queries at once.
        filter_bytes: Memory for the users whom filters let through.

    Raises:
        BuildCorrupt: If a file is missing, cut or changed, or does not fit the others.
        BuildIncompatible: If it is of another format.
        KindUnavailable: If its kind of index can't be had here.
    """
    manifest = read_manifest(directory)
    if manifest.build_id != directory.name.removeprefix(STAGING_PREFIX):
        raise BuildCorrupt(f"{directory} holds build {manifest.build_id}")
    verify_files(directory, manifest)
    users = UserTable.of(read_users(directory))
    vectors_ND = _load_array(directory, VECTORS_FILE)
    penalties = {
        name: _load_array(directory, file) if manifest.hub_corrected else None
        for name, file in _penalty_files(manifest.purposes).items()
    }
    violators_VD = _load_array(directory, VIOLATORS_FILE)
    violator_rows = users.violator_rows
    shape = (manifest.num_users, manifest.dim)
    if (
        vectors_ND.shape != shape
        or len(users) != manifest.num_users
        or violators_VD.shape != (len(violator_rows), manifest.dim)
        or any(one is not None and one.shape != shape[:1] for one in penalties.values())
    ):
        raise BuildCorrupt(f"the files of {directory} do not fit together")
    entries = Entries.load(directory)
    if not entries.fit(manifest.num_users, manifest.num_distinct):
        raise BuildCorrupt(f"the entries of {directory} do not fit its users")

    exact = {
        name: (
            ExactIndex(vectors_ND, penalty_N, num_threads=search_threads),
            ExactIndex(
                violators_VD,
                None if penalty_N is None else penalty_N[violator_rows],
                num_threads=search_threads,
            ),
        )
        for name, penalty_N in penalties.items()
    }
    everyone, violators = exact[AS_STORED]
    approximate = _load_approximate(directory, manifest, entries, everyone, search_threads)
    return Build(
        directory,
        manifest,
        users,
        everyone,
        violator_rows,
        violators,
        entries,
        approximate,
        {
            name: View(*exact[name], None, scale_of(manifest.blocks, weights))
            for name, weights in manifest.purposes.items()
        },
        slices_of(manifest, FilterTable(users), everyone, entries, approximate, filter_bytes),
    )


def slices_of(
    manifest: Manifest,
    table: FilterTable,
    everyone: ExactIndex,
    entries: Entries,
    approximate: ApproximateIndex | None,
    filter_bytes: int,
) -> SliceCache:
    """Return an empty cache, which makes indexes of slices as the build's own was made.

    Args:
        manifest: What the build promises.
        table: Tells which rows pass.
        everyone: Exact view of all users.
        entries: Which rows share a vector.
        approximate: Approximate view of all users; None where all search is exact.
        filter_bytes: Memory for the slices.
    """
    indexes = None
    if approximate is not None and manifest.costs is not None:
        indexes = SliceIndexes(everyone, entries, manifest.costs, manifest.config)
    return SliceCache(
        table,
        everyone,
        entries,
        max_bytes=filter_bytes,
        indexes=indexes,
        collects=manifest.index != "milvus",
    )


def add_file(directory: Path, name: str, content: bytes) -> None:
    """Add a file to a staged build, and promise it in the manifest."""
    manifest = read_manifest(directory)
    (directory / name).write_bytes(content)
    write_manifest(directory, manifest.model_copy(update={"files": describe_files(directory)}))


def _write_index(
    directory: Path, build: BuildInput, users: UserTable, config: IndexConfig
) -> _Indexed:
    """Write the vectors, both views, the hub correction, and the approximate index if any."""
    vectors_ND = np.ascontiguousarray(build.vectors_ND)
    entries = group_identical(vectors_ND).preferring(users.label_N == 1, users.num_events_N)
    entries.save(directory)
    penalty_N: Floats | None = None
    if config.hub_correction:
        penalty_N = hub_penalty(vectors_ND, entries, config)
        np.save(directory / PENALTIES_FILE, penalty_N)
        for purpose, weights in build.purposes.items():
            scale_D = scale_of(build.blocks, weights)
            own_N = hub_penalty(vectors_ND, entries, config, scale_D=scale_D)
            np.save(directory / _penalty_files([purpose])[purpose], own_N)
    np.save(directory / VECTORS_FILE, vectors_ND)
    np.save(directory / VIOLATORS_FILE, vectors_ND[users.violator_rows])
    exact = ExactIndex(vectors_ND, penalty_N)
    chosen = choose_index(exact, entries, config)
    if chosen.approximate is None:
        return _Indexed(entries, chosen, None)
    chosen.approximate.inner.save(directory)
    costs = measure_costs(exact, chosen.approximate, seed=config.seed)
    return _Indexed(entries, chosen, costs)


def _promise(
    directory: Path,
    build: BuildInput,
    users: UserTable,
    indexed: _Indexed,
    config: IndexConfig,
    now: datetime,
) -> Manifest:
    """Return the manifest of a folder that is complete but for it."""
    approximate = indexed.chosen.approximate
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
        effort_at_10=None if approximate is None else effort_at_10_of(approximate.inner),
        refine=None if approximate is None else approximate.inner.refine,
        reach=None if approximate is None else reach_of(approximate.inner),
        choice=indexed.chosen.choice,
        costs=indexed.costs,
        hub_corrected=config.hub_correction,
        blocks=build.blocks,
        purposes={purpose: dict(weights) for purpose, weights in build.purposes.items()},
        config=config,
        made_with=dict(build.made_with),
        files=describe_files(directory),
    )


def _penalty_files(purposes: Iterable[str]) -> dict[str, str]:
    """Return the file of the hub correction for vectors as they are, and for each purpose."""
    return {AS_STORED: PENALTIES_FILE} | {name: f"penalties_{name}.npy" for name in purposes}


def _load_array(directory: Path, name: str) -> Floats:
    """Map an array of float32."""
    try:
        array = np.load(directory / name, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BuildCorrupt(f"{directory / name} can't be read: {error}") from error
    if array.dtype != np.float32:
        raise BuildCorrupt(f"{directory / name} holds {array.dtype} instead of float32")
    return np.ascontiguousarray(array)  # mapped as it is, but for one stored by columns


def _load_approximate(
    directory: Path,
    manifest: Manifest,
    entries: Entries,
    everyone: ExactIndex,
    search_threads: int,
) -> ApproximateIndex | None:
    if manifest.index == "exact" or manifest.index == "milvus":
        return None
    if manifest.effort is None or manifest.refine is None:
        return None
    return load_index(
        manifest.index,
        directory,
        everyone,
        entries,
        effort=manifest.effort,
        effort_at_10=manifest.effort_at_10,
        refine=manifest.refine,
        reach=manifest.reach,
        num_threads=search_threads,
    )
