"""`python -m benchmarks.large.step`: one step of the benchmark, in a process of its own.

The answer is one JSON object on a line of stdout. A process of its own holds what its step needs
and nothing else; it holds Python and the libraries too, which the steps tell.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.large.building import build
from benchmarks.large.config import LargeConfig
from benchmarks.large.draw import QUERIES, draw_vectors, read_array
from benchmarks.large.serving import ask_everything, first_answer, open_once, time_batch


def main() -> None:
    """Do the step named on the command line: `STEP CONFIG FOLDER`."""
    step, config_json, folder_name = sys.argv[1:]
    config, folder = LargeConfig.model_validate_json(config_json), Path(folder_name)
    if step == "draw":
        draw_vectors(config, folder)
        facts: dict[str, Any] = {}
    elif step == "build":
        facts = build(config, folder)
    elif step == "open":
        facts = open_once(config, folder)
    elif step == "ask":
        facts = ask_everything(config, folder)
    elif step == "hold":
        service, facts = first_answer(config, folder)
        facts |= {"pid": os.getpid(), "batch": time_batch(service, read_array(folder / QUERIES))}
    else:
        raise SystemExit(f"there is no step {step}")
    print(json.dumps(facts), flush=True)
    if step == "hold":
        sys.stdin.read()  # until whoever measures this process is done


if __name__ == "__main__":
    main()
