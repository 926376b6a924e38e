"""The service as an ASGI application."""

import asyncio
import gc
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp

from api.audit import AuditWriter
from api.edge import Edge
from api.logs import UserHasher
from api.metrics import ServiceMetrics
from api.openapi import DESCRIPTION, TITLE, install_openapi
from api.pages.routes import page_routes
from api.routes.builds import build_routes
from api.routes.neighbors import neighbor_routes
from api.routes.operations import operation_routes
from api.routes.risk import risk_routes
from api.scopes import KEYS_REFRESH_SECONDS, ServedKeys
from api.services import Services
from api.work import WorkPool
from index.arrivals import Arrivals
from index.config import IndexConfig
from index.errors import NoLiveBuild, SpaceMismatch
from index.live import LiveService
from index.milvus.collections import collections_of
from index.serve_config import ServeConfig
from index.service import utc_now
from store.audit import record_all
from store.database import Database
from store.erasures import ErasedUsers
from store.errors import StoreError
from store.keys import KeyRing
from store.labels import LabelChanges
from store.workspace import Workspace

CHANGES_SECONDS_MAX: Final = 2.0
"""Erasures and labels must count within five seconds, whatever `poll_seconds` says."""

_log = structlog.get_logger()


class Application(FastAPI):
    """FastAPI with one layer around its routes, which answers all failures: `Edge`.

    Its own layers would do so again, or serve what no route here uses; they take as long as a
    search in a small gallery. Middleware and exception handlers that are added are not asked.
    """

    def build_middleware_stack(self) -> ASGIApp:
        """Return what a request goes through."""
        return Edge(self.router, self.state.services)


def create_app(services: Services, *, owns_process: bool = False) -> FastAPI:
    """Return the application of one worker; it starts its threads when it is served.

    Args:
        services: What its endpoints share.
        owns_process: Nothing else runs in this process, so that it may change how the interpreter
            collects garbage.
    """
    app = Application(
        title=TITLE,
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        lifespan=partial(_lifespan, owns_process=owns_process),
    )
    app.state.services = services
    app.router.routes.extend(
        [
            *neighbor_routes(),
            *risk_routes(),
            *build_routes(),
            *operation_routes(),
            *page_routes(),
        ]
    )
    install_openapi(app)
    return app


def make_services(workspace: Workspace, *, index: IndexConfig, serve: ServeConfig) -> Services:
    """Return what one worker's endpoints share; nothing is opened or started yet."""
    database = Database(workspace.ops_url)
    secret = (
        secrets.token_hex(32)
        if serve.session_secret is None
        else serve.session_secret.get_secret_value()
    )
    return Services(
        config=serve,
        secret=secret,
        workspace=workspace,
        live=LiveService(
            workspace,
            index,
            read_erased=ErasedUsers(database).read,
            read_labels=LabelChanges(database, clock=utc_now).read,
        ),
        keys=ServedKeys(KeyRing(database, refresh_seconds=KEYS_REFRESH_SECONDS)),
        audit=AuditWriter(
            partial(record_all, database),
            rows_max=serve.audit_queue_max,
            flush_seconds=serve.audit_flush_seconds,
        ),
        work=WorkPool(
            num_threads=serve.work_threads,
            queue_max=serve.work_queue_max,
            timeout_seconds=serve.work_timeout_seconds,
        ),
        remote=WorkPool(
            num_threads=serve.remote_threads,
            queue_max=serve.work_queue_max,
            timeout_seconds=serve.work_timeout_seconds,
            name="remote",
        ),
        metrics=ServiceMetrics(),
        hash_user=UserHasher(secret),
        collections=collections_of(index),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI, *, owns_process: bool) -> AsyncIterator[None]:
    services: Services = app.state.services
    services.audit.start()
    refresh = partial(_refresh, services, owns_process=owns_process)
    await refresh()
    arrivals = Arrivals(services.workspace, Database(services.workspace.ops_url), services.live)
    followers = [
        asyncio.create_task(
            _repeat(refresh, seconds=services.config.poll_seconds), name="follow-live"
        ),
        asyncio.create_task(_follow_changes(services), name="follow-changes"),
        asyncio.create_task(_follow_lake(services, arrivals), name="follow-lake"),
    ]
    try:
        yield
    finally:
        arrivals.stop()
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        services.work.stop()
        services.remote.stop()
        await asyncio.to_thread(services.audit.stop)


async def _follow_changes(services: Services) -> None:
    """Serve what the database says, whatever build is loading, for as long as the worker runs."""
    seconds = min(services.config.poll_seconds, CHANGES_SECONDS_MAX)
    await _repeat(partial(_take_changes, services), seconds=seconds)


async def _follow_lake(services: Services, arrivals: Arrivals) -> None:
    """Serve users who came or changed since the build, for as long as the worker runs."""
    seconds = services.config.delta_seconds
    if seconds:
        await _repeat(partial(_take_arrivals, arrivals), seconds=seconds)


async def _take_arrivals(arrivals: Arrivals) -> None:
    try:
        num_users = await asyncio.to_thread(arrivals.poll)
    except (NoLiveBuild, SpaceMismatch, StoreError) as error:
        _log.warning("arrivals_failed", reason=str(error))
        return
    if num_users:
        _log.info("users_arrived", num_users=num_users)


async def _repeat(step: Callable[[], Awaitable[None]], *, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await step()
        except Exception:  # noqa: BLE001 - the edge of a task: it must go on
            _log.exception("refresh_failed")


async def _take_changes(services: Services) -> None:
    if await asyncio.to_thread(services.live.follow_erasures):
        _log.info("users_erased", num_users=services.live.current().num_users)
    if await asyncio.to_thread(services.live.follow_labels):
        _log.info("labels_changed", num_violators=services.live.current().num_violators)


async def _refresh(services: Services, *, owns_process: bool) -> None:
    """Serve whichever build is live."""
    if not await asyncio.to_thread(services.live.refresh):
        return
    services.metrics.build_swapped()
    service = services.live.current()
    _log.info("build_live", build_id=service.build_id, num_users=service.num_users)
    if owns_process and gc.get_freeze_count() == 0:
        _spare_collections()


def _spare_collections() -> None:
    """Leave what lives by now out of garbage collections: some 400,000 objects of libraries.

    To look at all of them takes .2 s, in which nobody is answered, once in 100,000 requests or so.
    Builds are not in cycles, so that one is freed all the same when the next is served.
    """
    gc.collect()
    gc.freeze()
