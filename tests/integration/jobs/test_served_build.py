"""What a worker holds of a build it serves."""

import gc
import weakref
from pathlib import Path

from index.answers import Filter, NeighborRequest
from index.config import IndexConfig
from index.service import LookalikeService
from store.workspace import Workspace
from tests.integration.jobs.test_rebuild import live_build, some_users


def test_a_build_is_freed_without_a_collection_of_garbage(built_workspace: Path) -> None:
    """A worker leaves the first build that it serves out of all of them."""
    users = some_users(live_build(built_workspace), 5)
    opened = Workspace.open(built_workspace)
    service = LookalikeService.open(opened, config=IndexConfig())
    for request in (
        NeighborRequest(k=10, explain=True),
        NeighborRequest(known_violators=True, filter=Filter(min_events=3)),
        NeighborRequest(purpose="same_kind", count="behaviors", members=2),
    ):
        service.neighbors_of_users(users, request)
    service.risk_of_users(users)
    service.features_of_users(users)
    service.profile(users[0])
    parts = [service, service.build, service.embedder, service.population]
    held = [weakref.ref(part) for part in parts]
    later = service.without_users(users[:1])

    gc.disable()
    try:
        del parts, later, service
        assert [part() for part in held] == [None] * len(held)
    finally:
        gc.enable()
