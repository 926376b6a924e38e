"""A finished demo of 3,500 users; training takes a few steps, so that all takes seconds."""

import json
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from embedder.config import PLANS, TrainingPlan
from jobs.cli import run


@dataclass(frozen=True)
class FinishedDemo:
    """The folder of a demo and what its making reported."""

    directory: Path
    report: dict[str, Any]


@pytest.fixture(scope="package", autouse=True)
def short_training() -> Iterator[None]:
    plan = PLANS["fast"].model_dump() | {"steps": 6, "evaluate_every": 3, "batch_users": 32}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PLANS, "fast", TrainingPlan(**plan))
        patch.setenv("LOOKALIKE_EMBEDDER__THREADS", "1")
        patch.setenv("LOOKALIKE_EVALUATE__NUM_RESAMPLES", "50")
        yield


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory, short_training: None) -> FinishedDemo:
    directory = tmp_path_factory.mktemp("made") / "demo"
    report = run_json(["demo", str(directory), "--users", "3500", "--seed", "1", "--no-serve"])
    return FinishedDemo(directory, report)


def run_json(arguments: Sequence[str]) -> dict[str, Any]:
    """Run a command that must succeed, and return its JSON."""
    output = StringIO()
    with redirect_stdout(output):
        status = run(["--json", *arguments])
    assert status == 0
    answer: dict[str, Any] = json.loads(output.getvalue())
    return answer
