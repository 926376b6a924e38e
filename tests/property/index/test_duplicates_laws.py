"""Every search over every pattern of duplicates says what a slow sort of all users says."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from index.answers import Filter, Hit, NeighborAnswer, NeighborRequest
from index.build import load_build, write_build
from index.config import IndexConfig
from index.noise import NOISE
from index.service import LookalikeService
from index.vectors import Rows, Vectors
from store.workspace import Workspace
from tests.index_fakes import NOW, SPACE_ID, FakeEmbedder, build_input, user_name
from tests.property.index.strategies import galleries
from tests.property.index.test_filter_laws import SCANS_ARE_CHEAP, SCANS_ARE_DEAR

TOLERANCE = 2 * NOISE
DIM = 4


@dataclass(frozen=True)
class World:
    """Users of whom some are equal but for noise: `owner_N` tells who of them are."""

    service: LookalikeService
    owner_N: Rows
    label_N: Rows
    num_events_N: Rows
    hidden: frozenset[int]

    @property
    def vectors(self) -> Vectors:
        return self.service.build.vectors_ND

    def may_be_hit(self, row: int, own: int, request: NeighborRequest) -> bool:
        condition = request.filter or Filter()
        return (
            row not in self.hidden
            and row != own
            and (self.label_N[row] == 1 or not request.known_violators)
            and condition.label in (None, self.label_N[row])
            and (condition.min_events or 0) <= self.num_events_N[row]
        )

    def by_group(self, own: int, request: NeighborRequest) -> dict[int, list[int]]:
        """Return who could be a hit, by group: violators first, then most events, then row."""
        rows = [row for row in range(len(self.owner_N)) if self.may_be_hit(row, own, request)]
        rows.sort(key=lambda row: (self.label_N[row] != 1, -self.num_events_N[row], row))
        groups: dict[int, list[int]] = {}
        for row in rows:
            groups.setdefault(int(self.owner_N[row]), []).append(row)
        return groups

    def score(self, group: int, query: Vectors) -> float:
        row = int(np.flatnonzero(self.owner_N == group)[0])
        penalty = self.service.build.everyone.penalty_N
        product = float(self.vectors[row].astype(np.float64) @ query)
        return product - (0.0 if penalty is None else float(penalty[row]))


def owners(draw: Any, num: int) -> list[int]:
    """Draw who equals whom: all, pairs, one big group among others, several, or nobody."""
    number = range(num)
    patterns = {
        "all": [0 for _ in number],
        "pairs": [one // 2 for one in number],
        "one big": [max(0, one - num * 2 // 3) for one in number],
        "several": [one % 5 for one in number],
        "nobody": list(number),
    }
    if draw(st.booleans()):
        return draw(st.permutations(patterns[draw(st.sampled_from(sorted(patterns)))]))  # type: ignore[no-any-return]  # drawn
    return draw(st.lists(st.integers(0, 12), min_size=num, max_size=num))  # type: ignore[no-any-return]  # drawn


@st.composite
def worlds(draw: Any, workspace: Workspace) -> World:
    originals = np.unique(draw(galleries(min_size=2, max_size=60, dim=DIM)), axis=0)
    num = draw(st.integers(1, 50))
    owner = np.array(owners(draw, num), dtype=np.int64) % len(originals)
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    noise = generator.normal(size=(num, DIM))
    noise *= draw(st.sampled_from([0.0, 1e-7, 0.4 * NOISE])) / np.linalg.norm(
        noise, axis=1, keepdims=True
    )
    label = np.array(draw(st.lists(st.sampled_from([0, 1]), min_size=num, max_size=num)))
    num_events = np.array(draw(st.lists(st.integers(1, 4), min_size=num, max_size=num)))
    given_ = build_input((originals[owner] + noise).astype(np.float32))
    users = given_.users.set_column(
        given_.users.column_names.index("label"), "label", pa.array(label, pa.int8())
    )
    users = users.set_column(
        users.column_names.index("num_events"), "num_events", pa.array(num_events, pa.int64())
    )
    config = IndexConfig(
        kind=draw(st.sampled_from(["hnsw", "exact"])),
        ef_search=300,
        hub_correction=draw(st.booleans()),
        hub_references=20,
    )
    built = load_build(write_build(workspace, replace(given_, users=users), config, now=NOW))
    costs = draw(st.sampled_from([SCANS_ARE_DEAR, SCANS_ARE_CHEAP, None]))
    built = replace(built, manifest=built.manifest.model_copy(update={"costs": costs}))
    service = LookalikeService(built, FakeEmbedder(dim=DIM), None, config, clock=lambda: NOW)
    hidden = draw(st.frozensets(st.integers(0, num - 1), max_size=num))
    service = service.without_users([user_name(row) for row in hidden])
    return World(service, owner, label, num_events, hidden)


@st.composite
def requests(draw: Any) -> NeighborRequest:
    count: Literal["users", "behaviors"] = draw(st.sampled_from(["users", "behaviors"]))
    conditions = st.builds(
        Filter, label=st.sampled_from([None, 0, 1]), min_events=st.sampled_from([None, 2, 3, 9])
    )
    return NeighborRequest(
        k=draw(st.integers(1, 60)),
        known_violators=draw(st.booleans()),
        filter=draw(st.none() | conditions),
        exact=draw(st.booleans()),
        count=count,
        members=draw(st.integers(0, 5)) if count == "behaviors" else 0,
    )


def places(sizes: Sequence[int], k: int) -> list[int]:
    """Give out k places one by one: to each in turn up to a quarter, then what is left."""
    given_ = [0] * len(sizes)
    for most in (-(-k // 4), k):
        for one, size in enumerate(sizes):
            while given_[one] < min(size, most) and sum(given_) < k:
                given_[one] += 1
    return given_


def row_of(user_id: str) -> int:
    return int(user_id.removeprefix("user-"))


def check(
    world: World, hits: tuple[Hit, ...], query: Vectors, own: int, request: NeighborRequest
) -> None:
    groups = world.by_group(own, request)
    rows = [row_of(hit.user_id) for hit in hits]
    shown = list(dict.fromkeys(int(world.owner_N[row]) for row in rows))
    assert set(shown) <= set(groups)
    score = [world.score(group, query) for group in shown]
    left_out = [world.score(group, query) for group in groups if group not in shown]
    assert all(after <= before + TOLERANCE for before, after in pairwise(score))
    assert max(left_out, default=-9) <= min(score, default=9) + TOLERANCE
    if request.count == "behaviors":
        assert len(shown) == min(request.k, len(groups))
        assert rows == [groups[group][0] for group in shown]
    else:
        assert len(rows) == min(request.k, sum(map(len, groups.values())))
        order = [*shown, *(group for group in groups if group not in shown)]
        taken = places([len(groups[group]) for group in order], request.k)
        assert rows == [
            row for group, num in zip(order, taken, strict=True) for row in groups[group][:num]
        ]
    for hit, row in zip(hits, rows, strict=True):
        alike = groups[int(world.owner_N[row])]
        assert hit.duplicates == len(alike) - 1
        true = float(world.vectors[row].astype(np.float64) @ query)
        assert abs(hit.similarity - np.clip(true, -1, 1)) < 1e-6
        if request.members:
            assert hit.members is not None
            expected = alike[1 : 1 + request.members]
            assert [row_of(member.user_id) for member in hit.members] == expected
            assert [m.known_violator for m in hit.members] == [
                world.label_N[row] == 1 for row in expected
            ]
        else:
            assert hit.members is None


@settings(deadline=None, max_examples=100)
@given(st.data(), requests())
def test_answers_are_those_of_a_slow_sort_of_all_users(
    data: st.DataObject, request: NeighborRequest
) -> None:
    with tempfile.TemporaryDirectory() as name:
        world = data.draw(worlds(Workspace.create(Path(name) / "workspace")))
        num = len(world.owner_N)
        asked = data.draw(st.lists(st.integers(0, num - 1), min_size=1, max_size=4))
        answers = world.service.neighbors_of_users([user_name(row) for row in asked], request)
        for own, answer in zip(asked, answers, strict=True):
            assert isinstance(answer, NeighborAnswer) == (own not in world.hidden)
            if isinstance(answer, NeighborAnswer):
                check(world, answer.hits, world.vectors[own].astype(np.float64), own, request)
        queries = data.draw(galleries(max_size=3, dim=DIM))
        found = world.service.neighbors_of_vectors(queries, SPACE_ID, request)
        for query, answer in zip(queries, found, strict=True):
            check(world, answer.hits, query.astype(np.float64), -1, request)
