"""`python -m benchmarks.encoder`, which `lookalike bench encoder` calls."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from benchmarks.encoder.config import BenchmarkConfig
from benchmarks.encoder.registry import CANDIDATES
from benchmarks.encoder.run import run
from jobs.bench import ERROR
from jobs.cli import INTERRUPTED, explain_error
from jobs.errors import UsageError
from jobs.times import parse_time


def main() -> int:
    """Run the benchmark and return the exit status; an error is one line on stderr."""
    try:
        options = _parse()
        run(_config(options), options.output, now=datetime.now(UTC), report=_tell)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  the process's edge: what is unexpected is kept whole
        message, status = explain_error(error)
        _tell(f"{ERROR}{' '.join(message.split())}")
        return status
    return 0


def _config(options: argparse.Namespace) -> BenchmarkConfig:
    values = {key: value for key, value in vars(options).items() if key != "output"}
    try:
        return BenchmarkConfig(**{key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{first['loc'][0]}: {first['msg']}") from error


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="lookalike bench encoder", description="Measure the encoder beside other methods."
    )
    names = tuple(candidate.name for candidate in CANDIDATES)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--data", type=Path, action="append")
    parser.add_argument("--users", type=int)
    parser.add_argument("--cut", type=parse_time)
    parser.add_argument("--until", type=parse_time)
    parser.add_argument("--strict-type")
    parser.add_argument("--strict-columns", type=_words)
    parser.add_argument("--without", action="append")
    parser.add_argument("--within")
    parser.add_argument("--unverified")
    parser.add_argument("--seeds", type=_numbers)
    parser.add_argument("--methods", type=_words, help=f"some of {', '.join(names)}")
    parser.add_argument("--preset")
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in _words(text))
    except ValueError as error:
        raise UsageError(f"{text!r} are no numbers with commas between") from error


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
