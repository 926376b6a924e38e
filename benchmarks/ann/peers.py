"""The other libraries, in an environment of their own: they want versions that we don't."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.ann.methods import Method
from jobs.errors import BenchmarkFailed

PYTHON_VARIABLE = "LOOKALIKE_PEERS_PYTHON"
REQUIREMENTS = Path(__file__).with_name("peers.txt")


def python_of(method: Method) -> str | None:
    """Return the Python that has the method's library; None where there is none."""
    return sys.executable if method.home == "own" else os.environ.get(PYTHON_VARIABLE) or None


def why_no_python() -> str:
    """Say what is missing for the peers."""
    return f"it is not installed; {PYTHON_VARIABLE} names a Python that has the peers"


def make_environment(folder: Path) -> str:
    """Make a virtual environment with all peers, unless it is there, and return its Python.

    Raises:
        BenchmarkFailed: If it can't be made, or a package can't be installed.
    """
    python = folder / "bin" / "python"
    stamp = folder / "peers.txt"
    if python.exists() and stamp.exists() and stamp.read_bytes() == REQUIREMENTS.read_bytes():
        return str(python)
    _run([sys.executable, "-m", "venv", str(folder)])
    quiet = ["--quiet", "--disable-pip-version-check"]
    _run([str(python), "-m", "pip", "install", *quiet, "--requirement", str(REQUIREMENTS)])
    shutil.copyfile(REQUIREMENTS, stamp)
    return str(python)


def _run(words: list[str]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BenchmarkFailed(f"{words[0]} can't be run: {error}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchmarkFailed(f"{' '.join(words[1:4])} failed: {last}")
