"""Who lies amid hidden users searches deeper, and costs nobody else anything."""

import numpy as np
import pytest

import index.search
from index.answers import NeighborRequest
from index.build import Build, load_build, write_build
from index.config import IndexConfig
from index.search import find_neighbors
from index.tombstones import Tombstones
from index.vectors import Rows, Vectors
from store.workspace import Workspace
from tests.index_fakes import NOW, build_input, clustered_vectors

NUM_USERS, NUM_HIDDEN, DIM = 4_000, 400, 16
AMID_HIDDEN, ELSEWHERE = 0, np.arange(NUM_HIDDEN, NUM_HIDDEN + 60)
REQUESTS = (
    NeighborRequest(k=10),
    NeighborRequest(k=7, count="behaviors", members=2),
    NeighborRequest(k=5, known_violators=True),
)


def vectors() -> Vectors:
    """Return a crowd of users who are nearly alike, and others in all directions."""
    generator = np.random.default_rng(4)
    vectors_ND = np.array(clustered_vectors(NUM_USERS, DIM, num_clusters=40))
    crowd = generator.normal(size=DIM) + 0.05 * generator.normal(size=(NUM_HIDDEN, DIM))
    vectors_ND[:NUM_HIDDEN] = crowd / np.linalg.norm(crowd, axis=1, keepdims=True)
    vectors_ND[1_000:1_030] = vectors_ND[1_000]  # equal users, seen from the crowd as one entry
    return vectors_ND


@pytest.fixture(scope="module", params=["exact", "hnsw", "ivf_rabitq"])
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Build:
    config = IndexConfig(kind=request.param, tuning_queries=100)
    workspace = Workspace.create(tmp_path_factory.mktemp("hidden") / "workspace")
    given = build_input(vectors(), violators=range(0, NUM_USERS, 5))
    return load_build(write_build(workspace, given, config, now=NOW))


@pytest.fixture
def hidden() -> Tombstones:
    """All of the crowd but the first, who asks."""
    return Tombstones.none(NUM_USERS).hiding(np.arange(1, NUM_HIDDEN))


def answers(
    build: Build, rows: Rows, request: NeighborRequest, hidden: Tombstones
) -> list[tuple[list[int], list[int], list[list[int]]]]:
    query_QD = np.ascontiguousarray(build.vectors_ND[rows])
    found, _ = find_neighbors(build, query_QD, request, hidden, own_rows_Q=rows)
    return [
        (one.rows_K.tolist(), one.duplicates_K.tolist(), [rows.tolist() for rows in one.members])
        for one in found
    ]


@pytest.mark.parametrize("request_number", range(len(REQUESTS)))
def test_together_they_find_what_each_finds_alone(
    build: Build, hidden: Tombstones, request_number: int
) -> None:
    asked = REQUESTS[request_number]
    rows = np.append(ELSEWHERE, AMID_HIDDEN)
    together = answers(build, rows, asked, hidden)
    alone = [answers(build, rows[[place]], asked, hidden)[0] for place in range(len(rows))]
    assert together == alone
    for found, _, _ in together:
        assert len(found) == asked.k
        assert not set(found) & set(range(1, NUM_HIDDEN))


def test_only_who_lacks_somebody_searches_deeper(
    build: Build, hidden: Tombstones, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[tuple[int, int]] = []
    search = index.search._search

    def counted(build: Build, view, query_QD, request, part, k):  # type: ignore[no-untyped-def]  # passed on as it comes
        searched.append((len(query_QD), k))
        return search(build, view, query_QD, request, part, k)

    monkeypatch.setattr(index.search, "_search", counted)
    answers(build, np.append(ELSEWHERE, AMID_HIDDEN), NeighborRequest(k=10), hidden)

    first, *deeper = searched
    assert first[0] == len(ELSEWHERE) + 1
    assert deeper
    assert {num_queries for num_queries, _ in deeper} == {1}
    assert deeper[-1][1] <= NUM_HIDDEN + 11


def test_memory_for_many_who_lack_somebody_is_bounded(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = Tombstones.none(NUM_USERS).hiding(np.arange(50, NUM_HIDDEN))
    rows = np.arange(50)
    whole = answers(build, rows, NeighborRequest(k=10), hidden)
    sizes: list[int] = []
    search = index.search._search

    def counted(build: Build, view, query_QD, request, part, k):  # type: ignore[no-untyped-def]  # passed on as it comes
        sizes.append(len(query_QD) * k)
        return search(build, view, query_QD, request, part, k)

    monkeypatch.setattr(index.search, "_search", counted)
    monkeypatch.setattr(index.search, "FOUND_BLOCK_BYTES", 2_000 * index.search.FOUND_BYTES)
    assert answers(build, rows, NeighborRequest(k=10), hidden) == whole
    assert len(sizes) > 3
    assert max(sizes[1:]) <= 2_000
