"""`python -m benchmarks.ann`, which `lookalike bench ann` calls."""

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from benchmarks.ann.baseline import read_results, regressions
from benchmarks.ann.config import BenchmarkConfig
from benchmarks.ann.peers import PYTHON_VARIABLE, make_environment
from benchmarks.ann.run import run
from jobs.bench import ERROR, REFUSED
from jobs.cli import INTERRUPTED, explain_error
from jobs.errors import UsageError

_OPTIONS = (
    *("data", "sizes", "platform_users", "texts", "texts_column", "texts_max", "rows_max"),
    *("methods", "sections", "queries", "repeats", "builds", "seconds", "build_seconds"),
    *("threads", "memory_mb", "seed", "quick"),
)


def main() -> int:
    """Run the benchmark and return the exit status; an error is one line on stderr."""
    try:
        options, now = _parse(), datetime.now(UTC)
        config = _config(options)
        earlier = None if options.baseline is None else read_results(options.baseline)
        if options.peers_venv is not None:
            _tell(f"peers in {options.peers_venv}")
            os.environ[PYTHON_VARIABLE] = make_environment(options.peers_venv.absolute())
        *files, _ = run(config, options.output, now=now, report=_tell)
        if earlier is not None:
            results = [json.loads(path.read_text(encoding="utf-8")) for path in files]
            lost = regressions(earlier, results)
            if lost:
                _tell(f"{ERROR}{'; '.join(lost)}")
                return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  the process's edge: what is unexpected is kept whole
        message, status = explain_error(error)
        _tell(f"{ERROR}{' '.join(message.split())}")
        return status
    return 0


def _config(options: argparse.Namespace) -> BenchmarkConfig:
    values = {name: getattr(options, name) for name in _OPTIONS}
    try:
        return BenchmarkConfig(**{key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{name}: " for name in first["loc"][:1])
        raise UsageError(f"{where}{first['msg']}") from error


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="lookalike bench ann", description="Measure nearest-neighbor search beside others."
    )
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--data", action="append")
    parser.add_argument("--sizes", type=_numbers)
    parser.add_argument("--platform-users", type=_numbers)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--texts-column")
    parser.add_argument("--texts-max", type=int)
    parser.add_argument("--rows-max", type=int)
    parser.add_argument("--methods", type=_words)
    parser.add_argument("--sections", type=_words)
    parser.add_argument("--queries", type=int)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--builds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--build-seconds", type=float)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--memory-mb", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--peers-venv", type=Path)
    return parser.parse_args()


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word.replace("_", "")) for word in _words(text))
    except ValueError as error:
        raise UsageError(f"{text!r} are no numbers with commas between") from error


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
