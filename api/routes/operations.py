"""For machines that watch: is it alive, is it ready, how does it do. Open to everyone."""

from prometheus_client.metrics_core import Metric
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.call import CONTEXT
from api.errors import AuditUnavailable
from api.metrics import CONTENT_TYPE, gauge
from api.routing import json_response
from api.services import Services
from index.errors import NoLiveBuild


def operation_routes() -> list[Route]:
    """Return the routes of this subject."""
    return [
        Route("/livez", livez, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


async def livez(request: Request) -> Response:
    """Answer as long as the event loop turns."""
    request.scope[CONTEXT].route = "/livez"
    return json_response({"status": "alive"})


async def readyz(request: Request) -> Response:
    """Answer 200 when a build is loaded and reads can be recorded; say what is degraded.

    Raises:
        NoLiveBuild: If nothing is loaded.
        AuditUnavailable: If reads would be refused.
    """
    request.scope[CONTEXT].route = "/readyz"
    services = _services(request)
    service = services.live.current()
    if not services.audit.accepts:
        raise AuditUnavailable("the audit's queue is full")
    freshness = service.freshness()
    degraded = services.live.status().error is not None
    return json_response(
        {
            "status": "degraded" if degraded else "ready",
            "build_id": service.build_id,
            "space_id": service.space_id,
            "data_as_of": service.data_as_of,
            "state": freshness.state,
            "age_seconds": round(freshness.age_seconds, 3),
        }
    )


async def metrics(request: Request) -> Response:
    """Answer in Prometheus' text format; it tells nothing about any user."""
    request.scope[CONTEXT].route = "/metrics"
    services = _services(request)
    return Response(services.metrics.exposition(_gauges(services)), media_type=CONTENT_TYPE)


def _gauges(services: Services) -> list[Metric]:
    gauges = [
        gauge(
            "lookalike_audit_rows_waiting",
            "Audit rows of one worker not written yet",
            services.audit.num_waiting,
        ),
        gauge(
            "lookalike_build_load_failed",
            "1 when the last attempt to load the live build failed and an older one is served",
            float(services.live.status().error is not None),
        ),
        gauge(
            "lookalike_users_left_out",
            "New or changed users of one worker for whom there is no room until the next rebuild",
            services.live.status().num_left_out,
        ),
    ]
    try:
        service = services.live.current()
    except NoLiveBuild:
        return gauges
    return [
        *gauges,
        gauge(
            "lookalike_build_info",
            "The build that is served",
            1,
            build_id=service.build_id,
            space_id=service.space_id,
        ),
        gauge(
            "lookalike_build_age_seconds",
            "Time since the build that is served was made",
            service.freshness().age_seconds,
        ),
        gauge("lookalike_build_users", "Users in the build that is served", service.num_users),
    ]


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services
