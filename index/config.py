"""Settings of the index and of its gate; the defaults are the benchmarked ones."""

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from index.milvus.config import MilvusConfig


class IndexConfig(BaseModel, frozen=True, extra="forbid"):
    """How an index is built and served."""

    backend: Literal["faiss", "milvus"] = Field(
        "faiss",
        description="what searches among everyone: FAISS in this process, or a Milvus server",
    )
    exact_up_to: int = Field(
        5_000, ge=0, description="builds of up to this many users get no graph, all search is exact"
    )
    m: int = Field(16, ge=4, le=128, description="links per node of the HNSW graph")
    ef_construction: int = Field(
        200, ge=8, le=2_000, description="beam width while building the graph"
    )
    ef_search: int = Field(
        64, ge=8, le=4_096, description="least beam width while searching the graph"
    )
    ef_search_max: int = Field(
        1_024, ge=8, le=4_096, description="beam width up to which a build doubles it by itself"
    )
    recall_target: float = Field(
        0.99, ge=0, le=1, description="recall@10 at which a build stops widening the beam"
    )
    build_threads: int = Field(
        1, ge=1, le=64, description="threads building the graph; above 1 no two builds are the same"
    )
    search_threads: int = Field(
        1, ge=1, le=64, description="threads of a graph search with several queries at once"
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
    seed: int = Field(1, ge=0, lt=2**31, description="seed of the graph and of the sample")
    stale_after_seconds: float = Field(
        172_800.0, gt=0, description="age of a build from which answers say that they are stale"
    )
    query_events_max: int = Field(
        10_000, ge=1, le=1_000_000, description="most events of a query that brings its own"
    )
    query_string_chars_max: int = Field(
        16_384, ge=16, description="longest string in such an event, in characters"
    )
    milvus: MilvusConfig = Field(
        default_factory=MilvusConfig,
        description="the Milvus server that holds the vectors of builds, with `backend` set so",
    )

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if self.backend == "milvus" and not self.milvus.uri:
            raise ValueError('backend "milvus" needs an address: set `uri` in [index.milvus]')
        return self


class GateConfig(BaseModel, frozen=True, extra="forbid"):
    """What a build must show before it is published."""

    recall_min: float = Field(
        0.95, ge=0, le=1, description="least lower bound of recall@k against exact search"
    )
    k: int = Field(10, ge=1, le=100, description="neighbors per query when recall is measured")
    queries: int = Field(1_000, ge=10, le=100_000, description="users sampled as queries")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of that one-sided lower bound")
    poor_recall: float = Field(
        0.5, gt=0, le=1, description="a query whose recall is below this counts as poor"
    )
    poor_share_max: float = Field(0.05, ge=0, le=1, description="largest share of poor queries")
    shrink_max: float = Field(
        0.1, ge=0, le=1, description="largest share of users lost against the live build"
    )
    seed: int = Field(1, ge=0, lt=2**31, description="seed of the sample of queries")
