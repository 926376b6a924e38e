"""Publishing: a staged build gets its final name, and `live.json` swings to it.

Every step is atomic: a crash at any line leaves the old build live or the new one, never a half.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from index.build import BUILD_ID, STAGING_PREFIX, add_file, load_build
from index.errors import BuildCorrupt, BuildInvalid, NoLiveBuild, PublishBusy
from index.gate import REPORT_FILE, Check, GateReport, check_erased
from index.manifest import read_manifest
from index.milvus.collections import MilvusCollections, in_collection, release_quietly
from store.durable import publish_folder, write_atomic
from store.errors import WorkspaceBusy
from store.locks import exclusive_lock
from store.workspace import Workspace

LOCK_FILE = ".lock"
LOCK_WAIT_SECONDS = 30.0
LOCK_POLL_SECONDS = 0.02
ANY_BUILD = "any"


@dataclass(frozen=True)
class LivePointer:
    """What `live.json` says."""

    live: str
    previous: str | None
    changed_at: datetime


@dataclass(frozen=True)
class Published:
    """What became of a staged build; `is_live` is False for a refused one."""

    build_id: str
    is_live: bool
    report: GateReport


def read_live(workspace: Workspace) -> LivePointer | None:
    """Return what is live, None before the first publish.

    Raises:
        BuildCorrupt: If `live.json` is damaged.
    """
    path = workspace.live_file
    try:
        fields = json.loads(path.read_bytes())
        return LivePointer(
            str(fields["live"]),
            None if fields["previous"] is None else str(fields["previous"]),
            datetime.fromisoformat(fields["changed_at"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise BuildCorrupt(
            f'{path} is damaged ({error}); run "lookalike builds promote BUILD_ID"'
        ) from error


def live_build_id(workspace: Workspace) -> str:
    """Return the id of the live build.

    Raises:
        NoLiveBuild: Before the first publish.
    """
    pointer = read_live(workspace)
    if pointer is None:
        raise NoLiveBuild(f'{workspace.root} has no live build; run "lookalike rebuild"')
    return pointer.live


def publish(
    workspace: Workspace,
    staged: Path,
    report: GateReport,
    *,
    now: datetime,
    judged_against: str | None = ANY_BUILD,
    force: bool = False,
    collections: MilvusCollections | None = None,
    erased_users: Callable[[], Collection[str]] = tuple,
) -> Published:
    """Give a staged build its final name, and make it live unless the gate refused it.

    Args:
        workspace: Where builds live.
        staged: What `write_build` returned.
        report: What the gate said of it; stored in the build.
        now: When the build went live.
        judged_against: The build that was live for the gate, None for none. Where another is by
            now, the report has a check more that did not pass. `ANY_BUILD` does not ask.
        force: Make it live although it was refused; the report says so.
        collections: Where builds have collections, if they do.
        erased_users: Tells who must not be in it. It is asked while the lock is held, so that an
            erasure either is seen here or finds this build published; no force overrules that.

    Raises:
        BuildCorrupt: If the folder can't be read back as it was written.
        MilvusError: If the build is in Milvus, and is not there as it should be.
        PublishBusy: If others publish for longer than we wait.
    """
    if not staged.name.startswith(STAGING_PREFIX):
        raise BuildInvalid(f"{staged} is not a staged build")
    report = _overruled(report) if force else report
    add_file(staged, REPORT_FILE, report.to_json())
    build = load_build(staged)
    in_collection(build, collections)
    build_id = staged.name.removeprefix(STAGING_PREFIX)
    with publish_lock(workspace):
        judged = report
        live = _live_id_if_whole(workspace)
        if judged_against not in (ANY_BUILD, live):
            report = report.with_check(_moved(judged_against, live))
        nobody_erased = check_erased(build.users, erased_users())
        if not nobody_erased.passed:
            report = report.with_check(nobody_erased)
        if report != judged:
            report = _overruled(report) if force else report
            add_file(staged, REPORT_FILE, report.to_json())
        publish_folder(staged, workspace.builds_dir / build_id)
        if report.may_go_live:
            swing(workspace, build_id, now=now, collections=collections)
    return Published(build_id, report.may_go_live, report)


def _overruled(report: GateReport) -> GateReport:
    return report if report.passed else report.forced()


def _moved(judged_against: str | None, live: str | None) -> Check:
    """Refuse what was compared with a build that serves nobody any more."""
    detail = f"judged against build {judged_against}, but {live} is live by now; rebuild again"
    return Check("live_build_moved", False, 1, 0, detail)


def _live_id_if_whole(workspace: Workspace) -> str | None:
    try:
        pointer = read_live(workspace)
    except BuildCorrupt:  # a damaged pointer is what a publish replaces
        return None
    return None if pointer is None else pointer.live


def swing(
    workspace: Workspace,
    build_id: str,
    *,
    now: datetime,
    collections: MilvusCollections | None = None,
) -> None:
    """Point `live.json` to a build; what was live becomes the previous one. Needs the lock.

    The alias of Milvus swings first, and back where `live.json` does not follow. Services read the
    collection that is named for their build, so to them `live.json` alone decides.
    """
    try:
        pointer = read_live(workspace)
    except BuildCorrupt:  # a damaged pointer is what this replaces
        pointer = None
    if collections is not None:
        point_alias(workspace, build_id, collections)
    if pointer is not None and pointer.live == build_id:
        return
    fields = {
        "live": build_id,
        "previous": None if pointer is None else pointer.live,
        "changed_at": now.isoformat(),
    }
    try:
        write_atomic(workspace.live_file, json.dumps(fields, indent=1).encode() + b"\n")
    except OSError:
        if collections is not None and pointer is not None:
            point_alias(workspace, pointer.live, collections)
        raise
    if collections is not None:
        _release_others(workspace, fields.values(), collections)


def point_alias(workspace: Workspace, build_id: str, collections: MilvusCollections) -> None:
    """Let the alias of Milvus stand for a build's collection, for none where it has none.

    Raises:
        MilvusError: If it can't, or does not answer from there; it is then as it was.
    """
    manifest = read_manifest(workspace.builds_dir / build_id)
    collections.point_to(build_id if manifest.index == "milvus" else None)


def _release_others(
    workspace: Workspace, needed: Collection[str | None], collections: MilvusCollections
) -> None:
    """Free the server's memory of all builds but the live and the previous one."""
    for directory in workspace.builds_dir.iterdir():
        if BUILD_ID.fullmatch(directory.name) and directory.name not in needed:
            release_quietly(collections, directory.name)


@contextmanager
def publish_lock(workspace: Workspace) -> Iterator[None]:
    """Hold the lock of `live.json` and of the builds' names; the kernel frees it on any death.

    Raises:
        PublishBusy: If another holds it for longer than we wait.
    """
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        lock = exclusive_lock(workspace.builds_dir / LOCK_FILE, purpose="publish")
        try:
            lock.__enter__()
            break
        except WorkspaceBusy as error:
            if time.monotonic() > deadline:
                raise PublishBusy(
                    f"another process has been publishing in {workspace.builds_dir} for "
                    f"{LOCK_WAIT_SECONDS:.0f} s; try again when it is done"
                ) from error
            time.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        lock.__exit__(None, None, None)
