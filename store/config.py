"""Settings of the store: how files are ingested and what columns mean."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from store.schema import Role


class IngestConfig(BaseModel, frozen=True, extra="forbid"):
    """Limits of an ingest; the defaults suit one machine with 4 GB of memory."""

    rejects_share_max: float = Field(
        0.01, ge=0, le=1, description="a file with a larger share of rejected rows is refused whole"
    )
    id_chars_max: int = Field(
        1024, ge=16, le=1024, description="longest user_id, event_type and event_id in characters"
    )
    string_chars_max: int = Field(
        16_384, ge=16, description="longest value of any other string column in characters"
    )
    line_bytes_max: int = Field(
        1 << 20, ge=1024, description="longest line (or quoted CSV row) of a text file in bytes"
    )
    columns_max: int = Field(256, ge=3, description="most columns of a file")
    future_seconds_max: int = Field(
        86_400, ge=0, description="how far ahead of now a time may lie before its row is rejected"
    )
    part_rows_min: int = Field(
        400_000, ge=1, description="rows a part file collects before it is closed at a day border"
    )
    part_rows_max: int = Field(
        2_000_000, ge=1, description="a day with more rows than this gets several part files"
    )
    memory_limit_mb: int = Field(
        1500, ge=512, description="memory of the query engine in megabytes; above it spills to disk"
    )
    threads: int = Field(2, ge=1, description="threads of the query engine")


def _as_roles(value: object) -> object:
    """Accept a single role where a list is meant."""
    return [value] if isinstance(value, str) else value


Roles = Annotated[tuple[Role, ...], BeforeValidator(_as_roles), Field(min_length=1)]


class SchemaConfig(BaseModel, frozen=True, extra="forbid"):
    """How the roles of columns are inferred, and the operator's overrides."""

    target: str | None = Field(
        None, description="the target column (item, page, place, peer); inferred if not given"
    )
    roles: Mapping[str, Roles] = Field(
        default_factory=dict, description="column name to its role or list of roles"
    )
    sample_events_max: int = Field(
        1_000_000, ge=1000, description="about how many events (of whole users) are looked at"
    )
    category_integer_values_max: int = Field(
        48, ge=3, description="an integer column with at most so many values is a category too"
    )
    category_integer_rows_min: int = Field(
        1000, ge=1, description="rows needed before an integer column may be a category too"
    )
    target_values_min: int = Field(
        64, ge=2, description="fewer distinct values than this make a category, never a target"
    )
    target_shared_share_min: float = Field(
        0.05, ge=0, le=1, description="share of a target's rows whose value several users have"
    )
    unique_share_min: float = Field(
        0.95, gt=0, le=1, description="distinct values per row that count as unique per row"
    )
    text_words_min: float = Field(4.0, ge=1, description="mean words of free text")
    text_distinct_share_min: float = Field(
        0.5, gt=0, le=1, description="distinct values per row from which long strings are free text"
    )
    title_spaces_share_min: float = Field(
        0.1, gt=0, le=1, description="share of values with a space that makes a target text too"
    )
