"""Vector databases that keep documents: Qdrant's local mode, Milvus Lite, and zvec.

Shape key: see `benchmarks.ann.engines.engine`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ann.engines.engine import Flags, Ids, Params, Vectors, filter_name, padded

DOCUMENTS_AT_ONCE = 1_000
NAME = "vectors"


class QdrantEngine:
    """Qdrant's client without a server: an exact scan in NumPy, held in memory, never on disk."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        np.save(folder / "vectors.npy", vectors_ND)
        np.save(folder / "flags.npy", flags_NF)

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        from qdrant_client import QdrantClient, models

        vectors_ND = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        flags_NF = np.load(folder / "flags.npy", mmap_mode="r", allow_pickle=False)
        self._models: Any = models
        self._client = QdrantClient(":memory:")
        size = models.VectorParams(size=vectors_ND.shape[1], distance=models.Distance.DOT)
        self._client.create_collection(NAME, vectors_config=size)
        for rows in _blocks(len(vectors_ND)):
            self._client.upload_collection(
                NAME, vectors=vectors_ND[rows], ids=rows, payload=list(_flags(flags_NF, rows))
            )

    def tune(self, effort: Params) -> None:
        """An exact scan has nothing to tune."""

    def search(self, query_QD: Vectors, k: int) -> Ids:
        return self._ask(query_QD, k, None)

    def search_filtered(self, query_QD: Vectors, k: int, filter_number: int) -> Ids:
        models = self._models
        passes = models.FieldCondition(
            key=filter_name(filter_number), match=models.MatchValue(value=True)
        )
        return self._ask(query_QD, k, models.Filter(must=[passes]))

    def remove(self, ids_M: Ids) -> None:
        self._client.delete(NAME, points_selector=ids_M.tolist())

    def add(self, ids_M: Ids, vectors_MD: Vectors) -> None:
        self._client.upload_collection(NAME, vectors=vectors_MD, ids=ids_M.tolist())

    def close(self) -> None:
        self._client.close()

    def _ask(self, query_QD: Vectors, k: int, passes: Any) -> Ids:
        rows = []
        for query_D in query_QD:
            found = self._client.query_points(
                NAME, query=query_D, limit=k, query_filter=passes, with_payload=False
            )
            rows.append(padded([int(point.id) for point in found.points], k))
        return np.stack(rows)


class MilvusLiteEngine:
    """Milvus Lite, asked through its client; its graph is FAISS's."""

    has_servers = True

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        import pymilvus

        self._open(folder)
        schema = self._client.create_schema(auto_id=False)
        schema.add_field("id", pymilvus.DataType.INT64, is_primary=True)
        schema.add_field("v", pymilvus.DataType.FLOAT_VECTOR, dim=vectors_ND.shape[1])
        for number in range(flags_NF.shape[1]):
            schema.add_field(filter_name(number), pymilvus.DataType.BOOL)
        index = self._client.prepare_index_params()
        graph = {"M": params["m"], "efConstruction": params["ef_construction"]}
        index.add_index("v", index_type="HNSW", metric_type="IP", params=graph)
        self._client.create_collection(NAME, schema=schema, index_params=index)
        for rows in _blocks(len(vectors_ND)):
            documents = [
                {"id": row, "v": vectors_ND[row].tolist(), **flags}
                for row, flags in zip(rows, _flags(flags_NF, rows), strict=True)
            ]
            self._client.insert(NAME, documents)
        self._client.flush(NAME)
        self.close()

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        self._open(folder)
        self._client.load_collection(NAME)
        about = self._client.describe_collection(NAME)
        self._flags = [field["name"] for field in about["fields"] if field["name"][0] == "f"]

    def tune(self, effort: Params) -> None:
        self._params = {"metric_type": "IP", "params": {"ef": effort["ef"]}}

    def search(self, query_QD: Vectors, k: int) -> Ids:
        return self._ask(query_QD, k, "")

    def search_filtered(self, query_QD: Vectors, k: int, filter_number: int) -> Ids:
        return self._ask(query_QD, k, f"{filter_name(filter_number)} == true")

    def remove(self, ids_M: Ids) -> None:
        self._client.delete(NAME, ids=ids_M.tolist())

    def add(self, ids_M: Ids, vectors_MD: Vectors) -> None:
        no_flags = dict.fromkeys(self._flags, False)
        documents = [
            {"id": row, "v": vector_D.tolist(), **no_flags}
            for row, vector_D in zip(ids_M.tolist(), vectors_MD, strict=True)
        ]
        self._client.insert(NAME, documents)

    def close(self) -> None:
        self._client.close()

    def _open(self, folder: Path) -> None:
        import pymilvus

        self._client: Any = pymilvus.MilvusClient(str(folder / "milvus.db"))

    def _ask(self, query_QD: Vectors, k: int, passes: str) -> Ids:
        found = self._client.search(
            NAME, query_QD.tolist(), limit=k, filter=passes, search_params=self._params
        )
        return np.stack([padded([hit["id"] for hit in hits], k) for hits in found])


class ZvecEngine:
    """zvec, a database in the process, with an HNSW index of full vectors."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        import zvec

        self._zvec: Any = zvec
        graph = zvec.HnswIndexParam(
            metric_type=zvec.MetricType.IP,
            m=params["m"],
            ef_construction=params["ef_construction"],
        )
        schema = zvec.CollectionSchema(
            name=NAME,
            fields=[
                zvec.FieldSchema(
                    filter_name(number), zvec.DataType.BOOL, index_param=zvec.InvertIndexParam()
                )
                for number in range(flags_NF.shape[1])
            ],
            vectors=zvec.VectorSchema(
                "v", zvec.DataType.VECTOR_FP32, vectors_ND.shape[1], index_param=graph
            ),
        )
        self._collection: Any = zvec.create_and_open(path=str(folder / NAME), schema=schema)
        for rows in _blocks(len(vectors_ND)):
            self._insert(np.array(rows), vectors_ND[rows], list(_flags(flags_NF, rows)))
        self._collection.optimize(zvec.OptimizeOption(concurrency=threads))
        self._collection.flush()
        self.close()

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        import zvec

        self._zvec = zvec
        zvec.init(query_threads=threads)
        self._collection = zvec.open(str(folder / NAME))
        self._flags = [field.name for field in self._collection.schema.fields]

    def tune(self, effort: Params) -> None:
        self._effort = self._zvec.HnswQueryParam(ef=effort["ef"])

    def search(self, query_QD: Vectors, k: int) -> Ids:
        return self._ask(query_QD, k, None)

    def search_filtered(self, query_QD: Vectors, k: int, filter_number: int) -> Ids:
        return self._ask(query_QD, k, f"{filter_name(filter_number)} = true")

    def remove(self, ids_M: Ids) -> None:
        self._collection.delete([str(row) for row in ids_M.tolist()])

    def add(self, ids_M: Ids, vectors_MD: Vectors) -> None:
        no_flags: dict[str, bool] = dict.fromkeys(self._flags, False)
        self._insert(ids_M, vectors_MD, [no_flags] * len(ids_M))

    def close(self) -> None:
        self._collection.close()

    def _insert(self, ids_M: Ids, vectors_MD: Vectors, flags: list[dict[str, bool]]) -> None:
        documents = [
            self._zvec.Doc(id=str(row), vectors={"v": vector_D}, fields=passes)
            for row, vector_D, passes in zip(ids_M.tolist(), vectors_MD, flags, strict=True)
        ]
        self._collection.insert(documents)

    def _ask(self, query_QD: Vectors, k: int, passes: str | None) -> Ids:
        rows = []
        for query_D in query_QD:
            query = self._zvec.Query(field_name="v", vector=query_D, param=self._effort)
            found = self._collection.query(query, topk=k, filter=passes, output_fields=[])
            rows.append(padded([int(document.id) for document in found], k))
        return np.stack(rows)


def _blocks(num: int) -> Iterator[list[int]]:
    for start in range(0, num, DOCUMENTS_AT_ONCE):
        yield list(range(start, min(start + DOCUMENTS_AT_ONCE, num)))


def _flags(flags_NF: Flags, rows: list[int]) -> Iterator[dict[str, bool]]:
    """Yield the attributes of each row."""
    for passes in np.asarray(flags_NF[rows]).tolist():
        yield {filter_name(number): value for number, value in enumerate(passes)}
