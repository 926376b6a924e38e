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
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.app import create_app, make_services
from api.logs import configure_logs
from benchmarks.ann.ours import build_folder, open_service
from benchmarks.ann.ours_http import ROUND_TRIP_PATH, SEARCH_PATH
from index.config import IndexConfig
from index.live import LiveService
from index.serve_config import ServeConfig
from index.service import LookalikeService
from store.database import Database
from store.durable import write_atomic
from store.keys import create_key
from store.workspace import Workspace


class WithRoundTrips:
    """The application, and a path that gives an earlier answer of as many neighbors again.

    What that takes is what the server, the sockets and the client take.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._answers: dict[bytes, list[Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] != ROUND_TRIP_PATH:
            await self._app(scope, receive, send)
            return
        answer = self._answers.get(scope["query_string"])
        if answer is None:
            answer = await self._searched(scope, receive)
            self._answers[scope["query_string"]] = answer
        else:
            while (await receive()).get("more_body"):
                pass
        for message in answer:
            await send(message)

    async def _searched(self, scope: Scope, receive: Receive) -> list[Message]:
        """Return what a search is answered with."""
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        path = {"path": SEARCH_PATH, "raw_path": SEARCH_PATH.encode()}
        await self._app({**scope, **path}, receive, keep)
        return sent


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
    app = WithRoundTrips(create_app(replace(services, live=live), owns_process=True))
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
