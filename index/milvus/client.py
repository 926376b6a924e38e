"""One Milvus server: every call has a deadline, and every failure is an error of ours.

The only module that knows pymilvus, which is imported when a server is first asked: it is an extra.

Shape key: `Q` queries, `K` neighbors, `D` dimensions, `M` entities.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from index.errors import (
    CollectionMissing,
    MilvusError,
    MilvusNotConfigured,
    MilvusUnavailable,
)
from index.milvus.config import MilvusConfig
from index.milvus.entities import (
    ENTRIES_PARTITION,
    ENTRY,
    FLAGS,
    NUMBERS,
    POLICIES,
    SENTINEL_PARTITION,
    VECTOR,
)
from index.milvus.expressions import EVERYONE
from index.vectors import Neighbors, Rows, Vectors

METRIC = "IP"
INSERT_SECONDS = 60.0
"""A server that is busy flushing takes one message in seconds, rarely in tens of them."""
CANNOT_CONNECT, COLLECTION_NOT_FOUND, COLLECTION_NOT_LOADED, ALIAS_NOT_FOUND = 2, 100, 101, 1600


class MilvusServer:
    """A connection, which threads may share; it is opened by the first call that needs it.

    Raises:
        MilvusNotConfigured: If pymilvus is not installed, or can't read the address.
        MilvusUnavailable: If the server is not there, here and in every call.
    """

    def __init__(self, config: MilvusConfig) -> None:
        self._config = config
        try:
            import grpc
            import pymilvus
        except ImportError as error:
            raise MilvusNotConfigured(
                "a Milvus server is set and pymilvus is missing: "
                "pip install --constraint constraints.txt '.[milvus]' in the checkout"
            ) from error
        self._pymilvus: Any = pymilvus
        self._failures = (pymilvus.MilvusException, grpc.RpcError, grpc.FutureTimeoutError)
        for name in ("pymilvus", "grpc._server"):  # they log with a traceback what they raise too
            logging.getLogger(name).setLevel(logging.CRITICAL)
        token = config.token.get_secret_value() if config.token is not None else ""
        try:
            with self._asking("connecting"):
                self._client: Any = pymilvus.MilvusClient(
                    uri=config.uri, token=token, timeout=config.timeout_seconds
                )
        except MilvusUnavailable:
            raise
        except MilvusError as error:
            raise MilvusNotConfigured(str(error)) from error

    def has(self, name: str) -> bool:
        """Tell whether there is a collection, or an alias, of this name."""
        with self._asking(f"looking for {name}"):
            return bool(self._client.has_collection(name, timeout=self._config.timeout_seconds))

    def create(self, name: str, *, dim: int, policies_max: int) -> None:
        """Make an empty collection, with a partition for its sentinel beside that of its entries.

        Args:
            name: Of the collection.
            dim: Numbers of a vector.
            policies_max: Most policies that an entity has.
        """
        kinds = self._pymilvus.DataType
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(ENTRY, kinds.INT64, is_primary=True)
        schema.add_field(VECTOR, kinds.FLOAT_VECTOR, dim=dim)
        for flag in FLAGS:
            schema.add_field(flag, kinds.BOOL)
        for number in NUMBERS:
            schema.add_field(f"{number}_min", kinds.INT64)
            schema.add_field(f"{number}_max", kinds.INT64)
        schema.add_field(POLICIES, kinds.ARRAY, element_type=kinds.INT32, max_capacity=policies_max)
        timeout = self._config.timeout_seconds
        with self._asking(f"creating {name}"):
            self._client.create_collection(
                name, schema=schema, consistency_level="Strong", timeout=timeout
            )
            self._client.create_partition(name, SENTINEL_PARTITION, timeout=timeout)

    def insert(
        self, name: str, columns: Mapping[str, Sequence[Any]], *, is_sentinel: bool = False
    ) -> None:
        """Add M entities, which must be few enough for one message."""
        partition = SENTINEL_PARTITION if is_sentinel else ENTRIES_PARTITION
        # The client takes no columns, only one dictionary an entity.
        rows = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        with self._asking(f"inserting into {name}"):
            self._client.insert(name, rows, partition_name=partition, timeout=INSERT_SECONDS)

    def seal(self, name: str, *, m: int, ef_construction: int) -> None:
        """Make what was inserted durable, index it, and load it into the server's memory.

        The embedded server searches without a graph: under a narrow filter its graph finds little.
        """
        timeout = self._config.load_timeout_seconds
        params = self._client.prepare_index_params()
        if self._config.is_embedded:
            params.add_index(VECTOR, index_type="FLAT", metric_type=METRIC, params={})
        else:
            params.add_index(
                VECTOR,
                index_type="HNSW",
                metric_type=METRIC,
                params={"M": m, "efConstruction": ef_construction},
            )
        with self._asking(f"flushing {name}"):
            self._client.flush(name, timeout=timeout)
        with self._asking(f"indexing {name}"):
            self._client.create_index(name, params, timeout=timeout)
        self.load(name)

    def load(self, name: str) -> None:
        """Load a collection into the server's memory; nothing happens where it is there."""
        with self._asking(f"loading {name}"):
            self._client.load_collection(name, timeout=self._config.load_timeout_seconds)

    def release(self, name: str) -> None:
        """Free the server's memory of a collection, which stays on its disk."""
        with self._asking(f"releasing {name}"):
            if self._client.has_collection(name, timeout=self._config.timeout_seconds):
                self._client.release_collection(name, timeout=self._config.timeout_seconds)

    def drop(self, name: str) -> None:
        """Remove a collection; a missing one is fine."""
        with self._asking(f"dropping {name}"):
            self._client.drop_collection(name, timeout=self._config.timeout_seconds)

    def dim(self, name: str) -> int:
        """Return how many numbers the vectors of a collection have."""
        with self._asking(f"describing {name}"):
            found = self._client.describe_collection(name, timeout=self._config.timeout_seconds)
        (vector,) = (field for field in found["fields"] if field["name"] == VECTOR)
        return int(vector["params"]["dim"])

    def num_stored(self, name: str) -> int:
        """Return how many entities are on the server's disk, sentinel included."""
        with self._asking(f"counting {name}"):
            found = self._client.get_collection_stats(name, timeout=self._config.timeout_seconds)
        return int(found["row_count"])

    def count(self, name: str, expression: str = EVERYONE) -> int:
        """Return how many entries fulfil an expression, of those that searches see."""
        with self._asking(f"counting in {name}"):
            (found,) = self._client.query(
                name,
                filter=expression,
                output_fields=["count(*)"],
                partition_names=[ENTRIES_PARTITION],
                consistency_level="Eventually",  # nothing is written once it is loaded
                timeout=self._config.timeout_seconds,
            )
        return int(found["count(*)"])

    def search(
        self,
        name: str,
        query_QD: Vectors,
        *,
        k: int,
        effort: int,
        expression: str = "",
        partition: str = ENTRIES_PARTITION,
    ) -> Neighbors:
        """Return the keys and inner products of about the k best of each query, best first.

        Args:
            name: Of the collection, or its alias.
            query_QD: As wide as the stored vectors.
            k: At most `RESULTS_MAX`.
            effort: Beam width.
            expression: What the entities must fulfil; all do if empty.
            partition: Where to look.
        """
        with self._asking(f"searching {name}"):
            answers = self._client.search(
                name,
                data=query_QD,
                limit=k,
                filter=expression,
                anns_field=VECTOR,
                output_fields=[ENTRY],
                partition_names=[partition],
                search_params={"metric_type": METRIC, "params": {"ef": max(effort, k)}},
                consistency_level="Eventually",
                timeout=self._config.timeout_seconds,
            )
        found = Neighbors.none(len(query_QD), k)
        for query, hits in enumerate(answers):
            found.rows_QK[query, : len(hits.ids)] = hits.ids
            found.score_QK[query, : len(hits.ids)] = hits.distances
        return found

    def vectors(self, name: str, expression: str, *, limit: int) -> tuple[Rows, Vectors]:
        """Return keys and vectors of the entries that fulfil an expression, at most `limit`."""
        with self._asking(f"reading {name}"):
            found = self._client.query(
                name,
                filter=expression,
                output_fields=[ENTRY, VECTOR],
                partition_names=[ENTRIES_PARTITION],
                limit=limit,
                consistency_level="Eventually",
                timeout=self._config.timeout_seconds,
            )
        keys = np.array([entity[ENTRY] for entity in found], dtype=np.int64)
        return keys, np.array([entity[VECTOR] for entity in found], dtype=np.float32)

    def alias_target(self, alias: str) -> str | None:
        """Return the name of the collection that an alias stands for, None where there is none."""
        try:
            with self._asking(f"reading the alias {alias}"):
                found = self._client.describe_alias(alias, timeout=self._config.timeout_seconds)
        except CollectionMissing:
            return None
        return str(found["collection_name"]) or None

    def set_alias(self, alias: str, name: str) -> None:
        """Let an alias stand for a collection, in one step where it stands for another."""
        timeout = self._config.timeout_seconds
        if self.alias_target(alias) is None:
            try:
                with self._asking(f"creating the alias {alias}"):
                    self._client.create_alias(name, alias, timeout=timeout)
                return
            except MilvusUnavailable:
                raise
            except MilvusError:
                # Milvus 2.3 keeps, unseen, the alias of a collection that was dropped.
                pass
        with self._asking(f"swinging the alias {alias}"):
            self._client.alter_alias(name, alias, timeout=timeout)

    def drop_alias(self, alias: str) -> None:
        """Remove an alias; a missing one is fine."""
        with self._asking(f"dropping the alias {alias}"):
            self._client.drop_alias(alias, timeout=self._config.timeout_seconds)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn what the client raises into an error of ours that says what was asked of whom."""
        try:
            yield
        except self._failures as error:
            code = getattr(error, "code", None)
            code = code() if callable(code) else code
            reason = " ".join(str(getattr(error, "message", "") or error).split())[:400]
            message = f"Milvus at {self._config.uri}: {what} failed: {reason}"
            if not isinstance(code, int) or code == CANNOT_CONNECT:  # gRPC's own codes are no int
                raise MilvusUnavailable(message) from error
            if code in (COLLECTION_NOT_FOUND, COLLECTION_NOT_LOADED, ALIAS_NOT_FOUND):
                raise CollectionMissing(message) from error
            raise MilvusError(message) from error
