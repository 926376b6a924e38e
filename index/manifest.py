"""What a build promises about itself: format, counts, config, and the checksum of every file.

The manifest is written in one canonical form and carries its own digest, so that a byte changed
anywhere in a build is seen: in a file by its checksum, in the manifest by its form or digest.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from index.approximate import IndexKind
from index.checked import CheckedFiles, read_ahead
from index.choice import Choice, Reach
from index.config import IndexConfig
from index.costs import SearchCosts
from index.errors import BuildCorrupt, BuildIncompatible
from store.durable import sha256_file, write_atomic

FORMAT_VERSION = 3
READ_VERSIONS = (2, FORMAT_VERSION)
MANIFEST_FILE = "manifest.json"
PIECE_BYTES, READ_BYTES = 16 * 2**20, 2**18
HASH_THREADS = 8
"""More than cores, for some of them wait for the disk."""


class BlockSpec(BaseModel, frozen=True, extra="forbid"):
    """A named slice of the vectors: one channel of similarity."""

    name: str
    start: int = Field(ge=0)
    stop: int = Field(gt=0)
    weight: float


class FileSpec(BaseModel, frozen=True, extra="forbid"):
    """What a file must be.

    Attributes:
        size: In bytes.
        checksum: What `checksum` says of it.
        sha256: Of its content, where there is no checksum: in builds of format 2.
    """

    size: int
    checksum: str | None = None
    sha256: str | None = None


class Manifest(BaseModel, frozen=True, extra="forbid"):
    """The manifest of a build.

    Attributes:
        index: What finds neighbors among everyone.
        effort: Beam width or lists probed that reached the recall target; None if exact.
        effort_at_10: Beam width that reached it for ten neighbors; None if that is `effort`.
        refine: Candidates scored again for each neighbor, 1 for none; None if exact.
        reach: Up to which distance lists are probed; None for all of `effort`.
        choice: Why the build is searched so, and what was measured.
        purposes: Purpose to block to weight, where queries may be weighted otherwise.
        costs: What searches cost where it was made; None if exact.
        config: How the index was built.
        made_with: What the job that made the build wants remembered (its config and versions).
        files: Path in the folder, with slashes, to size and checksum; all files but this one.
    """

    format_version: int = FORMAT_VERSION
    build_id: str
    space_id: str
    model_digest: str
    created_at: datetime
    data_as_of: datetime
    num_users: int
    num_violators: int
    num_distinct: int
    dim: int
    index: IndexKind
    effort: int | None
    effort_at_10: int | None = None
    refine: int | None
    reach: Reach | None = None
    choice: Choice
    costs: SearchCosts | None = None
    hub_corrected: bool
    blocks: tuple[BlockSpec, ...]
    purposes: dict[str, dict[str, float]] = {}
    config: IndexConfig
    made_with: dict[str, Any]
    files: dict[str, FileSpec]


def describe_files(directory: Path) -> dict[str, FileSpec]:
    """Return size and checksum of every file of a build folder but the manifest."""
    return {
        name: FileSpec(size=(directory / name).stat().st_size, checksum=checksum(directory / name))
        for name in _file_names(directory)
    }


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest with its digest."""
    write_atomic(directory / MANIFEST_FILE, _render(manifest.model_dump(mode="json")))


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest, and check that it is whole; the files are not looked at.

    Raises:
        BuildCorrupt: If it is missing or changed.
        BuildIncompatible: If it is of another format version.
    """
    path = directory / MANIFEST_FILE
    try:
        content = path.read_bytes()
        fields = json.loads(content)
        fields.pop("digest")
        whole = content == _render(fields)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BuildCorrupt(f"{path} can't be read: {error}") from error
    if not whole:
        raise BuildCorrupt(f"{path} was changed after it was written")
    if fields.get("format_version") not in READ_VERSIONS:
        raise BuildIncompatible(
            f"{directory.name} is of format {fields.get('format_version')}, this version reads "
            f'{" and ".join(map(str, READ_VERSIONS))}; run "lookalike rebuild"'
        )
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        raise BuildCorrupt(f"{path} is no manifest: {error}") from error


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Check that the folder holds exactly the files promised, to the byte.

    Files that were checked before and not written to since are not read (`index.checked`).

    Raises:
        BuildCorrupt: Naming the first file that is missing, cut, changed, or too much.
    """
    checked = CheckedFiles(directory.parent, manifest.build_id)
    for name, promised in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise BuildCorrupt(f"{path} is missing")
        status = path.stat()
        if status.st_size != promised.size:
            raise BuildCorrupt(f"{path} has {status.st_size} bytes instead of {promised.size}")
        expected = promised.checksum or promised.sha256
        if checked.covers(name, expected, status):
            read_ahead(path)
            continue
        whole = checksum(path) if promised.checksum is not None else sha256_file(path)
        if whole != expected:
            raise BuildCorrupt(f"{path} was changed after it was written")
        checked.add(name, expected, status)
    for name in _file_names(directory):
        if name not in manifest.files:
            raise BuildCorrupt(f"{directory / name} does not belong to the build")
    checked.save()


def checksum(path: Path) -> str:
    """Return the SHA-256 of the SHA-256 of each piece of a file, in hex.

    A file of one piece is read at the speed of one core, a large one at that of all or the disk.
    """
    starts = range(0, path.stat().st_size, PIECE_BYTES)
    num_threads = max(1, min(HASH_THREADS, len(starts)))
    with ThreadPoolExecutor(num_threads) as threads:
        pieces = list(threads.map(partial(_piece_digest, path), starts))
    return hashlib.sha256(b"".join(pieces)).hexdigest()


def _piece_digest(path: Path, start: int) -> bytes:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = PIECE_BYTES
        while left and (num_read := file.readinto(buffer[: min(left, READ_BYTES)])):
            digest.update(buffer[:num_read])
            left -= num_read
    return digest.digest()


def _file_names(directory: Path) -> list[str]:
    """Return the files under a folder but the manifest, sorted, relative with slashes."""
    paths = (path for path in directory.rglob("*") if not path.is_dir())
    names = sorted(path.relative_to(directory).as_posix() for path in paths)
    return [name for name in names if name != MANIFEST_FILE]


def _render(fields: dict[str, Any]) -> bytes:
    """Return the canonical form: sorted, indented, with the digest of all the rest."""
    body = json.dumps(fields, sort_keys=True, allow_nan=False).encode()
    digest = hashlib.sha256(body).hexdigest()
    return json.dumps({**fields, "digest": digest}, indent=1, sort_keys=True).encode() + b"\n"
