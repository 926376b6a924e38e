"""From what the index answers to what goes on the wire."""

from typing import Any

from api.build_schemas import BuildBody, OpsMeta
from api.call import Call
from api.risk_schemas import BandRuleBody, RingBody, RiskBody
from api.schemas import HitBody, MemberBody, Meta, NeighborsAnswer
from index.answers import (
    BandRule,
    Hit,
    Member,
    NeighborAnswer,
    RingInfo,
    RiskAnswer,
    SearchMode,
    UnknownUser,
)
from index.builds import BuildInfo
from index.errors import NoLiveBuild
from index.service import LookalikeService


def meta_of(call: Call, service: LookalikeService, search_mode: SearchMode | None) -> Meta:
    """Return what an answer rests on."""
    freshness = service.freshness()
    return {
        "request_id": call.request_id,
        "build_id": service.build_id,
        "space_id": service.space_id,
        "data_as_of": service.data_as_of,
        "search_mode": search_mode,
        "state": freshness.state,
        "age_seconds": round(freshness.age_seconds, 3),
    }


def builds_meta(call: Call) -> OpsMeta:
    """Return what ties an answer about builds to the build that is served, if one is."""
    try:
        service = call.services.live.current()
    except NoLiveBuild:
        service = None
    return {
        "request_id": call.request_id,
        "build_id": service.build_id if service else None,
        "space_id": service.space_id if service else None,
        "data_as_of": service.data_as_of if service else None,
        "search_mode": None,
        "state": service.freshness().state if service else None,
    }


def neighbors_answer(
    call: Call, service: LookalikeService, answer: NeighborAnswer
) -> NeighborsAnswer:
    """Return the answer to one search."""
    return {
        "user_id": answer.user_id,
        "num_events": answer.num_events,
        "neighbors": [hit_body(hit) for hit in answer.hits],
        "meta": meta_of(call, service, answer.search_mode),
    }


def hit_body(hit: Hit) -> HitBody:
    """Return one neighbor; channels and members only where they were asked for."""
    body: HitBody = {
        "user_id": hit.user_id,
        "similarity": hit.similarity,
        "known_violator": hit.known_violator,
        "policy": hit.policy,
        "num_events": hit.num_events,
        "duplicates": hit.duplicates,
    }
    if hit.channels is not None:
        body["channels"] = hit.channels
    if hit.members is not None:
        body["members"] = [_member_body(member) for member in hit.members]
    return body


def _member_body(member: Member) -> MemberBody:
    return {
        "user_id": member.user_id,
        "known_violator": member.known_violator,
        "policy": member.policy,
        "num_events": member.num_events,
    }


def risk_body(answer: RiskAnswer | UnknownUser) -> RiskBody:
    """Return one risk; of a user who is not known, nothing is known."""
    if isinstance(answer, UnknownUser):
        return _unknown_risk(answer.user_id)
    assert answer.user_id is not None
    return {
        "user_id": answer.user_id,
        "status": answer.status,
        "probability": answer.probability,
        "log_odds": answer.log_odds,
        "band": answer.band,
        "interval": answer.interval,
        "num_events": answer.num_events,
        "ring": None if answer.ring is None else _ring_body(answer.ring),
        "known_violator": answer.known_violator,
        "band_rule": None if answer.band_rule is None else _band_rule_body(answer.band_rule),
    }


def _unknown_risk(user_id: str) -> RiskBody:
    return {
        "user_id": user_id,
        "status": "unknown_user",
        "probability": None,
        "log_odds": None,
        "band": "insufficient_data",
        "interval": None,
        "num_events": 0,
        "ring": None,
        "known_violator": False,
        "band_rule": None,
    }


def _band_rule_body(rule: BandRule) -> BandRuleBody:
    return {
        "policy": rule.policy,
        "precision": rule.precision,
        "likely_log_odds": rule.likely_log_odds,
        "fitted_on": rule.fitted_on,
    }


def _ring_body(ring: RingInfo) -> RingBody:
    return {
        "id": ring.id,
        "num_users": ring.num_users,
        "num_violators": ring.num_violators,
        "violator_rate_lower": ring.violator_rate_lower,
        "cohesion": ring.cohesion,
    }


def build_body(build: BuildInfo) -> BuildBody:
    """Return one build of the list."""
    return {
        "build_id": build.build_id,
        "created_at": build.created_at,
        "data_as_of": build.data_as_of,
        "space_id": build.space_id,
        "num_users": build.num_users,
        "num_violators": build.num_violators,
        "size_bytes": build.size_bytes,
        "gate": build.gate,
        "damage": build.damage,
        "live": build.live,
        "previous": build.previous,
    }


def features_rows(table: Any) -> list[dict[str, Any]]:
    """Return an Arrow table as one dictionary a row."""
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
