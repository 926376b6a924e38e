"""A small simulated platform, ingested and trained once through the command line."""

import contextlib
import io
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from embedder.config import PLANS
from jobs.cli import run
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import SimulationReport, simulate

TINY_PLAN = {"steps": 12, "batch_users": 48, "labelled_users": 48, "evaluate_every": 6}
# The platform's records cover ninety days from here.
STARTS_AT = datetime(2025, 3, 1, tzinfo=UTC)
TRAINED_AS_OF = "2025-05-01"
# Fitting a risk model takes seconds, so only tests that need one have it.
WITHOUT_RISK = "labels_min = 100000"
WITH_RISK = ("LOOKALIKE_RISK__LABELS_MIN", "10")


def invoke(*arguments: object, status: int = 0) -> dict[str, Any]:
    """Run `lookalike --json …`, check the exit status, and return the one object it prints."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        actual = run(["--json", *map(str, arguments)])
    assert actual == status, err.getvalue()
    report: dict[str, Any] = json.loads(out.getvalue())
    return report


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> SimulationReport:
    """Files of a simulated platform with known rings and evaders."""
    config = SimulatorConfig(
        num_users=400, events_per_user=20.0, share_loners=0.25, seed=5, starts_at=STARTS_AT
    )
    return simulate(config, tmp_path_factory.mktemp("platform"))


@pytest.fixture(scope="session")
def trained_workspace(platform: SimulationReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with events, labels and a model that is only good for testing; read only."""
    root = tmp_path_factory.mktemp("trained") / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        tiny = PLANS["fast"].model_copy(update=TINY_PLAN)
        patch.setitem(PLANS, "fast", tiny)
        invoke("init", "-w", root)
        settings = root / "lookalike.toml"
        settings.write_text(settings.read_text().replace("labels_min = 30", WITHOUT_RISK))
        invoke("ingest", "events", platform.events_file, "-w", root)
        invoke("ingest", "labels", platform.labels_file, "-w", root)
        invoke("train", "--preset", "fast", "--as-of", TRAINED_AS_OF, "-w", root)
    return root


@pytest.fixture
def workspace(trained_workspace: Path, tmp_path: Path) -> Path:
    """A copy of the trained workspace, to be changed at will."""
    return Path(shutil.copytree(trained_workspace, tmp_path / "workspace"))


@pytest.fixture(scope="session")
def built_workspace(trained_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a live build of everything; read only."""
    root = Path(shutil.copytree(trained_workspace, tmp_path_factory.mktemp("built") / "workspace"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*WITH_RISK)
        invoke("rebuild", "-w", root)
    return root
