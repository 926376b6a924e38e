"""What was measured so far, one row a file, so that an interrupted run goes on where it stopped.

`rows/STUDY/TASK/METHOD.SEED.npz` holds what the method said of every user; the JSON file beside it
is written last and makes the row count. `rows/STUDY/CANDIDATE.SEED.done` ends a candidate.

Shape key: `N` users judged, `Q` users who ask.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encoder.methods import Family
from benchmarks.encoder.tasks import AnyTask, RiskTask
from embedder.evaluation.ranking import Ranking
from jobs.errors import UsageError
from store.durable import write_atomic

Arrays = Mapping[str, np.ndarray[Any, Any]]
PLAIN, CORRECTED = "plain", "csls"


@dataclass(frozen=True)
class Row:
    """A method's answers to a task, for one seed.

    Attributes:
        candidate, method, family, seed: Whose answers.
        fit_seconds: What fitting the candidate took; shared by its methods.
        seconds: What answering took, learners of this task alone included.
        why_not: Why there are no answers; None where there are.
        commit: Of the code that answered; None where that is not known.
    """

    candidate: str
    method: str
    family: Family
    seed: int
    fit_seconds: float
    seconds: float
    why_not: str | None = None
    commit: str | None = None


class RowStore:
    """The rows of one study; each keeps the commit of the run that wrote it."""

    def __init__(self, folder: Path, commit: str | None = None) -> None:
        self._folder, self._commit = folder, commit

    def claim(self, identity: Mapping[str, object]) -> None:
        """Remember what is measured.

        Raises:
            UsageError: If the rows that are there are of something else.
        """
        path = self._folder / "identity.json"
        text = json.dumps(identity, indent=1, sort_keys=True)
        if path.exists() and path.read_text() != text:
            raise UsageError(f"{self._folder} has rows of another run; choose another folder")
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())

    def is_done(self, candidate: str, seed: int) -> bool:
        """Tell whether all rows of a candidate are there."""
        return self._done(candidate, seed).exists()

    def finish(self, candidate: str, seed: int) -> None:
        """Remember that all rows of a candidate are there."""
        write_atomic(self._done(candidate, seed), b"")

    def has(self, task: str, method: str, seed: int) -> bool:
        """Tell whether a row is there."""
        return self._path(task, method, seed, "json").exists()

    def write_task(self, task: AnyTask) -> None:
        """Keep what figures are computed against."""
        if isinstance(task, RiskTask):
            self._write_arrays(
                self._folder / task.name / "task.npz",
                {"is_positive": task.is_positive, "num_events": task.tested.num_events},
            )

    def read_task(self, task: str) -> Arrays:
        """Return what `write_task` kept."""
        return self._read_arrays(self._folder / task / "task.npz")

    def write(self, task: str, row: Row, arrays: Arrays) -> None:
        """Add a row."""
        self._write_arrays(self._path(task, row.method, row.seed, "npz"), arrays)
        text = json.dumps(asdict(replace(row, commit=self._commit)), indent=1)
        write_atomic(self._path(task, row.method, row.seed, "json"), text.encode())

    def rows(self, task: str) -> list[Row]:
        """Return the rows of a task."""
        paths = sorted((self._folder / task).glob("*.json"))
        return [Row(**json.loads(path.read_text())) for path in paths]

    def arrays(self, task: str, row: Row) -> Arrays:
        """Return what a row's method said."""
        return self._read_arrays(self._path(task, row.method, row.seed, "npz"))

    def _done(self, candidate: str, seed: int) -> Path:
        return self._folder / f"{candidate}.{seed}.done"

    def _path(self, task: str, method: str, seed: int, ending: str) -> Path:
        return self._folder / task / f"{method}.{seed}.{ending}"

    def _write_arrays(self, path: Path, arrays: Arrays) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def _read_arrays(self, path: Path) -> Arrays:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


def pack_rankings(plain: Ranking, corrected: Ranking) -> Arrays:
    """Return two rankings of the same queries as arrays."""
    both = {PLAIN: plain, CORRECTED: corrected}
    return {
        f"{name}_{key}": values for name, rank in both.items() for key, values in vars(rank).items()
    }


def unpack_ranking(arrays: Arrays, name: str) -> Ranking:
    """Return one of the rankings that `pack_rankings` packed."""
    keys = ("better_Q", "tied_wrong_Q", "tied_right_Q", "purity_Q")
    return Ranking(*(arrays[f"{name}_{key}"] for key in keys))
