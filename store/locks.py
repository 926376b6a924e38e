"""One writer at a time, across processes."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store.errors import WorkspaceBusy


@contextmanager
def exclusive_lock(path: Path, *, purpose: str) -> Iterator[None]:
    """Hold a lock file for the time of a block; the kernel frees it when a process dies.

    Raises:
        WorkspaceBusy: If another process (or thread) holds it; there is no waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WorkspaceBusy(
                f"{path.parent} is being written by another process; "
                f"{purpose} again when it has finished"
            ) from error
        yield
