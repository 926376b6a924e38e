"""One small platform, trained, built and served for all tests here."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from embedder.config import PLANS
from jobs.cli import run
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import SimulationReport, simulate
from store.workspace import Workspace
from tests.integration.api.serving import Server, make_key, serving
from tests.integration.bad_input.workspaces import ground_and_derived, known_user

SERVE = ("-m", "jobs.cli", "serve")
TINY_PLAN = {"steps": 8, "batch_users": 32, "labelled_users": 32, "evaluate_every": 4}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> SimulationReport:
    config = SimulatorConfig(num_users=300, events_per_user=15.0, share_loners=0.25, seed=7)
    return simulate(config, tmp_path_factory.mktemp("platform"))


@pytest.fixture(scope="module")
def workspace(
    platform: SimulationReport, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    """A workspace with events, labels, a model and a live build with risk; nothing may change."""
    root = tmp_path_factory.mktemp("whole") / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PLANS, "fast", PLANS["fast"].model_copy(update=TINY_PLAN))
        patch.setenv("LOOKALIKE_RISK__LABELS_MIN", "10")
        for command in (
            ("init",),
            ("ingest", "events", platform.events_file),
            ("ingest", "labels", platform.labels_file),
            ("train", "--preset", "fast"),
            ("rebuild",),
        ):
            assert run([*map(str, command), "-w", str(root)]) == 0
    workspace = Workspace.open(root)
    before = ground_and_derived(workspace)
    yield workspace
    assert ground_and_derived(workspace) == before


@pytest.fixture(scope="module")
def secret(workspace: Workspace) -> str:
    return make_key(workspace, "everything", "*")


@pytest.fixture(scope="module")
def server(
    workspace: Workspace, secret: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The service over that build; whatever was sent, it answers in the end, and logged no bug."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    with serving(workspace, log, program=SERVE) as server:
        yield server
        with server.client(secret) as client:
            assert client.get(f"/v1/users/{known_user(workspace)}/neighbors").status_code == 200
    assert "Traceback" not in log.read_text()


@pytest.fixture
def client(server: Server, secret: str) -> Iterator[httpx.Client]:
    with server.client(secret) as client:
        yield client


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    """A workspace without anything, to ingest into."""
    assert run(["init", "-w", str(tmp_path / "empty")]) == 0
    return Workspace.open(tmp_path / "empty")


@pytest.fixture
def copied(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the whole workspace, to be damaged at will."""
    return Workspace.open(Path(shutil.copytree(workspace.root, tmp_path / "copied")))
