"""The service behind HTTP, as one of the benchmark's engines, and the client that asks it.

The client does what one written in C would: a request is one packet, and `httptools` reads the
answer. Python's `http.client` sends two and parses headers as mail, half a millisecond a request.

Shape key: see `benchmarks.ann.engines.engine`.
"""

import json
import socket
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httptools
import numpy as np
from pydantic_core import from_json, to_json

from benchmarks.ann.engines.engine import Flags, Ids, Params, Vectors, padded
from benchmarks.ann.ours import SPACE_ID, make_build

SEARCH_PATH, ROUND_TRIP_PATH = "/v1/neighbors:query", "/round-trip"
SERVER_SECONDS = 120.0
RECEIVE_BYTES = 65_536


class HttpEngine:
    """The service in a process of its own, over one connection that stays open."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        make_build(vectors_ND, folder, params, threads=threads)

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.ann.ours_server", str(folder), str(threads)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        told = json.loads(self._server.stdout.readline())
        self._port, self._key = int(told["port"]), str(told["key"])
        self._connection = Connection(self._port, self._key)

    def tune(self, effort: Params) -> None:
        self._ef = effort.get("ef")

    def search(self, query_QD: Vectors, k: int) -> Ids:
        return np.stack([self._ask(query_D, k) for query_D in query_QD])

    def round_trip(self, query_QD: Vectors, k: int) -> Ids:
        return np.stack([self._ask(query_D, k, f"{ROUND_TRIP_PATH}?{k}") for query_D in query_QD])

    def session(self) -> "HttpEngine":
        other = HttpEngine()
        other._port, other._key, other._ef = self._port, self._key, self._ef
        other._connection = Connection(self._port, self._key)
        return other

    def close(self) -> None:
        """Close the connection, and end the server unless this is a session of another's."""
        self._connection.close()
        server = getattr(self, "_server", None)
        if server is not None:
            server.terminate()
            server.wait(SERVER_SECONDS)
            server.stdout.close()

    def _ask(self, query_D: Vectors, k: int, path: str = SEARCH_PATH) -> Ids:
        body = {
            "query": {"vector": query_D.tolist(), "space_id": SPACE_ID},
            "k": k,
            "params": {} if self._ef is None else {"ef_search": self._ef},
        }
        try:
            status, answer = self._connection.ask(path, to_json(body))
        except ConnectionError:  # it was idle, so the server closed it
            self._connection.close()
            self._connection = Connection(self._port, self._key)
            status, answer = self._connection.ask(path, to_json(body))
        if status != HTTPStatus.OK:
            raise RuntimeError(f"status {status}: {answer.get('detail')}")
        return padded([int(hit["user_id"]) for hit in answer["neighbors"]], k)


class Connection:
    """An open connection to a local server that answers in JSON."""

    def __init__(self, port: int, key: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), SERVER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = (
            f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )

    def ask(self, path: str, body: bytes) -> tuple[int, Any]:
        """Return the status and the content of the answer to a POST.

        Raises:
            ConnectionError: If the server closed the connection.
        """
        head = f"POST {path} HTTP/1.1\r\n{self._headers}{len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        answer = _Answer()
        parser = httptools.HttpResponseParser(answer)
        while not answer.is_complete:
            received = self._socket.recv(RECEIVE_BYTES)
            if not received:
                raise ConnectionResetError("the server closed the connection")
            parser.feed_data(received)
        return parser.get_status_code(), from_json(b"".join(answer.parts))

    def close(self) -> None:
        """Close it."""
        self._socket.close()


class _Answer:
    """What the parser is told of an answer."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.is_complete = False

    def on_body(self, part: bytes) -> None:
        self.parts.append(part)

    def on_message_complete(self) -> None:
        self.is_complete = True
