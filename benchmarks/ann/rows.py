"""What was measured so far, one row a file, so that an interrupted run goes on where it stopped.

`rows/DATA/SECTION/METHOD/KEY.json` is one measurement, or the reason why there is none.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.errors import UsageError
from store.durable import write_atomic

WHY_NOT, COMMITS = "why_not", "commits.json"

Row = Mapping[str, Any]


class RowStore:
    """The rows of one data set, and the commits of the runs that measured some of them."""

    def __init__(self, folder: Path, commit: str | None = None) -> None:
        self._folder, self._commit = folder, commit

    def claim(self, identity: Mapping[str, object]) -> None:
        """Remember what is measured.

        Raises:
            UsageError: If the rows that are there are of something else.
        """
        path = self._folder / "identity.json"
        text = json.dumps(identity, indent=1, sort_keys=True)
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise UsageError(f"{self._folder} has rows of another run; choose another folder")
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())

    def get(self, section: str, method: str, key: str) -> Row | None:
        """Return a row, None where it is not measured yet."""
        path = self._path(section, method, key)
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def put(self, section: str, method: str, key: str, row: Row) -> None:
        """Add a row."""
        known = self.commits()
        if self._commit not in known:
            text = json.dumps([*known, self._commit], indent=1)
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self._folder / COMMITS, text.encode())
        path = self._path(section, method, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps(row, indent=1) + "\n").encode())

    def commits(self) -> list[str | None]:
        """Return the commits of all runs that added rows, None for one that is not recorded."""
        path = self._folder / COMMITS
        if path.exists():
            found: list[str | None] = json.loads(path.read_text(encoding="utf-8"))
            return found
        return [None] if any(self._folder.glob("*/*/*.json")) else []

    def of(self, section: str, method: str) -> dict[str, Row]:
        """Return the rows of a method, by key."""
        paths = sorted((self._folder / section / method).glob("*.json"))
        return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}

    def _path(self, section: str, method: str, key: str) -> Path:
        return self._folder / section / method / f"{key}.json"


def is_measured(row: Row | None) -> bool:
    """Tell whether a row holds figures."""
    return row is not None and WHY_NOT not in row
