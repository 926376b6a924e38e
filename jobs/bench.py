"""`lookalike bench`: runs a measurement as a process of its own, and reads what it wrote.

Measurements compare the jobs with others, so they stand above them and no job imports them.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import BenchmarkFailed, BenchmarkRegressed, UsageError
from store.durable import make_writable

Options = Mapping[str, str | Sequence[str] | bool | None]

ERROR = "error: "  # begins the one line in which a measurement tells why it failed
WRONG_USAGE, REFUSED, INTERRUPTED = 2, 3, 130


@dataclass(frozen=True)
class BenchReport:
    """What a measurement wrote.

    Attributes:
        page: The page with all tables.
        results: Its result files.
    """

    page: Path
    results: tuple[Path, ...]

    def to_dict(self) -> dict[str, object]:
        """Return a JSON form."""
        return {
            "page": str(self.page),
            "files": [str(path) for path in self.results],
            "results": [json.loads(path.read_text(encoding="utf-8")) for path in self.results],
        }

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        files = [f"result {path}" for path in self.results]
        return [*self.page.read_text(encoding="utf-8").splitlines(), "", *files]


def run(theme: str, output: Path, options: Options) -> BenchReport:
    """Measure and return what was written; progress goes to stderr.

    Args:
        theme: Which measurement.
        output: Folder of results; a run that was interrupted goes on there.
        options: Further options by name; a sequence repeats its option, None leaves it out.

    Raises:
        BenchmarkFailed: If the process fails, with what it told.
        BenchmarkRegressed: If it found figures worse than those it was to compare with.
        UsageError: If it does not understand an option.
        FolderUnusable: If the folder can't be made or written to.
    """
    make_writable(output)
    words = [sys.executable, "-P", "-m", f"benchmarks.{theme}", "--output", str(output)]
    status, message = _run([*words, *option_words(options)])
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status == WRONG_USAGE:
        raise UsageError(message)
    if status == REFUSED:
        raise BenchmarkRegressed(message)
    if status:
        raise BenchmarkFailed(message or f"the measurement ended with status {status}")
    return BenchReport(output / f"{theme}.md", tuple(sorted(output.glob(f"{theme}_*.json"))))


def option_words(options: Options) -> list[str]:
    """Return options as words of a command line."""
    words: list[str] = []
    for name, value in options.items():
        match value:
            case None | False:
                continue
            case True:
                words.append(f"--{name}")
            case str():
                words += [f"--{name}", value]
            case _:
                words += [word for one in value for word in (f"--{name}", one)]
    return words


def _run(words: Sequence[str]) -> tuple[int, str]:
    """Run a process, pass its progress on, and return its status and why it failed."""
    message = ""
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(ERROR):
                message = line.removeprefix(ERROR).strip()
            else:
                sys.stderr.write(line)
                sys.stderr.flush()
    return process.returncode, message
