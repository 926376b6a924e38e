"""Which files of a build were checked on this machine, and not written to since.

A large build is read once, when the gate judges it, and not again by each worker at each start and
swap. A file counts as checked while it is the same inode with the same size and the same times of
content and status: the kernel sets the latter with every write, and no program can set it back. A
file written to within `SETTLED_NS` before it was looked at is not noted, as two writes within one
tick of the clock look alike. Whatever does not fit is checked to the byte, as without a note.

A note lies beside the build's folder, which is never written to, and goes with it. A damaged note,
or one that can't be written, costs time and nothing else. What a disk loses without a write is not
seen; a copy of a build is checked, for its inodes are others.
"""

import json
import os
import time
from pathlib import Path

from store.durable import write_atomic

SETTLED_NS = 2 * 10**9


class CheckedFiles:
    """What the note of a build says; names are those of its manifest."""

    def __init__(self, builds_dir: Path, build_id: str) -> None:
        """Read the note of a build; there is nothing in it where it can't be read."""
        self._path = note_of(builds_dir, build_id)
        self._is_changed = False
        self._stamps: dict[str, list[object]] = {}
        try:
            stamps = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return
        if isinstance(stamps, dict):
            self._stamps = stamps

    def covers(self, name: str, promised: str | None, status: os.stat_result) -> bool:
        """Tell whether a file was found to be as promised, and is as it was then."""
        return self._stamps.get(name) == _stamp(promised, status)

    def add(self, name: str, promised: str | None, status: os.stat_result) -> None:
        """Note a file that was found to be as promised.

        Args:
            name: In the manifest.
            promised: Its checksum.
            status: Of the file, from before it was read.
        """
        if time.time_ns() - status.st_ctime_ns >= SETTLED_NS:
            self._stamps[name] = _stamp(promised, status)
            self._is_changed = True

    def save(self) -> None:
        """Write the note, where there is something new in it and the place can be written to."""
        if self._is_changed:
            try:
                write_atomic(self._path, json.dumps(self._stamps).encode())
            except OSError:
                return


def note_of(builds_dir: Path, build_id: str) -> Path:
    """Return where the note of a build is."""
    return builds_dir / f".checked-{build_id}.json"


def read_ahead(path: Path) -> None:
    """Let the system bring a file into memory meanwhile, which checking it would have done."""
    if hasattr(os, "posix_fadvise"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


def _stamp(promised: str | None, status: os.stat_result) -> list[object]:
    return [promised, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
