"""From a query on the wire to answers of the index: one at a time, or many together."""

import time
from collections.abc import Hashable, Sequence

import numpy as np

from api.metrics import ServiceMetrics
from api.schemas import NeighborsRequest, QueryBody
from index.answers import NeighborAnswer, NeighborRequest, UnknownUser
from index.errors import IndexingError, MilvusUnavailable, RequestError
from index.service import LookalikeService

Answer = NeighborAnswer | UnknownUser


def search_one(
    service: LookalikeService, query: QueryBody, request: NeighborRequest, metrics: ServiceMetrics
) -> Answer:
    """Answer one query.

    Raises:
        IndexingError: If it can't be answered; `pointer` of a `RequestError` starts at the request.
    """
    try:
        return _search(service, [query], request, metrics)[0]
    except RequestError as error:
        error.pointer = f"query/{error.pointer}".rstrip("/")
        raise


def search_many(
    service: LookalikeService, queries: Sequence[NeighborsRequest], metrics: ServiceMetrics
) -> list[Answer | IndexingError]:
    """Answer queries in their order, those of one kind together; each succeeds or fails alone.

    Where the vector database is away, nothing more is asked of it: each wait holds up a thread.
    What needs no database is answered all the same.
    """
    places: dict[Hashable, list[int]] = {}
    for place, query in enumerate(queries):
        places.setdefault(_kind(query), []).append(place)
    answers: list[Answer | IndexingError] = [UnknownUser("")] * len(queries)
    away: MilvusUnavailable | None = None
    for group in places.values():
        asked = [queries[place] for place in group]
        if away is not None and asks_server(service, asked[0].to_domain()):
            found: Sequence[Answer | IndexingError] = [away] * len(group)
        else:
            found = _search_group(service, asked, metrics)
        for place, answer in zip(group, found, strict=True):
            answers[place] = answer
        away = next((one for one in found if isinstance(one, MilvusUnavailable)), away)
    return answers


def asks_server(service: LookalikeService, request: NeighborRequest) -> bool:
    """Tell whether a search waits for a vector database."""
    return service.search_mode == "milvus" and not request.needs_vectors_here


def any_asks_server(service: LookalikeService, queries: Sequence[NeighborsRequest]) -> bool:
    """Tell whether one of several searches waits for a vector database."""
    if service.search_mode != "milvus":  # which spares reading all of them
        return False
    return any(asks_server(service, query.to_domain()) for query in queries)


def _kind(query: NeighborsRequest) -> Hashable:
    """Return what queries must have in common to be searched together."""
    asked = query.query
    shape = None if asked.vector is None else len(asked.vector)
    return asked.user_id is None, asked.events is None, shape, asked.space_id, query.to_domain()


def _search_group(
    service: LookalikeService, group: Sequence[NeighborsRequest], metrics: ServiceMetrics
) -> Sequence[Answer | IndexingError]:
    """Search together; where one query spoils it, each by itself; else a failure is that of all."""
    request = group[0].to_domain()
    try:
        return _search(service, [query.query for query in group], request, metrics)
    except RequestError:
        return [_search_or_fail(service, query.query, request, metrics) for query in group]
    except IndexingError as error:
        return [error] * len(group)


def _search_or_fail(
    service: LookalikeService, query: QueryBody, request: NeighborRequest, metrics: ServiceMetrics
) -> Answer | IndexingError:
    try:
        return search_one(service, query, request, metrics)
    except IndexingError as error:
        return error


def _search(
    service: LookalikeService,
    queries: Sequence[QueryBody],
    request: NeighborRequest,
    metrics: ServiceMetrics,
) -> Sequence[Answer]:
    """Answer queries of one kind, and count the mean time that one took."""
    started = time.perf_counter()
    answers = _answers(service, queries, request)
    seconds = (time.perf_counter() - started) / len(queries)
    mode = next((one.search_mode for one in answers if isinstance(one, NeighborAnswer)), None)
    if mode is not None:
        metrics.search_done(mode=mode, seconds=seconds)
    return answers


def _answers(
    service: LookalikeService, queries: Sequence[QueryBody], request: NeighborRequest
) -> Sequence[Answer]:
    first = queries[0]
    if first.user_id is not None:
        return service.neighbors_of_users([str(query.user_id) for query in queries], request)
    if first.events is not None:
        sequences = [[event.model_dump() for event in query.events or ()] for query in queries]
        return service.neighbors_of_events(sequences, request)
    assert first.space_id is not None
    with np.errstate(over="ignore"):  # what float32 can't hold is infinite; the index says so
        vectors_QD = np.asarray([query.vector for query in queries], dtype=np.float32)
    return service.neighbors_of_vectors(vectors_QD, first.space_id, request)
