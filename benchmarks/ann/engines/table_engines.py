"""Databases that run in the process and take tables of Arrow: DuckDB with vss, and LanceDB.

Shape key: see `benchmarks.ann.engines.engine`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.ann.engines.engine import (
    ROWS_AT_ONCE,
    Flags,
    Ids,
    Params,
    Vectors,
    filter_name,
    padded,
)


class DuckdbEngine:
    """DuckDB's extension vss, an HNSW index that a scan with ORDER BY and LIMIT uses."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        dim = vectors_ND.shape[1]
        self._open(folder, threads)
        names = [filter_name(number) for number in range(flags_NF.shape[1])]
        columns = "".join(f", {name} BOOLEAN" for name in names)
        self._connection.execute(f"CREATE TABLE t (id BIGINT, v FLOAT[{dim}]{columns})")
        for block in _arrow_blocks(vectors_ND, flags_NF):
            self._connection.register("block", block)
            self._connection.execute(
                f"INSERT INTO t SELECT * REPLACE (v::FLOAT[{dim}] AS v) FROM block"
            )
        self._connection.execute(
            "CREATE INDEX h ON t USING HNSW (v) WITH (metric = 'l2sq', "
            f"m = {params['m']}, ef_construction = {params['ef_construction']})"
        )
        self.close()

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        self._open(folder, threads)

    def tune(self, effort: Params) -> None:
        self._connection.execute(f"SET hnsw_ef_search = {effort['ef']}")

    def search(self, query_QD: Vectors, k: int) -> Ids:
        return self._ask(query_QD, k, "")

    def search_filtered(self, query_QD: Vectors, k: int, filter_number: int) -> Ids:
        return self._ask(query_QD, k, f"WHERE {filter_name(filter_number)}")

    def session(self) -> "DuckdbEngine":
        other = DuckdbEngine()
        other._connection = self._connection.cursor()
        return other

    def remove(self, ids_M: Ids) -> None:
        self._connection.execute("DELETE FROM t WHERE id IN (SELECT unnest(?))", [ids_M.tolist()])

    def add(self, ids_M: Ids, vectors_MD: Vectors) -> None:
        self._connection.register("added", _arrow_table(ids_M, vectors_MD, {}))
        dim = vectors_MD.shape[1]
        self._connection.execute(f"INSERT INTO t (id, v) SELECT id, v::FLOAT[{dim}] FROM added")

    def close(self) -> None:
        self._connection.close()

    def _open(self, folder: Path, threads: int) -> None:
        import duckdb
        import duckdb_extension_vss

        (extension,) = Path(duckdb_extension_vss.__file__).parent.rglob("vss.duckdb_extension")
        self._connection: Any = duckdb.connect(
            str(folder / "vectors.duckdb"), config={"threads": threads}
        )
        home = folder / "extensions"
        self._connection.execute(f"SET extension_directory = '{home}'")
        self._connection.execute(f"INSTALL '{extension}'")
        self._connection.execute("LOAD vss")
        self._connection.execute("SET hnsw_enable_experimental_persistence = true")

    def _ask(self, query_QD: Vectors, k: int, where: str) -> Ids:
        statement = (
            f"SELECT id FROM t {where} ORDER BY array_distance(v, "
            f"?::FLOAT[{query_QD.shape[1]}]) LIMIT {k}"
        )
        rows = []
        for query_D in query_QD:
            answer = self._connection.execute(statement, [query_D.tolist()]).fetchall()
            rows.append(padded([row[0] for row in answer], k))
        return np.stack(rows)


class LanceEngine:
    """LanceDB: partitions with a graph of scalar codes each, refined by the true distance."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        import lancedb
        from lancedb.index import Bitmap, HnswSq

        blocks = list(_arrow_blocks(vectors_ND, flags_NF))
        table = lancedb.connect(str(folder)).create_table("t", pa.concat_tables(blocks))
        config = HnswSq(
            distance_type="l2", m=params["m"], ef_construction=params["ef_construction"]
        )
        table.create_index("v", config=config)
        for number in range(flags_NF.shape[1]):
            table.create_index(filter_name(number), config=Bitmap())

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        import lancedb

        self._table: Any = lancedb.connect(str(folder)).open_table("t")

    def tune(self, effort: Params) -> None:
        self._effort = effort

    def search(self, query_QD: Vectors, k: int) -> Ids:
        return self._ask(query_QD, k, None)

    def search_filtered(self, query_QD: Vectors, k: int, filter_number: int) -> Ids:
        return self._ask(query_QD, k, filter_name(filter_number))

    def remove(self, ids_M: Ids) -> None:
        self._table.delete(f"id IN ({','.join(map(str, ids_M.tolist()))})")

    def add(self, ids_M: Ids, vectors_MD: Vectors) -> None:
        flags = [name for name in self._table.schema.names if name not in ("id", "v")]
        nothing = pa.array(np.zeros(len(ids_M), dtype=np.bool_))
        self._table.add(_arrow_table(ids_M, vectors_MD, dict.fromkeys(flags, nothing)))

    def close(self) -> None:
        """Nothing was started."""

    def _ask(self, query_QD: Vectors, k: int, where: str | None) -> Ids:
        refine = self._effort["refine"]
        beam = max(self._effort["ef"], k * refine)  # a narrower one is refused
        rows = []
        for query_D in query_QD:
            search = self._table.search(query_D, vector_column_name="v").distance_type("l2")
            search = search.limit(k).ef(beam).refine_factor(refine)
            if where is not None:
                search = search.where(where, prefilter=True)
            found = search.select(["id", "_distance"]).to_arrow()["id"]
            rows.append(padded(found.to_numpy(), k))
        return np.stack(rows)


def _arrow_blocks(vectors_ND: Vectors, flags_NF: Flags) -> Iterator[pa.Table]:
    for start in range(0, len(vectors_ND), ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, len(vectors_ND))
        flags = {
            filter_name(number): pa.array(flags_NF[start:stop, number])
            for number in range(flags_NF.shape[1])
        }
        yield _arrow_table(np.arange(start, stop), vectors_ND[start:stop], flags)


def _arrow_table(ids_M: Ids, vectors_MD: Vectors, flags: dict[str, Any]) -> pa.Table:
    flat = pa.array(np.ascontiguousarray(vectors_MD).ravel())
    vectors = pa.FixedSizeListArray.from_arrays(flat, vectors_MD.shape[1])
    return pa.table({"id": pa.array(ids_M, pa.int64()), "v": vectors, **flags})
