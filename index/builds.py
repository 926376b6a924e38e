"""The builds of a workspace: which there are, which is live, and back to an earlier one."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from index.build import BUILD_ID, STAGING_PREFIX, load_build
from index.checked import note_of
from index.errors import (
    BuildCorrupt,
    BuildIncompatible,
    BuildMissing,
    BuildNotLive,
    BuildNotServable,
    NothingToRollBack,
)
from index.gate import REPORT_FILE, Verdict, read_report
from index.manifest import Manifest, read_manifest
from index.milvus.collections import MilvusCollections, in_collection
from index.publish import LivePointer, point_alias, publish_lock, read_live, swing
from store.durable import remove_folder
from store.workspace import Workspace

TRASH_PREFIX = ".trash-"
ABANDONED_SECONDS = 86_400.0


@dataclass(frozen=True)
class BuildInfo:
    """One build of the list.

    Attributes:
        gate: What the gate said; None where the build is damaged, and then `damage` says how.
            The fields that the manifest tells are None or 0 likewise.
    """

    build_id: str
    live: bool
    previous: bool
    size_bytes: int
    gate: Verdict | None
    damage: str | None
    created_at: datetime | None
    data_as_of: datetime | None
    space_id: str | None
    num_users: int
    num_violators: int


def build_dir(workspace: Workspace, build_id: str) -> Path:
    """Return the folder of a build.

    Raises:
        BuildMissing: If there is none of this id.
    """
    directory = workspace.builds_dir / build_id
    if BUILD_ID.fullmatch(build_id) is None or not directory.is_dir():
        raise BuildMissing(f'there is no build {build_id[:80]!r}; see "lookalike builds list"')
    return directory


def list_builds(workspace: Workspace) -> list[BuildInfo]:
    """Return all builds that have their final name, oldest first; files are not verified."""
    pointer = _pointer_if_whole(workspace)
    return [_describe(directory, pointer) for directory in _build_dirs(workspace)]


def show(workspace: Workspace, build_id: str) -> dict[str, Any]:
    """Return manifest and report of a build as JSON values, and whether it is live.

    Raises:
        BuildMissing, BuildCorrupt, BuildIncompatible.
    """
    directory = build_dir(workspace, build_id)
    pointer = _pointer_if_whole(workspace)
    return {
        "build_id": build_id,
        "live": pointer is not None and pointer.live == build_id,
        "previous": pointer is not None and pointer.previous == build_id,
        "manifest": read_manifest(directory).model_dump(mode="json"),
        "report": read_report(directory).to_dict(),
    }


def promote(
    workspace: Workspace,
    build_id: str,
    *,
    now: datetime | None = None,
    collections: MilvusCollections | None = None,
) -> LivePointer:
    """Make a build live, after reading all of it; the one live before becomes the previous.

    Raises:
        BuildMissing, BuildCorrupt, BuildIncompatible, PublishBusy, MilvusError.
        BuildNotServable: If the gate refused it.
    """
    with publish_lock(workspace):
        _check_servable(build_dir(workspace, build_id), collections)
        swing(workspace, build_id, now=now or datetime.now(UTC), collections=collections)
        pointer = read_live(workspace)
    assert pointer is not None
    return pointer


def rollback(
    workspace: Workspace,
    *,
    expected_live: str | None = None,
    now: datetime | None = None,
    collections: MilvusCollections | None = None,
) -> LivePointer:
    """Make the previous build live again; a second rollback undoes the first.

    Args:
        workspace: Where builds live.
        expected_live: The build to take back; if another is live by then, nothing happens.
        now: When the pointer swung.
        collections: Where builds have collections, if they do.

    Raises:
        BuildNotLive: If another build is live than the one to take back.
        NothingToRollBack: If there is no previous build, or it was removed with an erased user.
        BuildCorrupt, BuildIncompatible, PublishBusy, MilvusError.
    """
    with publish_lock(workspace):
        pointer = read_live(workspace)
        live = None if pointer is None else pointer.live
        if expected_live is not None and live != expected_live:
            raise BuildNotLive(
                f"build {expected_live[:80]} is not live, {live} is; nothing was changed"
            )
        if pointer is None or pointer.previous is None:
            raise NothingToRollBack("there is no previous build to go back to")
        if not (workspace.builds_dir / pointer.previous).is_dir():
            raise NothingToRollBack(
                f"the previous build {pointer.previous} is gone: a build that holds an erased user "
                "is removed with the erasure"
            )
        _check_servable(build_dir(workspace, pointer.previous), collections)
        swing(workspace, pointer.previous, now=now or datetime.now(UTC), collections=collections)
        swung = read_live(workspace)
    assert swung is not None
    return swung


def prune(
    workspace: Workspace,
    *,
    keep: int,
    now: datetime | None = None,
    collections: MilvusCollections | None = None,
) -> list[str]:
    """Remove all but the `keep` newest builds; return the ids removed, oldest first.

    The live and the previous build are never removed. Folders that a dead process left half
    written a day ago or longer go too, and so do the collections of all that goes.

    Raises:
        BuildCorrupt: If `live.json` is damaged, so that nobody knows what must stay.
        PublishBusy.
        MilvusError: If a collection can't be dropped; the next call does it.
    """
    with publish_lock(workspace):
        pointer = read_live(workspace)
        needed = set() if pointer is None else {pointer.live, pointer.previous}
        if collections is not None and pointer is not None:
            point_alias(workspace, pointer.live, collections)  # a death may have left it astray
        directories = _build_dirs(workspace)
        old = directories[: max(0, len(directories) - keep)]
        removed = [directory for directory in old if directory.name not in needed]
        for directory in removed:
            directory.rename(directory.with_name(TRASH_PREFIX + directory.name))
    for leftover in _leftovers(workspace, now or datetime.now(UTC)):
        discard(leftover, collections)
    return [directory.name for directory in removed]


def discard(directory: Path, collections: MilvusCollections | None) -> None:
    """Remove a folder that is no build, or no longer, and its collection; a missing one is fine.

    What is in it goes first and the empty folder last, so that nothing stays on disk where the
    server is away, and the collection is not forgotten.

    Raises:
        MilvusError: If the collection can't be dropped.
    """
    if not directory.is_dir():
        return
    build_id = directory.name.removeprefix(TRASH_PREFIX).removeprefix(STAGING_PREFIX)
    note_of(directory.parent, build_id).unlink(missing_ok=True)
    for path in list(directory.glob("*")):
        if path.is_dir():
            remove_folder(path)
        else:
            path.unlink(missing_ok=True)
    if collections is not None:
        collections.drop(build_id)
    remove_folder(directory)


def _build_dirs(workspace: Workspace) -> list[Path]:
    """Return the folders that have their final name; names sort by time."""
    if not workspace.builds_dir.is_dir():
        return []
    paths = (path for path in workspace.builds_dir.iterdir() if path.is_dir())
    return sorted(path for path in paths if not path.name.startswith("."))


def _leftovers(workspace: Workspace, now: datetime) -> list[Path]:
    """Return trash, and staging folders that nobody has touched for a day."""
    border = now.timestamp() - ABANDONED_SECONDS
    staged = workspace.builds_dir.glob(f"{STAGING_PREFIX}*")
    abandoned = [path for path in staged if path.stat().st_mtime < border]
    return [*workspace.builds_dir.glob(f"{TRASH_PREFIX}*"), *abandoned]


def _check_servable(directory: Path, collections: MilvusCollections | None) -> None:
    """Read all of a build; raise unless it may be served."""
    build = load_build(directory)
    if not (directory / REPORT_FILE).is_file() or not read_report(directory).may_go_live:
        raise BuildNotServable(
            f"the gate refused build {directory.name}, so it can't go live; "
            '"lookalike rebuild --force" overrules the gate'
        )
    in_collection(build, collections)


def _pointer_if_whole(workspace: Workspace) -> LivePointer | None:
    """Return what is live, None where `live.json` can't tell; a list must not fail for that."""
    try:
        return read_live(workspace)
    except BuildCorrupt:
        return None


def _describe(directory: Path, pointer: LivePointer | None) -> BuildInfo:
    manifest: Manifest | None = None
    gate: Verdict | None = None
    damage: str | None = None
    try:
        manifest = read_manifest(directory)
        gate = read_report(directory).verdict
    except (BuildCorrupt, BuildIncompatible) as error:
        damage = str(error)
    return BuildInfo(
        build_id=directory.name,
        live=pointer is not None and pointer.live == directory.name,
        previous=pointer is not None and pointer.previous == directory.name,
        size_bytes=sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()),
        gate=gate,
        damage=damage,
        created_at=manifest.created_at if manifest else None,
        data_as_of=manifest.data_as_of if manifest else None,
        space_id=manifest.space_id if manifest else None,
        num_users=manifest.num_users if manifest else 0,
        num_violators=manifest.num_violators if manifest else 0,
    )
