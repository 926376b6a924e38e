"""What a workspace holds, to see that nothing of it changed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from index.build import load_build
from index.publish import read_live
from store.database import Database
from store.durable import sha256_file
from store.labels import LabelStore
from store.workspace import Workspace

FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)


def ground_and_derived(workspace: Workspace) -> dict[str, Any]:
    """Return what must not change: the lake, the labels, models, builds and the pointer.

    Whoever loads a build may note that it was checked.
    """
    folders = (
        workspace.lake_dir,
        workspace.manifests_dir,
        workspace.models_dir,
        workspace.builds_dir,
    )
    files = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".checked-")
    ]
    database = Database(workspace.ops_url)
    database.migrate()
    labels = LabelStore(database).as_of(FAR_FUTURE).table.to_pylist()
    database.close()
    state: dict[str, Any] = {str(path): sha256_file(path) for path in files}
    return state | {"live": read_live(workspace), "labels": labels}


def live_build(workspace: Workspace) -> Path:
    pointer = read_live(workspace)
    assert pointer is not None
    return workspace.builds_dir / pointer.live


def known_user(workspace: Workspace) -> str:
    return str(load_build(live_build(workspace)).users.ids[0])
