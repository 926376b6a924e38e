"""What a process holds in memory, and its index on disk; Linux tells it in `/proc`.

Numbers are megabytes of 2^20 bytes.
"""

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path

from benchmarks.watching import Watcher

MB, KB_PER_MB = 2**20, 2**10
PR_SET_CHILD_SUBREAPER = 36
WATCH_SECONDS = 0.2


def peak_mb() -> float:
    """Return the most memory that this process held, and its children hold now."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB
    return _status("VmHWM") + children_mb()


def resident_mb() -> float:
    """Return the memory that this process and its children hold now."""
    if sys.platform != "linux":
        return peak_mb()
    return _status("VmRSS") + children_mb()


def mapped_mb() -> float:
    """Return how much of it are pages of files, which processes share and the system may drop."""
    return _status("RssFile") if sys.platform == "linux" else 0.0


def children_mb() -> float:
    """Return what the processes below this one hold; what they share counts once."""
    return sum(_proportional_mb(process) for process in descendants(os.getpid()))


class ChildrenPeak(Watcher):
    """Watches, while it is entered, how much the processes below this one hold at most."""

    def __init__(self) -> None:
        super().__init__(self._keep_highest, seconds=WATCH_SECONDS)
        self.mb = 0.0

    def _keep_highest(self) -> None:
        self.mb = max(self.mb, children_mb())


def reap_daemons() -> None:
    """Collect adopted processes that have ended, so that their processor time counts."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def adopt_daemons() -> None:
    """Become the parent of daemons that are started below, so that they count and can be ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def descendants(process: int) -> list[int]:
    """Return the processes below a process."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
    below, new = {process}, {process}
    while new:
        new = {one for one, parent in parents.items() if parent in new} - below
        below |= new
    return sorted(below - {process})


def cpu_seconds() -> float:
    """Return the processor time of this process and of children that have ended."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def folder_bytes(folder: Path) -> int:
    """Return the size of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def forget_pages(folder: Path) -> None:
    """Ask the system to drop the folder's files from its cache, so that loading reads the disk."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # only pages that are on the disk are dropped
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    found = [int(line.split()[1]) for line in lines if line.startswith(f"{name}:")]
    return found[0] / KB_PER_MB if found else 0.0


def _proportional_mb(process: int) -> float:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8")
        return sum(int(line.split()[1]) for line in text.splitlines() if line[:4] == "Pss:") / (
            KB_PER_MB
        )
    return 0.0
