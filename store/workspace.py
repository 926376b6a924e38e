"""The directory that holds everything of one deployment."""

import re
from dataclasses import dataclass
from pathlib import Path

from store.errors import SettingsInvalid, WorkspaceMissing
from store.settings import configured_database_url

_SQLITE = re.compile(r"(?P<scheme>sqlite(\+\w+)?:)//(/(?P<path>.*))?")


@dataclass(frozen=True)
class Workspace:
    """Where things are; `database_url` wins over what `lookalike.toml` says of the database."""

    root: Path
    database_url: str | None = None

    @classmethod
    def open(cls, root: Path, *, database_url: str | None = None) -> "Workspace":
        """Return the workspace in this directory.

        Raises:
            WorkspaceMissing: If there is no `lookalike.toml` in it.
        """
        workspace = cls(root.absolute(), database_url)
        if not workspace.config_file.is_file():
            raise WorkspaceMissing(f'{root} is no workspace; run "lookalike init -w {root}"')
        return workspace

    @classmethod
    def create(cls, root: Path, *, database_url: str | None = None) -> "Workspace":
        """Make the folders of a workspace; those that exist stay as they are."""
        workspace = cls(root.absolute(), database_url)
        workspace.make_folders()
        return workspace

    def make_folders(self) -> None:
        """Make the folders that are missing: a copy or a backup may lack empty ones."""
        for folder in (
            self.lake_dir,
            self.manifests_dir,
            self.rejects_dir,
            self.models_dir,
            self.builds_dir,
            self.temporary_dir,
        ):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def config_file(self) -> Path:
        """The settings of this deployment."""
        return self.root / "lookalike.toml"

    @property
    def lake_dir(self) -> Path:
        """Part files of the event lake."""
        return self.root / "lake" / "events"

    @property
    def manifests_dir(self) -> Path:
        """One manifest an ingested file; they decide which part files count."""
        return self.root / "lake" / "manifests"

    @property
    def rejects_dir(self) -> Path:
        """Rows that could not be ingested, with line number and reason."""
        return self.root / "lake" / "rejects"

    @property
    def lake_lock_file(self) -> Path:
        """Held by whoever writes to the lake."""
        return self.root / "lake" / ".lock"

    @property
    def temporary_dir(self) -> Path:
        """Scratch space; safe to delete while nothing runs."""
        return self.root / "tmp"

    @property
    def ops_url(self) -> str:
        """URL of the operational database, as the settings say now; it may hold a password.

        Raises:
            SettingsInvalid: If the settings can't be read, or name a database without a file.
        """
        url = (
            self.database_url or configured_database_url(self.config_file) or "sqlite:///ops.sqlite"
        )
        sqlite = _SQLITE.fullmatch(url)
        if sqlite is None:
            return url
        path = sqlite["path"] or ":memory:"
        if path.startswith((":memory:", "file:")):
            raise SettingsInvalid("database_url: SQLite needs the path of a file here")
        return f"{sqlite['scheme']}///{self.root / path}"

    @property
    def models_dir(self) -> Path:
        """Trained encoders, one folder a space."""
        return self.root / "models"

    @property
    def builds_dir(self) -> Path:
        """Built indexes, one folder a build."""
        return self.root / "builds"

    @property
    def live_file(self) -> Path:
        """Names the live build and the one before."""
        return self.root / "live.json"
