"""The settings that the service reads, in one place: `lookalike.toml` and the environment."""

from pydantic import Field

from index.config import IndexConfig
from index.serve_config import ServeConfig
from store.settings import WorkspaceSettings


class ServiceSettings(WorkspaceSettings, extra="ignore"):
    """The sections of the service; the others are for the jobs."""

    index: IndexConfig = Field(default_factory=IndexConfig)
    serve: ServeConfig = Field(default_factory=ServeConfig)
