"""Which part files the event lake consists of: one manifest an ingested file.

A manifest is put in place by one atomic rename after its parts are durable, and readers read only
parts that a manifest names. So a file is in the lake whole or not at all, whenever a writer died.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from store.durable import write_atomic
from store.errors import LakeCorrupt
from store.workspace import Workspace

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Part:
    """One Parquet file of the lake; `path` is relative to the lake's folder."""

    path: str
    num_rows: int
    num_bytes: int
    first_ts_us: int
    last_ts_us: int


@dataclass(frozen=True)
class Manifest:
    """What one ingested file left in the lake.

    Attributes:
        ingest: Number of the ingest, ascending in time.
        file: Name of the source file.
        sha256: Hash of the source file's content.
        created_at: When, RFC 3339.
        columns: Stored type of each attribute.
        counts: Rows of the source file and what became of them.
        config: The ingest's settings.
        parts: Part files, by time.
    """

    ingest: int
    file: str
    sha256: str
    created_at: str
    columns: dict[str, str]
    counts: dict[str, int]
    config: dict[str, Any]
    parts: tuple[Part, ...]

    @property
    def num_rows(self) -> int:
        """Events in the lake."""
        return sum(part.num_rows for part in self.parts)


def write_manifest(workspace: Workspace, manifest: Manifest) -> None:
    """Publish an ingest, or replace its manifest: the one step that decides."""
    content = {"format_version": FORMAT_VERSION, **asdict(manifest)}
    path = workspace.manifests_dir / f"{manifest.ingest:09d}.json"
    write_atomic(path, json.dumps(content, indent=1, sort_keys=True).encode())


def read_manifests(workspace: Workspace) -> list[Manifest]:
    """Return all manifests in the order of their ingests.

    Raises:
        LakeCorrupt: If one can't be read, or a part it names is missing or of another size.
    """
    paths = sorted(workspace.manifests_dir.glob("[0-9]*.json"))
    return [_read_manifest(workspace, path) for path in paths]


def _read_manifest(workspace: Workspace, path: Path) -> Manifest:
    try:
        content = json.loads(path.read_bytes())
        version = content.pop("format_version")
        if version != FORMAT_VERSION:
            raise LakeCorrupt(f"{path} is of format {version}, this program reads {FORMAT_VERSION}")
        parts = tuple(Part(**part) for part in content.pop("parts"))
        manifest = Manifest(parts=parts, **content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LakeCorrupt(f"{path} is damaged; restore it from a backup") from error
    for part in manifest.parts:
        _check_part(workspace.lake_dir / part.path, part, path)
    return manifest


def _check_part(file: Path, part: Part, manifest: Path) -> None:
    try:
        num_bytes = file.stat().st_size
    except FileNotFoundError as error:
        raise LakeCorrupt(f"{file} is gone but {manifest} names it; restore a backup") from error
    if num_bytes != part.num_bytes:
        raise LakeCorrupt(f"{file} has {num_bytes} bytes instead of {part.num_bytes}")


def last_ingest_before(workspace: Workspace, time: datetime) -> int:
    """Return the number of the last ingest that was published before a time, 0 if none was.

    Ingests are published in the order of their numbers. Where an erasure or a copy touched a
    manifest since, the number may be too low, never too high.
    """
    paths = workspace.manifests_dir.glob("[0-9]*.json")
    seconds = time.timestamp()
    return max((int(path.stem) for path in paths if path.stat().st_mtime < seconds), default=0)


def next_ingest(manifests: Sequence[Manifest]) -> int:
    """Return the number of the next ingest."""
    return max((manifest.ingest for manifest in manifests), default=0) + 1


def remove_leftovers(workspace: Workspace, manifests: Iterable[Manifest]) -> list[Path]:
    """Delete part files that no manifest names: what writers that died left behind.

    Only the holder of the lake's lock may do this.
    """
    named = {part.path for manifest in manifests for part in manifest.parts}
    removed = []
    for file in workspace.lake_dir.glob("day=*/*"):
        if str(file.relative_to(workspace.lake_dir)) not in named:
            file.unlink()
            removed.append(file)
    for staged in workspace.manifests_dir.glob(".*.tmp"):
        staged.unlink()
    for folder in workspace.lake_dir.glob("day=*"):
        if not any(folder.iterdir()):
            folder.rmdir()
    return removed
