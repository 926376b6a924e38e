"""`python -m benchmarks`: every measurement that needs no running service, one after the other.

Results are `benchmarks/results/<theme>_<hardware>_<date>.json`.
"""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from jobs.report.facts import machine

THEMES = ("ingest", "build", "pipeline")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the benchmarks; the first that fails ends it."""
    facts = machine()
    processor = re.sub(r"[^a-z0-9]+", "-", str(facts["processor"]).lower()).strip("-")
    suffix = f"{processor}-{facts['cores']}-cores_{datetime.now(UTC):%Y-%m-%d}"
    for theme in THEMES:
        file = RESULTS / f"{theme}_{suffix}.json"
        print(f"== {theme}: {file.name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{theme}", "-o", str(file)], check=True)


if __name__ == "__main__":
    main()
