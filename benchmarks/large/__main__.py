"""`python -m benchmarks.large`: a large index, built and served in bounded memory.

    python -m benchmarks.large -o benchmarks/results --users 10000000 --dim 64

Draws users, builds and publishes them as a rebuild does once they are embedded, and serves them:
seconds and memory of every phase, bytes per user, the time until the first answer, recall against
exact truth, the latency of every kind of query, and what two workers share. Steps are processes of
their own, none of which may hold more than `--memory-gb`.
"""

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.compact import compact
from benchmarks.large.config import LargeConfig
from benchmarks.large.running import run_large
from jobs.errors import BenchmarkFailed
from jobs.report.facts import machine
from store.durable import write_atomic

_FIELDS = (
    *("users", "dim", "queries", "timed_queries", "threads", "recall_target", "kind"),
    *("memory_gb", "seed"),
)


def main() -> int:
    """Measure, write the result, and return the exit status."""
    options, now = _parse(), datetime.now(UTC)
    given = {name: getattr(options, name) for name in _FIELDS if getattr(options, name) is not None}
    config = LargeConfig(**given)
    try:
        result = run_large(config, now=now, scratch=options.scratch)
    except BenchmarkFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / result_name(config, now)
    write_atomic(path, compact(result).encode())
    print(path)
    return 0


def result_name(config: LargeConfig, now: datetime) -> str:
    """Return the name of a result: what was measured, on what hardware, when."""
    facts = machine()
    processor = re.sub(r"[^a-z0-9]+", "-", str(facts["processor"]).lower()).strip("-")
    size = f"{config.users // 1000}k-users-{config.dim}-dims"
    if config.kind != "auto":
        size += f"-{config.kind.replace('_', '-')}"
    return f"large_{size}_{processor}-{facts['cores']}-cores_{now:%Y-%m-%d}.json"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the result")
    parser.add_argument("--scratch", type=Path, help="folder for vectors and builds meanwhile")
    for name in _FIELDS:
        field = LargeConfig.model_fields[name]
        kind = str if name == "kind" else type(field.default)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=field.description)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
