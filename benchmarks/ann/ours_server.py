"""`python -m benchmarks.ann.ours_server FOLDER THREADS`: the API over a build of the benchmark.

It prints its port and a key as one JSON object when it listens, and serves until it is ended. All
but the encoder is what `lookalike serve` runs, in one worker.
"""

import json
import socket
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from api.app import create_app, make_services
from api.logs import configure_logs
from benchmarks.ann.ours import build_folder, open_service
from index.config import IndexConfig
from index.live import LiveService
from index.serve_config import ServeConfig
from index.service import LookalikeService
from store.database import Database
from store.durable import write_atomic
from store.keys import create_key
from store.workspace import Workspace


def main() -> None:
    """Serve until a signal."""
    configure_logs()  # to standard error: nobody reads standard output after its first line
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    workspace = Workspace.create(folder / "workspace")
    now = datetime.now(UTC)
    database = Database(workspace.ops_url)
    database.migrate()
    key = create_key(database, f"benchmark {now.isoformat()}", ["neighbors:read"], now=now)
    database.close()
    pointer = {"live": build_folder(folder).name, "previous": None, "changed_at": now.isoformat()}
    write_atomic(workspace.live_file, json.dumps(pointer).encode())
    config = IndexConfig(search_threads=threads, stale_after_seconds=1e9)

    def open_build(workspace: Workspace, build_id: str, config: IndexConfig) -> LookalikeService:
        return open_service(folder, threads=threads)

    services = make_services(workspace, index=config, serve=ServeConfig())
    live = LiveService(workspace, config, open_service=open_build)
    app = create_app(replace(services, live=live))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        print(json.dumps({"port": listening.getsockname()[1], "key": key}), flush=True)
        server = uvicorn.Server(
            uvicorn.Config(
                app, loop="uvloop", http="httptools", ws="none", log_config=None, access_log=False
            )
        )
        server.run(sockets=[listening])


if __name__ == "__main__":
    main()
