"""Readers, writers of every kind and builds swapped, all at once, on one service.

The oracle is what the writers have written: no one erased answers after the erasure was applied,
what was labelled or came is there once its writer returned, and at rest all answers are those of a
sorted list.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from index.answers import Filter, NeighborAnswer, NeighborRequest
from index.build import AS_STORED
from index.builds import promote
from index.config import IndexConfig
from index.delta import SEEN_SCHEMA, ChangedUsers
from index.distinct import group_identical
from index.live import LiveService
from index.overlay import CHANGES_SCHEMA
from index.vectors import Vectors
from store.workspace import Workspace
from tests.index_fakes import (
    DIM,
    NOW,
    SPACE_ID,
    build_input,
    clustered_vectors,
    open_fake_service,
    publish_build,
    user_name,
)

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

SECONDS = 25.0
NUM_USERS = 1_500
NUM_READERS = 3
VECTORS = clustered_vectors(NUM_USERS, DIM, num_clusters=12)
VECTORS[300:330] = VECTORS[299]  # bots
CONFIG = IndexConfig(
    kind="hnsw", delta_exact_multiplications=100 * DIM, hub_references=200, build_threads=1
)
REQUESTS = (
    NeighborRequest(k=10),
    NeighborRequest(k=50, known_violators=True),
    NeighborRequest(k=20, filter=Filter(label=1, policies=("late",))),
    NeighborRequest(k=20, filter=Filter(min_events=100)),
)


@dataclass
class Written:
    """What was applied; each writer replaces its own part as a whole."""

    erased: frozenset[str] = frozenset()
    labelled: frozenset[str] = frozenset()
    came: dict[str, Vectors] = field(default_factory=dict)


class Changes:
    """What the writers ask for, and the readers of it that the service is given."""

    def __init__(self) -> None:
        self.erased: frozenset[str] = frozenset()
        self.labels = CHANGES_SCHEMA.empty_table()

    def erase(self, user_id: str) -> None:
        self.erased |= {user_id}

    def label(self, user_ids: frozenset[str]) -> None:
        rows = [{"user_id": one, "label": 1, "policy": "late"} for one in sorted(user_ids)]
        self.labels = pa.Table.from_pylist(rows, schema=CHANGES_SCHEMA)


class Load:
    """Threads that go on until they are told to stop, or one of them fails."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.faults: list[str] = []
        self.rounds: dict[str, int] = {}

    def run(self, *steps: Callable[[int], None]) -> None:
        threads = [threading.Thread(target=self._repeat, args=(step,)) for step in steps]
        for thread in threads:
            thread.start()
        self.stopping.wait(SECONDS)
        self.stopping.set()
        for thread in threads:
            thread.join()
        assert self.faults == []

    def _repeat(self, step: Callable[[int], None]) -> None:
        number = 0
        while not self.stopping.is_set():
            try:
                step(number)
            except Exception as error:  # noqa: BLE001  # whatever it is, the test must tell it
                self.faults.append(f"{step.__name__}: {error!r}")
                self.stopping.set()
            number += 1
            self.rounds[step.__name__] = self.rounds.get(step.__name__, 0) + 1


def live_service(workspace: Workspace, changes: Changes) -> LiveService:
    return LiveService(
        workspace,
        CONFIG,
        read_erased=lambda: changes.erased,
        read_labels=lambda _since: changes.labels,
        open_service=lambda where, build_id, config: open_fake_service(where, build_id, config),
        clock=lambda: NOW,
    )


def published(workspace: Workspace, day: int) -> str:
    given = build_input(np.roll(VECTORS, day, axis=0), violators=range(day, 60, 7))
    given = replace(given, data_as_of=NOW - timedelta(days=2 - day))
    return publish_build(workspace, given, CONFIG, now=NOW + timedelta(days=day)).build_id


def changed_users(generator: np.random.Generator, number: int) -> ChangedUsers:
    """Return some users of the build as they are now, and some newcomers."""
    old = generator.choice(NUM_USERS, 10, replace=False).tolist()
    new = [NUM_USERS + number * 10 + place for place in range(10)]
    ids = [user_name(row) for row in (*old, *new)]
    vectors = VECTORS[generator.choice(NUM_USERS, 20)].copy()
    vectors[::2] += generator.normal(size=(10, DIM)).astype(np.float32) / 20
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = [ids, *[[500] * 20] * 4]
    return ChangedUsers(pa.table(columns, names=SEEN_SCHEMA.names), vectors, SPACE_ID, NOW)


def test_everything_at_once_and_nobody_sees_half_of_it(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "workspace")
    build_ids = [published(workspace, day) for day in (0, 1)]
    changes, written, load = Changes(), Written(), Load()
    live = live_service(workspace, changes)
    live.refresh()
    generators = [np.random.default_rng(seed) for seed in range(4 + NUM_READERS)]

    def erase(number: int) -> None:
        user_id = user_name(NUM_USERS - 1 - number)
        changes.erase(user_id)
        live.follow_erasures()
        assert user_id in live.current().population.erased
        written.erased |= {user_id}
        load.stopping.wait(0.05)

    def label(number: int) -> None:
        labelled = frozenset(
            user_name(row) for row in generators[0].choice(400, 20, replace=False).tolist()
        )
        changes.label(labelled)
        live.follow_labels()
        assert set(live.current().population.overlay.row_of) == labelled
        written.labelled = labelled
        load.stopping.wait(0.03)

    def come(number: int) -> None:
        changed = changed_users(generators[1], number)
        live.apply(changed)
        ids = changed.users["user_id"].to_pylist()
        written.came = {**written.came, **dict(zip(ids, changed.vectors_MD, strict=True))}
        load.stopping.wait(0.02)

    def swap(number: int) -> None:
        promote(workspace, build_ids[number % 2], now=NOW)
        live.refresh()
        load.stopping.wait(0.3)

    def read(number: int) -> None:
        erased, came = written.erased, written.came
        service = live.current()
        known = [user_id for user_id in came if user_id not in erased][-3:]
        asked = [user_name(7), *known]
        request = REQUESTS[number % len(REQUESTS)]
        for answer, user_id in zip(service.neighbors_of_users(asked, request), asked, strict=True):
            if not isinstance(answer, NeighborAnswer):
                assert user_id in changes.erased, f"{user_id} came and is unknown"
                continue
            ids = [hit.user_id for hit in answer.hits]
            assert len(set(ids)) == len(ids)
            assert user_id not in ids
            assert not set(ids) & erased, "an erased user answers"
            if request.filter is None and not request.known_violators:
                assert len(ids) == request.k, "hidden users take the place of others"
            similarities = [hit.similarity for hit in answer.hits]
            assert all(-1 <= one <= 1 for one in similarities)

    load.run(erase, label, come, swap, *[read] * NUM_READERS)
    assert live.settle(SECONDS)
    assert not live.current().population.delta.wants_graph(CONFIG)
    load.stopping.clear()
    come(10_000)
    assert live.settle(SECONDS)
    live.follow_erasures()
    live.follow_labels()
    assert live.current().population.delta.graph is not None
    assert min(load.rounds.values()) >= 2, load.rounds
    assert_at_rest(live, written)


def assert_at_rest(live: LiveService, written: Written) -> None:
    """Compare with a sorted list of everyone, at the same time the exact answers of the service."""
    service = live.current()
    population = service.population
    rows = population.rows()
    ids = population.ids_of(rows)
    assert not set(ids) & written.erased
    assert set(written.came) - written.erased <= set(ids)
    vectors = population.vectors_of(rows)
    for user_id, vector_D in written.came.items():
        if user_id not in written.erased:
            np.testing.assert_array_equal(vectors[ids.index(user_id)], vector_D)
    late = written.labelled & set(ids)
    request = NeighborRequest(k=1_000, filter=Filter(policies=("late",)))
    query_QD = VECTORS[[7, 299]]
    for answer in service.neighbors_of_vectors(query_QD, SPACE_ID, request):
        assert {hit.user_id for hit in answer.hits} == late
    penalty_N = population.build.everyone.penalty_N
    assert penalty_N is not None
    penalty = np.concatenate([penalty_N, population.delta.penalties[AS_STORED]])[rows]
    for exact in (True, False):
        found = service.neighbors_of_vectors(
            query_QD, SPACE_ID, NeighborRequest(k=25, exact=exact, count="behaviors")
        )
        for query_D, answer in zip(query_QD, found, strict=True):
            score = vectors.astype(float) @ query_D - penalty
            place = {user_id: number for number, user_id in enumerate(ids)}
            got = [score[place[hit.user_id]] for hit in answer.hits]
            best = np.sort(score[group_identical(vectors).first_rows_E])[::-1][:25]
            if exact:
                np.testing.assert_allclose(got, best, atol=1e-5)
            else:
                assert (np.array(got) >= best[-1] - 1e-5).mean() >= 0.9
