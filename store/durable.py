"""Writes that survive a crash: whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from store.errors import FolderUnusable


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file in one step; readers see the old content or the new one."""
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with staged.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    fsync_path(path.parent)


def fsync_path(path: Path) -> None:
    """Flush one file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(directory: Path) -> None:
    """Flush every file and folder under a directory to the disk, leaves first."""
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            fsync_path(Path(folder, name))
        fsync_path(Path(folder))


def publish_folder(staged: Path, final: Path) -> None:
    """Move a finished folder to its final name, durable before and after.

    Raises:
        FileExistsError: If the final name is taken; nothing published is ever edited.
    """
    if final.exists():
        raise FileExistsError(f"{final} exists already")
    fsync_tree(staged)
    staged.rename(final)
    fsync_path(final.parent)


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_folder(path: Path) -> None:
    """Remove a folder and all in it; a missing one is fine."""
    shutil.rmtree(path, ignore_errors=True)


def make_writable(folder: Path) -> None:
    """Make a folder if it is missing, and check that files can be made in it.

    Raises:
        FolderUnusable: If they can't; better told now than after an hour of work for such a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderUnusable(f"{folder} can't be made: {explain(error)}") from error
    check_writable(folder)


def check_writable(folder: Path) -> None:
    """Check that files can be made in a folder, which must be there.

    Raises:
        FolderUnusable: If they can't.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else explain(error)
        raise FolderUnusable(f"{folder} can't be written to: {reason}") from error


def explain(error: OSError) -> str:
    """Say in one line what the system refused, and where; without the number of the error."""
    if error.strerror is None:
        return str(error)
    if error.filename is None:
        return error.strerror
    places = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' -> '.join(places)}: {error.strerror.lower()}"
