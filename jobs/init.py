"""`lookalike init`: make a workspace, with all its options written down."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.options import toml_text
from store.durable import explain, write_atomic
from store.errors import FolderUnusable
from store.workspace import Workspace


@dataclass(frozen=True)
class InitReport:
    """Where the workspace is, and whether its settings are new."""

    workspace: str
    config_file: str
    created: bool

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return asdict(self)


def run(root: Path) -> InitReport:
    """Make the folders and write `lookalike.toml`; settings that are there stay as they are.

    Raises:
        FolderUnusable: If the directory can't be made or written to.
    """
    try:
        workspace = Workspace.create(root)
        created = not workspace.config_file.exists()
        if created:
            write_atomic(workspace.config_file, toml_text().encode())
    except OSError as error:
        raise FolderUnusable(f"{root} can't be made a workspace: {explain(error)}") from error
    return InitReport(str(workspace.root), str(workspace.config_file), created)
