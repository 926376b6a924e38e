"""Reading `lookalike.toml` and the `LOOKALIKE_…` variables over it.

Each entry point has its own subclass with the sections that it needs, one field a section. What
all of them need stands before the sections.
"""

import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from store.errors import SettingsInvalid

PREFIX = "LOOKALIKE_"
DELIMITER = "__"


class WorkspaceSettings(BaseSettings):
    """What `lookalike.toml` says; `LOOKALIKE_SECTION__OPTION` wins over the file."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr = Field(
        SecretStr(""),
        description="SQLAlchemy URL of the operational database (labels, keys, audit, erasures); "
        "empty: ops.sqlite in the workspace; a relative path of SQLite starts there too; "
        "postgresql:// needs pip install --constraint constraints.txt '.[postgres]' in the "
        "checkout; a URL "
        f"with a password is better given as {PREFIX}DATABASE_URL",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment over what `read` passes from the file, and use nothing else."""
        return env_settings, init_settings

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read the file, if it is there, and the environment.

        Raises:
            SettingsInvalid: If the file is no TOML, or a section, an option or a value is wrong.
        """
        try:
            return cls(**_read_toml(file))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise SettingsInvalid(f"{file.name}: {_explain(first)}") from error
        except SettingsError as error:
            raise SettingsInvalid(f"environment: {error}") from error


class _DatabaseSettings(WorkspaceSettings, extra="ignore"):
    """The database alone: who needs it must not fail for a mistake in some section."""


def configured_database_url(file: Path) -> str:
    """Return what the file or the environment says of the database; empty if neither does.

    Raises:
        SettingsInvalid: If the file is no TOML, or this option is no string.
    """
    return _DatabaseSettings.read(file).database_url.get_secret_value()


def check_environment(sections: Collection[str], environ: Mapping[str, str] = os.environ) -> None:
    """Refuse variables that look like ours and name no section; a typo must not pass silently.

    Raises:
        SettingsInvalid: If there is a `LOOKALIKE_SECTION__OPTION` of an unknown section.
    """
    for name in environ:
        section, delimiter, _ = name.upper().removeprefix(PREFIX).partition(DELIMITER)
        if name.upper().startswith(PREFIX) and delimiter and section.lower() not in sections:
            raise SettingsInvalid(f"environment: {name} names no section of lookalike.toml")


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsInvalid(f"{file.name}: {error}") from error


def _explain(error: ErrorDetails) -> str:
    """Say in one line which option is wrong and why."""
    section, *path = [str(part) for part in error["loc"]]
    option = ".".join(path)
    reason = error["msg"][0].lower() + error["msg"][1:]
    if section in WorkspaceSettings.model_fields:
        return f"{section}: {reason}"
    if error["type"] == "extra_forbidden":
        return (
            f"[{section}] has no option {option!r}" if path else f"there is no section [{section}]"
        )
    place = f"[{section}] {option}".rstrip()
    return f"{place}: {reason}"
