"""The live build as the service answers from it: without users erased since, with labels of now."""

from index.service import LookalikeService, utc_now
from jobs.settings import Settings
from store.database import Database
from store.erasures import read_erased
from store.labels import LabelStore
from store.workspace import Workspace


def open_live(workspace: Workspace, settings: Settings) -> LookalikeService:
    """Load the live build; errors as those of `LookalikeService.open`."""
    service = LookalikeService.open(
        workspace, config=settings.index, erased_users=read_erased(workspace)
    )
    database = Database(workspace.ops_url)
    try:
        labels = LabelStore(database).changed_since(service.data_as_of, now=utc_now())
    finally:
        database.close()
    return service.answering_for(service.population.with_labels(labels))
