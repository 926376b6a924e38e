"""Crowds of equal users cost neither neighbors nor time."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from index.answers import NeighborAnswer, NeighborRequest
from index.build import load_build, write_build
from index.config import IndexConfig
from index.service import LookalikeService
from index.vectors import Rows, Vectors
from store.workspace import Workspace
from tests.index_fakes import NOW, FakeEmbedder, build_input, clustered_vectors, user_name

NUM_USERS, DIM, NUM_CROWDS, CROWD_SIZE = 10_000, 32, 10, 300
REQUESTS = (NeighborRequest(k=10), NeighborRequest(k=10, count="behaviors"))


def service_of(folder: Path, vectors: Vectors) -> LookalikeService:
    config = IndexConfig(kind="hnsw")
    staged = write_build(Workspace.create(folder), build_input(vectors), config, now=NOW)
    return LookalikeService(
        load_build(staged), FakeEmbedder(dim=DIM), None, config, clock=lambda: NOW
    )


def recall(service: LookalikeService, rows: Rows, request: NeighborRequest) -> float:
    """Return how many hits are as good as those of exact search, by similarity less penalty."""
    names = [user_name(row) for row in rows.tolist()]
    exact = NeighborRequest(k=request.k, count=request.count, exact=True)
    found, true = (
        [scores(service, answer) for answer in service.neighbors_of_users(names, asked)]
        for asked in (request, exact)
    )
    reached = [
        (np.array(one) >= min(other) - 1e-5).mean() for one, other in zip(found, true, strict=True)
    ]
    return float(np.mean(reached))


def scores(service: LookalikeService, answer: object) -> list[float]:
    assert isinstance(answer, NeighborAnswer)
    penalty = service.build.everyone.penalty_N
    assert penalty is not None
    return [
        hit.similarity - float(penalty[int(hit.user_id.removeprefix("user-"))])
        for hit in answer.hits
    ]


def median_us(services: Sequence[LookalikeService], rows: Rows, request: NeighborRequest) -> Rows:
    """Return the median time of one query to each service; they take turns."""
    spent = np.empty((len(services), len(rows)))
    for place, row in enumerate(rows.tolist()):
        for one, service in enumerate(services):
            started = time.perf_counter()
            service.neighbors_of_users([user_name(row)], request)
            spent[one, place] = time.perf_counter() - started
    return np.asarray(np.median(spent, axis=1) * 1e6)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 3e-7])
def test_crowds_of_equal_users_cost_neither_recall_nor_time(tmp_path: Path, noise: float) -> None:
    vectors = clustered_vectors(NUM_USERS, DIM, num_clusters=100)
    crowded = vectors.copy()
    members = np.arange(1_000, 1_000 + NUM_CROWDS * CROWD_SIZE)
    crowded[members] = vectors[np.repeat(np.arange(NUM_CROWDS), CROWD_SIZE)]
    generator = np.random.default_rng(1)
    crowded[members] += noise * generator.normal(size=(len(members), DIM)).astype(np.float32)
    without, with_crowds = service_of(tmp_path / "a", vectors), service_of(tmp_path / "b", crowded)
    assert with_crowds.build.manifest.num_distinct == NUM_USERS - len(members)
    rows = np.sort(generator.choice(NUM_USERS, 500, replace=False))
    for request in REQUESTS:
        found = recall(with_crowds, rows, request)
        before, after = median_us([without, with_crowds], rows, request)
        print(
            f"{request.count}, noise {noise}: recall {found:.4f}, "
            f"{before:.0f} us without crowds, {after:.0f} us with, ratio {after / before:.2f}"
        )
        assert found >= 0.99
        assert after <= 1.3 * before
