"""Publishes several builds one after the other, as fast as it can.

    python -m tests.chaos.publishing WORKSPACE FIRST_SEED NUM_BUILDS

Prints the ids.
"""

import sys
from pathlib import Path

from index.gate import GateReport
from index.publish import publish
from store.workspace import Workspace
from tests.chaos.dying import stage
from tests.index_fakes import NOW


def main(workspace: Workspace, first_seed: int, num_builds: int) -> None:
    """Publish builds of different seeds."""
    for seed in range(first_seed, first_seed + num_builds):
        staged = stage(workspace, seed)
        print(publish(workspace, staged, GateReport(()), now=NOW).build_id, flush=True)


if __name__ == "__main__":
    main(Workspace(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
