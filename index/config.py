"""Settings of the index and of its gate; the defaults are the benchmarked ones."""

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from index.milvus.config import MilvusConfig

QUERY_EVENTS_MAX = 10_000
QUERY_STRING_CHARS_MAX = 16_384
"""More is refused at the service's door, whatever the settings say."""


class IndexConfig(BaseModel, frozen=True, extra="forbid"):
    """How an index is built and served."""

    backend: Literal["faiss", "milvus"] = Field(
        "faiss",
        description="what searches among everyone: FAISS, or what `kind` names, in this process, "
        "or a Milvus server",
    )
    kind: Literal["auto", "exact", "hnsw", "ivf_flat", "ivf_sq8", "ivf_rabitq", "symqg"] = Field(
        "auto",
        description="what finds neighbors among everyone in this process; auto measures and "
        "chooses, and is what Milvus needs; symqg is an extra",
    )
    exact_up_to: int = Field(
        5_000, ge=0, description="users up to which auto takes exact search unmeasured"
    )
    exact_budget_ms: float = Field(
        2.0, ge=0, description="time of one query up to which auto takes exact search"
    )
    m: int = Field(16, ge=4, le=128, description="links per node of the HNSW graph")
    ef_construction: int = Field(
        200, ge=8, le=2_000, description="beam width while building the graph"
    )
    ef_search: int = Field(
        64, ge=8, le=4_096, description="least beam width while searching the graph"
    )
    ef_search_max: int = Field(
        1_024, ge=8, le=4_096, description="beam width up to which a build widens it by itself"
    )
    recall_target: float = Field(
        0.99, ge=0, le=1, description="lower bound of recall@10 and recall@100 to tune for"
    )
    poor_share_target: float = Field(
        0.001, ge=0, le=1, description="upper bound of the share of queries with a recall below .5"
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of these one-sided bounds")
    tuning_queries: int = Field(
        3_000,
        ge=100,
        le=100_000,
        description="queries that an index is tuned on; none below .5 "
        "among 3,000 prove one in 1,000",
    )
    build_threads: int = Field(
        1, ge=1, le=64, description="threads building the index; above 1 no two graphs are the same"
    )
    search_threads: int = Field(
        1,
        ge=1,
        le=64,
        description="threads of a large exact search, and of an approximate one with several "
        "queries at once",
    )
    filter_bytes: int = Field(
        256 * 2**20,
        ge=0,
        description="memory for the users that filters let through and their indexes, per process "
        "and build",
    )
    hub_correction: bool = Field(
        True, description="rank users lower who are close to everybody (CSLS)"
    )
    hub_references: int = Field(
        2_000, ge=2, le=100_000, description="users sampled to see how close to everybody one is"
    )
    hub_nearest: int = Field(
        10, ge=1, le=100, description="nearest of those users that are averaged"
    )
    seed: int = Field(1, ge=0, lt=2**31, description="seed of the index and of the samples")
    delta_users_max: int = Field(
        50_000,
        ge=0,
        description="new and changed users that are searched before the next rebuild; each takes "
        "up to 12 bytes per dimension",
    )
    delta_exact_multiplications: int = Field(
        4_000_000,
        ge=0,
        description="such users × dimensions that are searched exactly, about a millisecond; "
        "above it a graph is grown",
    )
    stale_after_seconds: float = Field(
        172_800.0, gt=0, description="age of a build from which answers say that they are stale"
    )
    query_events_max: int = Field(
        QUERY_EVENTS_MAX,
        ge=1,
        le=QUERY_EVENTS_MAX,
        description="most events of a query that brings its own",
    )
    query_string_chars_max: int = Field(
        QUERY_STRING_CHARS_MAX,
        ge=16,
        le=QUERY_STRING_CHARS_MAX,
        description="longest string in such an event, in characters",
    )
    milvus: MilvusConfig = Field(
        default_factory=MilvusConfig,
        description="the Milvus server that holds the vectors of builds, with `backend` set so",
    )

    @model_validator(mode="after")
    def _suits_milvus(self) -> Self:
        if self.backend == "milvus" and not self.milvus.uri:
            raise ValueError('backend "milvus" needs an address: set `uri` in [index.milvus]')
        if self.backend == "milvus" and self.kind != "auto":
            raise ValueError(
                f'`kind` names {self.kind}, an index of this process; backend "milvus" takes "auto"'
            )
        return self


class GateConfig(BaseModel, frozen=True, extra="forbid"):
    """What a build must show before it is published."""

    recall_min: float = Field(
        0.98, ge=0, le=1, description="least lower bound of recall@10 and of recall@100"
    )
    queries: int = Field(3_000, ge=10, le=100_000, description="queries, half of them stored users")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of these one-sided bounds")
    poor_share_max: float = Field(
        0.003,
        ge=0,
        le=1,
        description="largest upper bound of the share of queries with a recall below .5; 3,000 "
        "queries of which four are that poor prove no less",
    )
    shrink_max: float = Field(
        0.1, ge=0, le=1, description="largest share of users lost against the live build"
    )
    seed: int = Field(1, ge=0, lt=2**31, description="seed of the sample of queries")
