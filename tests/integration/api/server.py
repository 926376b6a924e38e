"""`python -m tests.integration.api.server`: the real service over real builds.

Only the encoder and the risk model are the index tests' fakes, so that no training is needed.
"""

import sys
from dataclasses import replace

from fastapi import FastAPI

import api.__main__
from index.config import IndexConfig
from index.live import LiveService
from index.service import LookalikeService
from store.database import Database
from store.erasures import ErasedUsers
from store.workspace import Workspace
from tests.index_fakes import open_fake_service


def application() -> FastAPI:
    """Return the application of one worker, with the fakes in it."""
    from api.app import create_app, make_services
    from api.logs import configure_logs

    configure_logs()
    workspace, settings = api.__main__.read_environment()
    services = make_services(workspace, index=settings.index, serve=settings.serve)
    live = LiveService(
        workspace,
        settings.index,
        read_erased=ErasedUsers(Database(workspace.ops_url)).read,
        open_service=open_service,
    )
    return create_app(replace(services, live=live), owns_process=True)


def open_service(workspace: Workspace, build_id: str, config: IndexConfig) -> LookalikeService:
    """Open a build with the fakes."""
    return open_fake_service(workspace, build_id, config)


if __name__ == "__main__":
    sys.exit(api.__main__.main(application_name=f"{__spec__.name}:application"))
