"""Searches with the block weights of a purpose, against cosines computed one by one."""

from dataclasses import replace

import numpy as np
import pytest

from index.answers import Filter, NeighborAnswer, NeighborRequest, Purpose
from index.build import AS_STORED
from index.build_input import BuildInput
from index.config import IndexConfig
from index.delta import SEEN_SCHEMA, ChangedUsers
from index.distinct import group_identical
from index.errors import BuildInvalid, NotAVector, PurposeUnavailable
from index.hubness import HubReferences, hub_penalty
from index.manifest import BlockSpec
from index.service import LookalikeService
from index.vectors import Vectors
from store.workspace import Workspace
from tests.index_fakes import (
    DIM,
    NOW,
    SPACE_ID,
    build_input,
    event,
    open_fake_service,
    publish_build,
    unit_vectors,
    user_name,
)

NUM_USERS, K = 300, 20
STARTS, WEIGHTS = (0, 5, 8, DIM), {"behavior": 0.1, "statistics": 0.2, "target": 0.7}
SAME_KIND = {"behavior": 0.3, "statistics": 0.7, "target": 0.0}
BLOCKS = tuple(
    BlockSpec(name=name, start=start, stop=stop, weight=weight)
    for (name, weight), start, stop in zip(WEIGHTS.items(), STARTS, STARTS[1:], strict=False)
)
VIOLATORS = list(range(0, NUM_USERS, 7))
CONFIG = IndexConfig(hub_references=200, hub_nearest=5)


def units(seed: int) -> list[Vectors]:
    """Return each block's unit vectors."""
    return [
        unit_vectors(NUM_USERS, block.stop - block.start, seed=seed + place)
        for place, block in enumerate(BLOCKS)
    ]


def composed(parts: list[Vectors], weights: dict[str, float]) -> Vectors:
    """Return the blocks at the lengths of some weights."""
    roots = np.sqrt(list(weights.values())).astype(np.float32)
    return np.hstack([part * root for part, root in zip(parts, roots, strict=True)])


PARTS = units(10)
STORED, OTHER = composed(PARTS, WEIGHTS), composed(PARTS, SAME_KIND)


def build() -> BuildInput:
    return replace(
        build_input(STORED, violators=VIOLATORS), blocks=BLOCKS, purposes={"same_kind": SAME_KIND}
    )


def service_of(workspace: Workspace, config: IndexConfig = CONFIG) -> LookalikeService:
    publish_build(workspace, build(), config)
    return open_fake_service(workspace, config=config)


def expected_rows(query: int, config: IndexConfig, *, among: list[int] | None = None) -> list[int]:
    """Return the rows nearest to a user when vectors are composed with the purpose's weights."""
    score = OTHER @ OTHER[query]
    if config.hub_correction:
        score = score - hub_penalty(OTHER, group_identical(OTHER), config)
    order = [row for row in np.argsort(-score, kind="stable").tolist() if row != query]
    return [row for row in order if among is None or row in among][:K]


def ask(service: LookalikeService, query: int, **asked: object) -> NeighborAnswer:
    request = NeighborRequest(k=K, explain=True, **asked)  # type: ignore[arg-type]  # by name
    (answer,) = service.neighbors_of_users([user_name(query)], request)
    assert isinstance(answer, NeighborAnswer)
    return answer


def ids(answer: NeighborAnswer) -> list[str]:
    return [hit.user_id for hit in answer.hits]


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        CONFIG.model_copy(update={"hub_correction": False}),
        CONFIG.model_copy(update={"kind": "hnsw"}),
    ],
    ids=["hubs corrected", "hubs as they are", "beside a graph"],
)
def test_a_purpose_finds_whom_vectors_of_its_weights_would(
    workspace: Workspace, config: IndexConfig
) -> None:
    service = service_of(workspace, config)
    for query in range(0, NUM_USERS, 50):
        answer = ask(service, query, purpose="same_kind")
        assert ids(answer) == [user_name(row) for row in expected_rows(query, config)]
        assert answer.search_mode == "exact"
        violators = ask(service, query, purpose="same_kind", known_violators=True)
        rows = expected_rows(query, config, among=VIOLATORS)
        assert ids(violators) == [user_name(row) for row in rows]
    few = ask(service, 0, purpose="same_kind", filter=Filter(max_events=100))
    rows = expected_rows(0, config, among=list(range(100)))
    assert ids(few) == [user_name(row) for row in rows]
    assert few.search_mode == "exact_filtered"


def test_similarity_and_channels_are_those_of_the_purpose(workspace: Workspace) -> None:
    answer = ask(service_of(workspace), 4, purpose="same_kind")
    for hit in answer.hits:
        row = int(hit.user_id.removeprefix("user-"))
        assert hit.similarity == pytest.approx(float(OTHER[row] @ OTHER[4]), abs=1e-6)
        assert hit.channels is not None
        assert sum(hit.channels.values()) == pytest.approx(hit.similarity, abs=1e-9)
        for part, block in zip(PARTS, BLOCKS, strict=True):
            share = SAME_KIND[block.name] * float(part[row] @ part[4])
            assert hit.channels[block.name] == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("purpose", ["evader", "ring"])
def test_other_purposes_compare_vectors_as_they_are(workspace: Workspace, purpose: Purpose) -> None:
    service = service_of(workspace)
    plain = ask(service, 4)
    assert ask(service, 4, purpose=purpose) == plain
    assert ids(plain) != ids(ask(service, 4, purpose="same_kind"))


def test_vectors_and_events_are_weighed_too(workspace: Workspace) -> None:
    service = service_of(workspace)
    request = NeighborRequest(k=K, explain=True, purpose="same_kind")
    (stored,) = service.neighbors_of_vectors(7.0 * STORED[4:5], SPACE_ID, request)
    assert stored.hits[0].user_id == user_name(4)
    assert stored.hits[0].similarity == pytest.approx(1.0, abs=1e-6)
    assert ids(stored)[1:] == ids(ask(service, 4, purpose="same_kind"))[: K - 1]
    (sent,) = service.neighbors_of_events([[event(amount=3)]], request)
    for hit in sent.hits:
        assert -1.0 <= hit.similarity <= 1.0
        assert sum((hit.channels or {}).values()) == pytest.approx(hit.similarity, abs=1e-9)


def test_a_vector_with_nothing_in_the_blocks_that_count_is_refused(workspace: Workspace) -> None:
    service = service_of(workspace)
    vectors = np.stack([STORED[0], np.zeros(DIM, np.float32)])
    vectors[1, BLOCKS[2].start] = 1.0
    with pytest.raises(NotAVector, match="blocks that count") as caught:
        service.neighbors_of_vectors(vectors, SPACE_ID, NeighborRequest(purpose="same_kind"))
    assert caught.value.item == 1
    assert len(service.neighbors_of_vectors(vectors, SPACE_ID, NeighborRequest())) == 2


def test_a_build_of_before_answers_all_but_the_purpose(workspace: Workspace) -> None:
    publish_build(workspace, replace(build(), purposes={}), CONFIG)
    service = open_fake_service(workspace, config=CONFIG)
    assert len(ask(service, 4, purpose="evader").hits) == K
    with pytest.raises(PurposeUnavailable, match='run "lookalike train"'):
        ask(service, 4, purpose="same_kind")


@pytest.mark.parametrize(
    "purposes",
    [{"same_kind": {"nose": 1.0}}, {"same_kind": {"target": 0.0}}, {"../up": {"target": 1.0}}],
)
def test_weights_that_fit_no_block_are_not_written(
    workspace: Workspace, purposes: dict[str, dict[str, float]]
) -> None:
    with pytest.raises(BuildInvalid, match="no weights of blocks"):
        publish_build(workspace, replace(build(), purposes=purposes), CONFIG)


@pytest.mark.parametrize("hub_correction", [True, False])
def test_users_who_came_since_are_compared_by_the_purpose_too(
    workspace: Workspace, hub_correction: bool
) -> None:
    config = CONFIG.model_copy(update={"hub_correction": hub_correction})
    num_built = NUM_USERS - 60
    built = replace(build_input(STORED[:num_built]), blocks=BLOCKS, purposes=build().purposes)
    publish_build(workspace, built, config)
    service = open_fake_service(workspace, config=config)
    came = build_input(STORED).users.select(SEEN_SCHEMA.names).slice(num_built).cast(SEEN_SCHEMA)
    changed = ChangedUsers(came, STORED[num_built:], SPACE_ID, NOW)
    population = service.population.with_changed(changed, users_max=100)
    penalty = np.zeros(NUM_USERS, dtype=np.float32)
    if hub_correction:
        entries = group_identical(OTHER[:num_built])
        penalty[:num_built] = hub_penalty(OTHER[:num_built], entries, config)
        references = HubReferences.of(OTHER[:num_built], entries, config, {AS_STORED: None})
        nobody = np.full(NUM_USERS - num_built, -1)
        penalty[num_built:] = references.penalties(OTHER[num_built:], nobody)[AS_STORED]
    for query in (3, NUM_USERS - 1):
        answer = ask(service.answering_for(population), query, purpose="same_kind")
        score = OTHER @ OTHER[query] - penalty
        order = [row for row in np.argsort(-score, kind="stable").tolist() if row != query][:K]
        assert ids(answer) == [user_name(row) for row in order]
        assert any(row >= num_built for row in order)
        cosine = OTHER[order] @ OTHER[query]
        np.testing.assert_allclose([hit.similarity for hit in answer.hits], cosine, atol=1e-5)
