"""How risky users are, and the features that the risk rests on."""

from io import BytesIO
from typing import Any, Final

import pyarrow as pa
from starlette.responses import Response

from api.call import Call
from api.errors import AnswerTypeRefused, UserNotFound
from api.negotiation import preferred_media_type
from api.risk_schemas import BatchRiskAnswer, FeaturesAnswer, RiskAnswerBody
from api.routes.neighbors import UNKNOWN_USER
from api.routing import GuardedRoute, json_response
from api.schemas import FeaturesRequest, RiskRequest
from api.shapes import features_rows, meta_of, risk_body
from index.answers import UnknownUser

ARROW: Final = "application/vnd.apache.arrow.stream"
JSON: Final = "application/json"


def risk_routes() -> list[GuardedRoute]:
    """Return the routes of this subject."""
    return [
        GuardedRoute(
            "/v1/users/{user_id:path}/risk",
            user_risk,
            scope="risk:read",
            methods=["GET"],
            tags=["risk"],
            summary="Risk of a user",
            failures=(404, 422, 503),
        ),
        GuardedRoute(
            "/v1/risk:batch",
            risk_batch,
            scope="risk:read",
            methods=["POST"],
            tags=["risk"],
            summary="Risk of up to 1,000 users",
            failures=(408, 413, 415, 422, 503),
        ),
        GuardedRoute(
            "/v1/features:batch",
            features_batch,
            scope="features:read",
            methods=["POST"],
            tags=["features"],
            summary="Neighbor features of up to 10,000 users, as JSON or as an Arrow stream",
            failures=(406, 408, 413, 415, 422, 503),
            response_model=FeaturesAnswer,
            responses={200: {"content": {ARROW: {"schema": {"type": "string"}}}}},
        ),
    ]


async def user_risk(call: Call, user_id: str) -> RiskAnswerBody:
    """Say how likely a user is a violator, with an interval, and to which ring it belongs."""
    service = call.services.live.current()
    call.audit_reads("risk.read", [user_id])
    answer = (await call.services.work.run(lambda: service.risk_of_users([user_id])))[0]
    if isinstance(answer, UnknownUser):
        raise UserNotFound(UNKNOWN_USER)
    return {**risk_body(answer), "meta": meta_of(call, service, None)}


async def risk_batch(call: Call, body: RiskRequest) -> BatchRiskAnswer:
    """Say the risks in the order asked; `status` tells of users who are not known."""
    service = call.services.live.current()
    call.audit_reads("risk.batch", body.user_ids)
    answers = await call.services.work.run(lambda: service.risk_of_users(body.user_ids))
    return {
        "risks": [risk_body(answer) for answer in answers],
        "meta": meta_of(call, service, None),
    }


async def features_batch(call: Call, body: FeaturesRequest) -> Response:
    """Return the features in the order asked; `found` tells of users who are not known.

    They are what the risk model itself reads, from the same function.
    """
    media_type = preferred_media_type(call.headers.get("accept"), offered=(JSON, ARROW))
    if media_type is None:
        raise AnswerTypeRefused(f"accept {JSON} or {ARROW}")
    service = call.services.live.current()
    call.audit_reads("features.batch", body.user_ids)
    meta = meta_of(call, service, None)

    def answer() -> Response:
        table = service.features_of_users(body.user_ids)
        if media_type == ARROW:
            return Response(_arrow_stream(table, dict(meta)), media_type=ARROW)
        return json_response({"features": features_rows(table), "meta": meta})

    return await call.services.work.run(answer)


def _arrow_stream(table: pa.Table, meta: dict[str, Any]) -> bytes:
    """Return the table as an Arrow IPC stream; `meta` is in the schema's metadata."""
    described = table.replace_schema_metadata(
        {f"lookalike.{name}": _text(value) for name, value in meta.items()}
    )
    sink = BytesIO()
    with pa.ipc.new_stream(sink, described.schema) as writer:
        writer.write_table(described)
    return sink.getvalue()


def _text(value: object) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
