"""Look-alikes of users, events and vectors."""

from functools import partial
from typing import Annotated, Final

from fastapi import Query

from api.call import Call
from api.errors import UserNotFound
from api.problems import problem_document
from api.routing import GuardedRoute
from api.schemas import (
    BatchItem,
    BatchNeighborsAnswer,
    BatchNeighborsRequest,
    NeighborParams,
    NeighborsAnswer,
    NeighborsRequest,
    QueryBody,
)
from api.searching import Answer, any_asks_server, asks_server, search_many, search_one
from api.shapes import hit_body, meta_of, neighbors_answer
from index.answers import NeighborAnswer, NeighborRequest, UnknownUser
from index.errors import IndexingError, RequestError
from index.service import LookalikeService

INLINE_K_MAX: Final = 100
"""More hits than this take longer to shape than a thread takes to start."""

UNKNOWN_USER: Final = "the live build has no user of this id"


def neighbor_routes() -> list[GuardedRoute]:
    """Return the routes of this subject."""
    return [
        GuardedRoute(
            "/v1/neighbors:query",
            query_neighbors,
            scope="neighbors:read",
            methods=["POST"],
            tags=["neighbors"],
            summary="Look-alikes of a user, of events, or of a vector",
            failures=(404, 408, 409, 413, 415, 422, 503),
        ),
        GuardedRoute(
            "/v1/neighbors:batch_query",
            query_neighbors_batch,
            scope="neighbors:read",
            methods=["POST"],
            tags=["neighbors"],
            summary="Up to 1,000 searches; each has a status of its own",
            failures=(408, 413, 415, 422, 503),
        ),
        GuardedRoute(
            "/v1/users/{user_id:path}/neighbors",
            user_neighbors,
            scope="neighbors:read",
            methods=["GET"],
            tags=["neighbors"],
            summary="Look-alikes of a user",
            failures=(404, 422, 503),
        ),
    ]


async def user_neighbors(
    call: Call, user_id: str, params: Annotated[NeighborParams, Query()]
) -> NeighborsAnswer:
    """Find the stored users who behave most like a user; never the user itself."""
    request = NeighborRequest(
        k=params.k,
        known_violators=params.known_violators,
        explain=params.explain,
        count=params.count,
        members=params.members,
        purpose=params.purpose,
    )
    return await _answer(call, QueryBody(user_id=user_id), request)


async def query_neighbors(call: Call, body: NeighborsRequest) -> NeighborsAnswer:
    """Find the stored users who behave most like the query."""
    return await _answer(call, body.query, body.to_domain())


async def query_neighbors_batch(call: Call, body: BatchNeighborsRequest) -> BatchNeighborsAnswer:
    """Answer several searches in their order; one that fails does not fail the others."""
    services = call.services
    service = services.live.current()
    call.audit_reads(
        "neighbors.batch_query",
        [query.query.user_id for query in body.queries],
        num_queries=len(body.queries),
    )

    def answer() -> list[BatchItem]:
        answers = search_many(service, body.queries, services.metrics)
        return [_item(call, place, answer) for place, answer in enumerate(answers)]

    waits = any_asks_server(service, body.queries)
    items = await (services.remote if waits else services.work).run(answer)
    modes = {item["search_mode"] for item in items if item["search_mode"] is not None}
    return {
        "results": items,
        "meta": meta_of(call, service, modes.pop() if len(modes) == 1 else None),
    }


async def _answer(call: Call, query: QueryBody, request: NeighborRequest) -> NeighborsAnswer:
    service = call.services.live.current()
    call.audit_reads(
        "neighbors.query",
        [query.user_id],
        k=request.k,
        known_violators=request.known_violators,
        purpose=request.purpose,
    )
    answer = await find_neighbors(call, service, query, request)
    return neighbors_answer(call, service, answer)


async def find_neighbors(
    call: Call, service: LookalikeService, query: QueryBody, request: NeighborRequest
) -> NeighborAnswer:
    """Search where it disturbs others least: quick searches here, the others in a thread.

    Who waits for a vector database does so beside the threads that embed and assess.

    Raises:
        UserNotFound: If the query names a user whom the build does not have.
    """
    search = partial(search_one, service, query, request, call.services.metrics)
    if asks_server(service, request):
        answer = await call.services.remote.run(search)
    elif query.events is None and _is_quick(call, service, request):
        answer = search()
    else:
        answer = await call.services.work.run(search)
    if isinstance(answer, UnknownUser):
        raise UserNotFound(UNKNOWN_USER)
    return answer


def _is_quick(call: Call, service: LookalikeService, request: NeighborRequest) -> bool:
    """Tell whether a search takes well under a millisecond, so that a thread would cost more."""
    if request.filter is not None or request.ef_search is not None:
        return False
    if request.k * (1 + request.members) > INLINE_K_MAX:
        return False
    is_exact = request.needs_vectors_here or request.known_violators
    if service.search_mode != "exact" and not is_exact:
        return True
    num_users = service.num_violators if request.known_violators else service.num_users
    return num_users * service.dim <= call.services.config.inline_max_multiplications


def _item(call: Call, place: int, answer: Answer | IndexingError) -> BatchItem:
    if isinstance(answer, NeighborAnswer):
        return {
            "status": 200,
            "user_id": answer.user_id,
            "num_events": answer.num_events,
            "neighbors": [hit_body(hit) for hit in answer.hits],
            "search_mode": answer.search_mode,
        }
    if isinstance(answer, RequestError):
        answer.pointer = f"queries/{place}/{answer.pointer}"
    error = UserNotFound(UNKNOWN_USER) if isinstance(answer, UnknownUser) else answer
    problem = problem_document(error, request_id=call.request_id)
    return {
        "status": problem["status"],
        "user_id": None,
        "num_events": None,
        "neighbors": [],
        "search_mode": None,
        "problem": problem,
    }
