"""`python -m benchmarks.encoder`, which `lookalike bench encoder` calls."""

import argparse
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from benchmarks.encoder.config import BenchmarkConfig
from benchmarks.encoder.registry import CANDIDATES, PARTS
from benchmarks.encoder.run import run
from benchmarks.encoder.scale import ScaleConfig, run_scale
from jobs.bench import ERROR
from jobs.cli import INTERRUPTED, explain_error
from jobs.errors import UsageError
from jobs.times import parse_time

_QUALITY_ALONE = (
    *("data", "cut", "until", "strict_type", "strict_columns", "without", "within", "unverified"),
    *("methods", "parts", "users", "preset"),
)
_QUALITY = (*_QUALITY_ALONE, "seeds", "quick")

Config = TypeVar("Config", bound=BaseModel)


def main() -> int:
    """Run the benchmark and return the exit status; an error is one line on stderr."""
    try:
        options, now = _parse(), datetime.now(UTC)
        if options.scale:
            run_scale(_scale_config(options), options.output, now=now, report=_tell)
        elif options.scale_max is not None:
            raise UsageError("--scale-max is of --scale: set both or none")
        else:
            run(_config(options), options.output, now=now, report=_tell)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  the process's edge: what is unexpected is kept whole
        message, status = explain_error(error)
        _tell(f"{ERROR}{' '.join(message.split())}")
        return status
    return 0


def _config(options: argparse.Namespace) -> BenchmarkConfig:
    return _checked(BenchmarkConfig, {name: getattr(options, name) for name in _QUALITY})


def _scale_config(options: argparse.Namespace) -> ScaleConfig:
    """Return what `--scale` measures: platforms and presets of its own; others are refused."""
    for name in _QUALITY_ALONE:
        if getattr(options, name):
            raise UsageError(f"--scale has its own platforms, presets: leave out {_flag(name)}")
    seeds = options.seeds or (0,)
    if len(seeds) > 1:
        raise UsageError("--scale has one seed: leave out the others of --seeds")
    values = {"seed": seeds[0], "quick": options.quick}
    return _checked(ScaleConfig, values | {"events_max": options.scale_max})


def _checked(model: type[Config], values: Mapping[str, object]) -> Config:
    try:
        return model(**{key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{first['loc'][0]}: {first['msg']}") from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="lookalike bench encoder", description="Measure the encoder beside other methods."
    )
    names = {candidate.name for candidate in (*CANDIDATES, *PARTS)}
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
    parser.add_argument("--methods", type=_words, help=f"some of {', '.join(sorted(names))}")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--preset")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--scale-max", type=int)
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
