"""What a run of the benchmark measures."""

from typing import Literal

from pydantic import BaseModel, Field

from index.config import IndexConfig

MB, GB = 2**20, 2**30


class LargeConfig(BaseModel, frozen=True, extra="forbid"):
    """Parameters of one run; written into its result."""

    users: int = Field(10_000_000, ge=2_000, description="users of the build")
    dim: int = Field(64, ge=8, description="dimensions of their vectors")
    queries: int = Field(1_000, ge=20, description="held-out queries that recall is measured on")
    timed_queries: int = Field(500, ge=20, description="single queries of each kind that are timed")
    threads: int = Field(2, ge=1, description="threads of the build and of the gate")
    recall_target: float = Field(
        0.99, ge=0, le=1, description="lower bound of recall that the build tunes for"
    )
    kind: Literal["auto", "hnsw", "ivf_flat", "ivf_sq8", "ivf_rabitq"] = Field(
        "auto", description="index that is built; auto lets the build measure and choose"
    )
    hub_correction: bool = Field(True, description="rank hubs lower, as the service does")
    memory_gb: float = Field(8.0, gt=0, description="most memory that a process may hold")
    seed: int = Field(0, ge=0, description="of users, vectors and queries")

    @property
    def index(self) -> IndexConfig:
        """Settings of the build: those that are shipped, but for what is named here."""
        return IndexConfig(
            kind=self.kind,
            recall_target=self.recall_target,
            hub_correction=self.hub_correction,
            build_threads=self.threads,
        )
