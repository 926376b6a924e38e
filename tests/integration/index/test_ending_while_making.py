"""A process that ends while an index of a slice is being made."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

ENDS = textwrap.dedent(
    """
    import sys, threading, time
    import numpy as np
    from index.background import Background
    from index.config import IndexConfig
    from index.distinct import Entries
    from index.ivf import InvertedFile

    vectors = np.random.default_rng(0).standard_normal((60_000, 32), dtype=np.float32)
    entries = Entries.of_first_rows(np.arange(len(vectors)))
    began = threading.Event()

    def make():
        began.set()
        while True:
            InvertedFile.build(vectors, entries, IndexConfig(), kind="ivf_flat")

    Background("making", waiting_max=1).offer("slice", make)
    began.wait(60)
    time.sleep(float(sys.argv[1]))
    print("answered", flush=True)
    """
)


@pytest.mark.parametrize("seconds", ["0", "0.3", "1.1"])
def test_a_process_ends_at_once_and_in_peace(seconds: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDS, seconds],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "answered\n", "")
