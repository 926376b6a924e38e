"""The live build as the service answers from it: without users who were erased since."""

from index.service import LookalikeService
from jobs.settings import Settings
from store.erasures import read_erased
from store.workspace import Workspace


def open_live(workspace: Workspace, settings: Settings) -> LookalikeService:
    """Load the live build; errors as those of `LookalikeService.open`."""
    return LookalikeService.open(
        workspace, config=settings.index, erased_users=read_erased(workspace)
    )
