"""All settings of a deployment: one section of `lookalike.toml` for each part."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from embedder.config import EmbedderConfig
from embedder.evaluation.config import EvaluationConfig
from index.config import GateConfig, IndexConfig
from index.risk.config import RingsConfig, RiskConfig
from index.serve_config import ServeConfig
from store.config import IngestConfig, SchemaConfig
from store.settings import WorkspaceSettings, check_environment


class Settings(WorkspaceSettings, env_prefix_target="all"):
    """The sections, in the order in which data flows.

    Pydantic reserves the name `schema`, so that field has an alias.
    """

    ingest: IngestConfig = Field(default_factory=IngestConfig)
    schema_: SchemaConfig = Field(default_factory=SchemaConfig, alias="schema")
    embedder: EmbedderConfig = Field(default_factory=EmbedderConfig)
    index: IndexConfig = Field(default_factory=IndexConfig)
    gate: GateConfig = Field(default_factory=GateConfig)
    risk: RiskConfig = Field(default_factory=RiskConfig)
    rings: RingsConfig = Field(default_factory=RingsConfig)
    evaluate: EvaluationConfig = Field(default_factory=EvaluationConfig)
    serve: ServeConfig = Field(default_factory=ServeConfig)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read the file and the environment, and check that every variable has its section.

        Raises:
            SettingsInvalid: If a section, an option, a value or a variable is wrong.
        """
        check_environment(section_names())
        return super().read(file)


def section_names() -> tuple[str, ...]:
    """Return the names of the sections of `lookalike.toml`, in order."""
    return tuple(
        field.alias or name for name, field in Settings.model_fields.items() if is_model(field)
    )


def is_model(field: FieldInfo) -> bool:
    """Tell whether a field is a table of its own, and no plain option."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
