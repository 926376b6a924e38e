"""`python -m api`: serves a workspace over HTTP.

Each worker is a process of its own. Threads of numerical libraries are bounded before those are
loaded, and all that the workers must agree on travels in environment variables.
"""

import argparse
import os
import secrets
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from api.settings import ServiceSettings
from index.serve_config import check_address
from store.errors import StoreError
from store.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI

    from index.serve_config import ServeConfig

WORKSPACE: Final = "LOOKALIKE_WORKSPACE"
SESSION_SECRET: Final = "LOOKALIKE_SERVE__SESSION_SECRET"
METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
THREAD_LIMITS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
APPLICATION: Final = "api.__main__:application"
HEALTH_CHECK_SECONDS: Final = 30


def main(arguments: list[str] | None = None, *, application_name: str = APPLICATION) -> int:
    """Serve until a signal stops it; returns the exit status."""
    options = _parse(arguments)
    _set_environment(options)
    try:
        workspace, settings = read_environment()
        check_address(settings.serve.host, settings.serve.port)
        _migrate(workspace)
    except (StoreError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    if settings.serve.session_secret is None:
        os.environ[SESSION_SECRET] = secrets.token_hex(32)
    with tempfile.TemporaryDirectory(prefix="lookalike-metrics-") as folder:
        os.environ[METRICS_FOLDER] = folder
        return _run(settings.serve, application_name)


def application() -> "FastAPI":
    """Return the application of one worker, from the environment."""
    from api.app import create_app, make_services
    from api.logs import configure_logs

    configure_logs()
    workspace, settings = read_environment()
    services = make_services(workspace, index=settings.index, serve=settings.serve)
    return create_app(services, owns_process=True)


def read_environment() -> tuple[Workspace, ServiceSettings]:
    """Return the workspace and the settings that this process was started with.

    Raises:
        StoreError: If there is no workspace, or its settings are wrong.
    """
    workspace = Workspace.open(Path(os.environ[WORKSPACE]))
    return workspace, ServiceSettings.read(workspace.config_file)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m api", description="Serve a workspace.")
    parser.add_argument(
        "-w",
        "--workspace",
        default=os.environ.get(WORKSPACE),
        required=WORKSPACE not in os.environ,
        help=f"directory of the deployment, or {WORKSPACE}",
    )
    parser.add_argument("--host", help="address to listen on; over [serve] host")
    parser.add_argument("--port", type=int, help="port to listen on; over [serve] port")
    parser.add_argument("--workers", type=int, help="processes; over [serve] workers")
    return parser.parse_args(arguments)


def _set_environment(options: argparse.Namespace) -> None:
    """Hand the options on to the workers, and bound the threads of each."""
    os.environ[WORKSPACE] = options.workspace
    for name in ("host", "port", "workers"):
        if getattr(options, name) is not None:
            os.environ[f"LOOKALIKE_SERVE__{name.upper()}"] = str(getattr(options, name))
    for name in THREAD_LIMITS:
        os.environ.setdefault(name, "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads must not spin


def _migrate(workspace: Workspace) -> None:
    """Bring the operational database to its newest form once, before workers open it."""
    from store.database import Database

    database = Database(workspace.ops_url)
    try:
        database.migrate()
    finally:
        database.close()


def _run(config: "ServeConfig", application_name: str) -> int:
    import uvicorn

    from api.logs import configure_logs

    configure_logs()
    # Uvicorn stops gracefully, then raises the signal again: it must reach the clean-up above.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        uvicorn.run(
            application_name,
            factory=True,
            host=config.host,
            port=config.port,
            workers=config.workers,
            loop="uvloop",
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=config.shutdown_seconds,
            timeout_worker_healthcheck=HEALTH_CHECK_SECONDS,
        )
    except SystemExit as stop:
        return 0 if not stop.code else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
