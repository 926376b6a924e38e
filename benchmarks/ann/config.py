"""What a run of the benchmark measures, and on what."""

import os
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import BaseModel, Field, model_validator

CLUSTERED, SENTENCES, PLATFORM = "clustered", "sentences", "platform"
Section = Literal["frontier", "batch", "concurrency", "filters", "duplicates", "updates"]
SECTIONS: tuple[Section, ...] = get_args(Section)
QUICK_SIZES, QUICK_QUERIES, QUICK_SECONDS = (10_000,), 300, 1.0
QUICK_EFFORTS = 4


class BenchmarkConfig(BaseModel, frozen=True, extra="forbid"):
    """Parameters of one run; written into its results."""

    data: tuple[str, ...] = Field(
        (CLUSTERED,), min_length=1, description="clustered, sentences, platform, or a file each"
    )
    sizes: tuple[int, ...] = Field(
        (10_000, 200_000), min_length=1, description="vectors of the clustered data sets"
    )
    platform_users: tuple[int, ...] = Field(
        (10_000,), min_length=1, description="users of the simulated platforms"
    )
    texts: Path | None = Field(None, description="texts of sentences: a line each, or Parquet")
    texts_column: str | None = Field(None, description="the column of a Parquet file of texts")
    texts_max: int = Field(50_000, ge=1_000, description="most texts that are embedded")
    rows_max: int | None = Field(None, ge=1_000, description="most vectors read of a file")
    methods: tuple[str, ...] = Field((), description="names of methods; all if empty")
    sections: tuple[Section, ...] = Field(SECTIONS, min_length=1, description="what is measured")
    queries: int = Field(10_000, ge=100, description="held-out queries")
    repeats: int = Field(3, ge=1, description="passes over all methods and settings")
    builds: int = Field(1, ge=1, description="indexes built by each method, at most one a pass")
    seconds: float = Field(20.0, gt=0, description="most seconds of one measurement")
    build_seconds: float = Field(7_200.0, gt=0, description="most seconds of one build")
    threads: int = Field(os.cpu_count() or 1, ge=1, description="threads of builds and of batches")
    memory_mb: int = Field(
        12_000, ge=500, description="methods whose indexes exceed it together are measured in turns"
    )
    seed: int = Field(0, ge=0, description="of data, filters and groups")
    quick: bool = Field(False, description="few vectors and methods, to try it out")

    @property
    def clustered_sizes(self) -> tuple[int, ...]:
        """Sizes of the clustered data sets."""
        return QUICK_SIZES if self.quick else self.sizes

    @property
    def num_queries(self) -> int:
        """Held-out queries of each data set."""
        return QUICK_QUERIES if self.quick else self.queries

    @property
    def measure_seconds(self) -> float:
        """Most seconds of one measurement."""
        return min(QUICK_SECONDS, self.seconds) if self.quick else self.seconds

    @model_validator(mode="after")
    def _check_builds(self) -> Self:
        if self.builds > self.repeats:
            raise ValueError(f"{self.builds} builds need as many repeats; there are {self.repeats}")
        return self

    def identity(self) -> dict[str, object]:
        """Return what rows of one data set must agree on; methods and sections may be added."""
        left_out = {"data", "sizes", "platform_users", "texts", "methods", "sections"}
        left_out |= {"memory_mb", "build_seconds", "repeats"}
        return self.model_dump(mode="json", exclude=left_out)
