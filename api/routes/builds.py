"""Which builds there are and which one is live."""

import asyncio
from collections.abc import Callable

from api.build_schemas import BuildsAnswer, LiveAnswer
from api.call import Call
from api.routing import GuardedRoute
from api.services import Services
from api.shapes import build_body, builds_meta
from index.builds import list_builds, promote, rollback
from index.publish import LivePointer, read_live


def build_routes() -> list[GuardedRoute]:
    """Return the routes of this subject."""
    return [
        GuardedRoute(
            "/v1/builds",
            get_builds,
            scope="builds:admin",
            methods=["GET"],
            tags=["builds"],
            summary="All builds, newest first",
        ),
        GuardedRoute(
            "/v1/builds/{build_id}:promote",
            promote_build,
            scope="builds:admin",
            methods=["POST"],
            tags=["builds"],
            summary="Make a build live",
            failures=(404, 409, 422, 503),
        ),
        GuardedRoute(
            "/v1/builds/{build_id}:rollback",
            roll_back_build,
            scope="builds:admin",
            methods=["POST"],
            tags=["builds"],
            summary="Take a live build back",
            failures=(404, 409, 422, 503),
        ),
    ]


async def get_builds(call: Call) -> BuildsAnswer:
    """List the builds on disk, refused ones too."""
    builds = await asyncio.to_thread(list_builds, call.services.workspace)
    return {
        "builds": [build_body(build) for build in reversed(builds)],
        "live": next((build.build_id for build in builds if build.live), None),
        "previous": next((build.build_id for build in builds if build.previous), None),
        "meta": builds_meta(call),
    }


async def promote_build(call: Call, build_id: str) -> LiveAnswer:
    """Make this build live; the one that was live becomes the previous one.

    Promoting the live build changes nothing, so the call may be repeated.
    """
    return await _swing(call, "builds.promote", build_id, _promote_unless_live)


async def roll_back_build(call: Call, build_id: str) -> LiveAnswer:
    """Take this build, which must be the live one, back: the previous build is live again.

    Naming the build that is taken back keeps a repeated call, or two operators at once, from
    rolling back twice: the second one gets 409.
    """
    return await _swing(call, "builds.rollback", build_id, _roll_back)


def _promote_unless_live(services: Services, build_id: str) -> LivePointer:
    pointer = read_live(services.workspace)
    if pointer is not None and pointer.live == build_id:
        return pointer
    return promote(services.workspace, build_id, collections=services.collections)


def _roll_back(services: Services, build_id: str) -> LivePointer:
    return rollback(services.workspace, expected_live=build_id, collections=services.collections)


async def _swing(
    call: Call, action: str, build_id: str, change: Callable[[Services, str], LivePointer]
) -> LiveAnswer:
    """Enter the change into the audit, swing the pointer, and serve the build at once."""
    services = call.services
    services.audit.enter(
        key_name=call.key.name,
        action=action,
        subjects=[None],
        request_id=call.request_id,
        details={"build_id": build_id},
    )
    pointer = await asyncio.to_thread(change, services, build_id)
    await asyncio.to_thread(services.live.refresh)
    return {
        "live": pointer.live,
        "previous": pointer.previous,
        "meta": builds_meta(call),
    }
