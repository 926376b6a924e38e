"""Erased users and the builds that hold them: a build is never edited, so it is removed whole."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from index.build import BUILD_ID, STAGING_PREFIX
from index.builds import TRASH_PREFIX, discard
from index.errors import BuildCorrupt
from index.milvus.collections import MilvusCollections
from index.publish import publish_lock, read_live
from index.users import read_users
from store.workspace import Workspace


@dataclass(frozen=True)
class Forgotten:
    """What became of the builds that held users who are to be forgotten.

    Attributes:
        removed: Builds that are gone, oldest first.
        live_holds: Whether the live build holds one of the users; the next one will not.
        staged: Folders of builds that are being made, or were given up, and may hold one. The gate
            lets no build live that does; `prune` removes what nobody has touched for a day.
    """

    removed: tuple[str, ...]
    live_holds: bool
    staged: tuple[str, ...]


def forget_in_builds(
    workspace: Workspace,
    user_ids: Collection[str],
    *,
    collections: MilvusCollections | None = None,
) -> Forgotten:
    """Remove every build but the live one that holds one of these users, or can't say.

    The folders of builds that were given up before are removed too.

    Raises:
        BuildCorrupt: If `live.json` is damaged, so that nobody knows what must stay.
        PublishBusy: If others publish for longer than we wait.
        MilvusError: If a collection can't be dropped; the next call does it.
    """
    with publish_lock(workspace):
        pointer = read_live(workspace)
        live = None if pointer is None else pointer.live
        holding = [path for path in _final_builds(workspace) if _holds(path, user_ids)]
        removed = [path for path in holding if path.name != live]
        for path in removed:
            path.rename(path.with_name(TRASH_PREFIX + path.name))
    for path in sorted(workspace.builds_dir.glob(f"{TRASH_PREFIX}*")):
        discard(path, collections)
    staged = sorted(workspace.builds_dir.glob(f"{STAGING_PREFIX}*"))
    return Forgotten(
        tuple(path.name for path in removed),
        len(removed) < len(holding),
        tuple(path.name for path in staged if _holds(path, user_ids)),
    )


def _final_builds(workspace: Workspace) -> list[Path]:
    """Return the folders of builds that were published or refused, oldest first."""
    return sorted(path for path in workspace.builds_dir.iterdir() if BUILD_ID.fullmatch(path.name))


def _holds(directory: Path, user_ids: Collection[str]) -> bool:
    try:
        users = read_users(directory)
    except BuildCorrupt:
        return True
    forgotten = pa.array(list(user_ids), pa.large_string())
    found = pc.is_in(users["user_id"].cast(pa.large_string()), value_set=forgotten)
    return bool(pc.any(found).as_py())
