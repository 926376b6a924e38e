"""The live build as the service answers from it: without users who were erased since."""

from index.service import LookalikeService
from jobs.settings import Settings
from store.database import Database
from store.erasures import erased_users
from store.workspace import Workspace


def open_live(workspace: Workspace, settings: Settings) -> LookalikeService:
    """Load the live build; errors as those of `LookalikeService.open`."""
    return LookalikeService.open(
        workspace, config=settings.index, erased_users=read_erased(workspace)
    )


def read_erased(workspace: Workspace) -> set[str]:
    """Return everyone who was erased, from the workspace's database."""
    database = Database(workspace.ops_url)
    try:
        database.migrate()
        return erased_users(database)
    finally:
        database.close()
