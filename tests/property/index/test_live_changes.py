"""A service under changes against a list that is sorted: whatever came, went, or was relabelled.

Shape key: `D` dimensions.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from index.answers import Filter, Hit, NeighborAnswer, NeighborRequest, UnknownUser, UserProfile
from index.build import Build, load_build, write_build
from index.config import IndexConfig
from index.delta import SEEN_SCHEMA, ChangedUsers
from index.hubness import HubReferences
from index.overlay import CHANGES_SCHEMA
from index.population import Population
from index.service import LookalikeService
from index.vectors import Vectors
from store.workspace import Workspace
from tests.index_fakes import (
    DIM,
    NOW,
    SPACE_ID,
    FakeEmbedder,
    FakeRisk,
    build_input,
    unit_vectors,
    user_name,
)
from tests.property.index.test_duplicates_laws import places

NUM_USERS = 40
VECTORS = unit_vectors(NUM_USERS, DIM, seed=3)
VECTORS[10:14] = VECTORS[9]  # bots
FAMILY = VECTORS[14] + np.float32(0.001) * unit_vectors(18, DIM, seed=5)  # all a little different
FAMILY /= np.linalg.norm(FAMILY, axis=1, keepdims=True)
VECTORS[15:30] = FAMILY[:15]
POOL = np.concatenate([VECTORS[6:12], unit_vectors(6, DIM, seed=4), FAMILY[:15:2], FAMILY[15:]])
ORIGINALS = np.concatenate([VECTORS, POOL])
CONFIGS = (
    IndexConfig(kind="hnsw", ef_search=200, hub_references=28, hub_nearest=14),
    IndexConfig(hub_correction=False),
)

names = st.integers(0, NUM_USERS + 8).map(user_name)
labels = st.sampled_from([None, (0, None), (1, "spam"), (1, "cheating")])
requests = st.builds(
    NeighborRequest,
    k=st.sampled_from([1, 4, 9, 60]),
    count=st.just("users"),
    purpose=st.sampled_from([None, "ring", "same_kind"]),
    known_violators=st.booleans(),
    exact=st.booleans(),
    filter=st.none()
    | st.builds(
        Filter,
        label=st.sampled_from([None, 0, 1]),
        policies=st.sampled_from([None, ("spam",), ("cheating", "spam")]),
        min_events=st.sampled_from([None, 8]),
    ),
) | st.builds(
    NeighborRequest,
    k=st.sampled_from([1, 4, 60]),
    known_violators=st.booleans(),
    count=st.just("behaviors"),
    members=st.integers(0, 3),
    purpose=st.sampled_from([None, "same_kind"]),
)


@dataclass(frozen=True)
class Known:
    """What the oracle holds of a user.

    Attributes:
        penalties: Hub corrections of vectors as they are, and for the purpose `same_kind`.
        place: Orders equal scores.
    """

    vector_D: npt.NDArray[np.float32]
    penalties: tuple[float, float]
    num_events: int
    label: tuple[int, str | None] | None
    place: int


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="live-changes-"))


@cache
def stored(config: IndexConfig, day: int) -> Build:
    """Return one of two builds: the later one has other vectors, violators and fewer users."""
    workspace = Workspace.create(folder() / f"{CONFIGS.index(config)}-{day}")
    given = build_input(VECTORS[: NUM_USERS - 3 * day], violators=[2 + day, 5, 10])
    if day:
        given = replace(given, vectors_ND=np.ascontiguousarray(given.vectors_ND[::-1]))
    given = replace(given, data_as_of=NOW + timedelta(days=day))
    return load_build(write_build(workspace, given, config, now=NOW + timedelta(days=day)))


def brute_penalties(build: Build, vector_D: Vectors, user_id: str) -> tuple[float, float]:
    """Return r(g) / 2 by the definition: the mean of the nearest references, none of them equal."""
    if not build.manifest.hub_corrected:
        return 0.0, 0.0
    references = HubReferences.of(build.vectors_ND, build.entries, build.manifest.config, {})
    apart_R = np.linalg.norm(references.vectors_RD - vector_D, axis=1)
    compared_R = apart_R > 1e-5
    if compared_R.all():
        own_R = np.array([build.users.ids[row].as_py() == user_id for row in references.rows_R])
        compared_R = ~(own_R & references.alone_R)
    others = references.vectors_RD[compared_R].astype(float)
    scale_D = build.purposes["same_kind"].scale_D
    as_stored, same_kind = (
        float(np.sort((others * scale) @ vector_D)[-references.num_nearest :].mean()) / 2
        for scale in (1.0, scale_D)
    )
    return as_stored, same_kind


def stored_penalties(build: Build, row: int) -> tuple[float, float]:
    """Return what the build holds of a row."""
    as_stored, same_kind = (
        0.0 if index.penalty_N is None else float(index.penalty_N[row])
        for index in (build.everyone, build.purposes["same_kind"].everyone)
    )
    return as_stored, same_kind


class LiveChanges(RuleBasedStateMachine):
    """Rules change the service and the oracle alike; every search must agree."""

    @initialize(config=st.sampled_from(CONFIGS))
    def start(self, config: IndexConfig) -> None:
        self.config = config
        self.day = 0
        build = stored(config, 0)
        self.service = LookalikeService(
            build, FakeEmbedder(), FakeRisk(), IndexConfig(), clock=lambda: NOW
        )
        self.oracle = self.users_of(build)
        self.changes: dict[str, tuple[int, str | None] | None] = {}
        self.erased: set[str] = set()
        self.came: dict[str, tuple[Known | None, Any]] = {}
        self.num_came = 0

    @staticmethod
    def users_of(build: Build) -> dict[str, Known]:
        users = build.users
        return {
            users.ids[row].as_py(): Known(
                build.vectors_ND[row],
                stored_penalties(build, row),
                int(users.num_events_N[row]),
                None
                if users.label_N[row] < 0
                else (int(users.label_N[row]), users.policies[row].as_py()),
                row,
            )
            for row in range(len(users))
        }

    @property
    def build(self) -> Build:
        return self.service.build

    def become(self, population: Population) -> None:
        before = self.service
        self.service = before.answering_for(population)
        assert before.population is not population or before is self.service

    @rule(
        ids=st.lists(names, min_size=1, max_size=4, unique=True),
        vectors=st.lists(st.integers(0, len(POOL) - 1), min_size=4, max_size=4),
        num_events=st.integers(1, 20),
        late=st.booleans(),
    )
    def users_come_or_change(
        self, ids: list[str], vectors: list[int], num_events: int, late: bool
    ) -> None:
        seen_at = NOW + timedelta(days=self.day + 1 if late else -1)
        chosen = POOL[vectors[: len(ids)]] + np.float32(1e-7) * np.float32(num_events)
        users = pa.table(
            {
                "user_id": ids,
                "num_events": [num_events] * len(ids),
                "first_ts_us": [0] * len(ids),
                "last_ts_us": [1] * len(ids),
                "fingerprint": [7] * len(ids),
            }
        )
        changed = ChangedUsers(users, chosen, SPACE_ID, seen_at)
        population = self.service.population.with_changed(changed, users_max=1_000)
        self.become(population)
        before = list(self.oracle.values())
        for user_id, vector_D in zip(ids, chosen, strict=True):
            if user_id not in self.erased:
                own = self.users_of(self.build).get(user_id)
                label = self.changes.get(user_id, None if own is None else own.label)
                self.num_came += 1
                known = Known(
                    vector_D,
                    self.penalties_of(vector_D, user_id, before),
                    num_events,
                    label,
                    NUM_USERS + self.num_came,
                )
                self.oracle[user_id] = known
                self.came[user_id] = known, seen_at
                before.append(known)

    @rule(
        ids=st.lists(names, min_size=1, max_size=4, unique=True),
        vectors=st.lists(st.integers(0, len(POOL) - 1), min_size=4, max_size=4),
        erased=st.lists(names, max_size=2),
        relabelled=names,
        label=labels,
        grows=st.booleans(),
    )
    def others_change_while_users_come(
        self,
        ids: list[str],
        vectors: list[int],
        erased: list[str],
        relabelled: str,
        label: tuple[int, str | None] | None,
        grows: bool,
    ) -> None:
        """Whoever comes is prepared of what was there before, and served with what became of it."""
        before = self.service
        self.users_come_or_change(ids, vectors, 5, True)
        prepared = self.service.population
        self.label_changes(relabelled, label)
        self.users_are_erased(erased)
        now, delta = before.population, before.population.delta
        if grows and delta.num_slots:
            now = now.with_delta(delta.adopting(delta.grown_graph(self.config), delta))
        now = now.with_labels(self.label_table()).without_users(self.erased)
        self.service = before.answering_for(prepared.catching_up(now))

    def penalties_of(
        self, vector_D: Vectors, user_id: str, there: Iterable[Known]
    ) -> tuple[float, float]:
        """Return what corrects a vector: as the build or whoever had it first, or by definition."""
        alike = likeness(vector_D)
        in_build = self.users_of(self.build).values()
        for known in (*in_build, *there):
            if likeness(known.vector_D) == alike:
                return known.penalties
        return brute_penalties(self.build, vector_D, user_id)

    @rule(user_id=names, late=st.booleans())
    def user_loses_all_events(self, user_id: str, late: bool) -> None:
        seen_at = NOW + timedelta(days=self.day + 1 if late else -1)
        nothing = np.empty((0, DIM), dtype=np.float32)
        nobody = SEEN_SCHEMA.empty_table()
        changed = ChangedUsers(nobody, nothing, SPACE_ID, seen_at, frozenset([user_id]))
        self.become(self.service.population.with_changed(changed, users_max=1_000))
        self.oracle.pop(user_id, None)
        if user_id not in self.erased:
            self.came[user_id] = None, seen_at

    @rule(user_id=names, label=labels)
    def label_changes(self, user_id: str, label: tuple[int, str | None] | None) -> None:
        self.changes[user_id] = label
        if user_id in self.oracle:
            self.oracle[user_id] = replace(self.oracle[user_id], label=label)
        self.become(self.service.population.with_labels(self.label_table()))

    def label_table(self) -> pa.Table:
        rows = [
            {
                "user_id": user_id,
                "label": None if label is None else label[0],
                "policy": None if label is None else label[1],
            }
            for user_id, label in self.changes.items()
        ]
        return pa.Table.from_pylist(rows, schema=CHANGES_SCHEMA)

    @rule(ids=st.lists(names, max_size=3))
    def users_are_erased(self, ids: list[str]) -> None:
        self.erased |= set(ids)
        for user_id in ids:
            self.oracle.pop(user_id, None)
            self.came.pop(user_id, None)
        self.become(self.service.population.without_users(self.erased))

    @rule()
    def graph_grows(self) -> None:
        delta = self.service.population.delta
        if delta.num_slots:
            graph = delta.grown_graph(self.config)
            self.become(self.service.population.with_delta(delta.adopting(graph, delta)))

    @rule(day=st.integers(0, 1))
    def another_build_goes_live(self, day: int) -> None:
        self.day = day
        build = stored(self.config, day)
        population = Population.of(build).carrying(self.service.population)
        population = population.with_labels(self.label_table())
        self.service = LookalikeService(
            build, FakeEmbedder(), FakeRisk(), IndexConfig(), clock=lambda: NOW
        ).answering_for(population)
        stays = {
            user_id: (known, seen_at)
            for user_id, (known, seen_at) in self.came.items()
            if seen_at >= build.manifest.data_as_of
        }
        self.came = stays
        self.oracle = self.users_of(build)
        for user_id in stays:
            self.oracle.pop(user_id, None)
        there: list[Known] = []
        came = [(user_id, known) for user_id, (known, _) in stays.items() if known is not None]
        for user_id, known in sorted(came, key=lambda one: one[1].place):
            penalties = self.penalties_of(known.vector_D, user_id, there)
            own = self.users_of(build).get(user_id)
            label = None if own is None else own.label
            self.oracle[user_id] = replace(known, penalties=penalties, label=label)
            there.append(self.oracle[user_id])
        for user_id in self.erased:
            self.oracle.pop(user_id, None)
        for user_id in self.changes.keys() & self.oracle.keys():
            self.oracle[user_id] = replace(self.oracle[user_id], label=self.changes[user_id])

    @rule(request=requests, user_id=names, vector=st.integers(0, len(POOL) - 1))
    def searches_agree(self, request: NeighborRequest, user_id: str, vector: int) -> None:
        (answer,) = self.service.neighbors_of_users([user_id], request)
        if user_id in self.oracle:
            assert isinstance(answer, NeighborAnswer)
            assert answer.num_events == self.oracle[user_id].num_events
            self.check(answer, self.oracle[user_id].vector_D, request, own=user_id)
        else:
            assert answer == UnknownUser(user_id)
        (answer,) = self.service.neighbors_of_vectors(POOL[[vector]], SPACE_ID, request)
        self.check(answer, POOL[vector], request, own=None)

    def check(
        self, answer: NeighborAnswer, query_D: Vectors, request: NeighborRequest, own: str | None
    ) -> None:
        """Compare with groups of equal vectors, ranked, of each the users in the order shown."""
        passing = {
            user_id: known
            for user_id, known in self.oracle.items()
            if user_id != own and passes(known, request)
        }
        groups: dict[int, list[str]] = {}
        for user_id in sorted(passing, key=lambda one: shown_first(passing[one])):
            groups.setdefault(likeness(passing[user_id].vector_D), []).append(user_id)
        view = self.build.view(request)
        searched_D = view.weigh(query_D[None])[0].astype(float)
        which = 0 if request.compares_as_stored else 1
        score = {
            group: max(
                float(searched_D @ passing[one].vector_D) - passing[one].penalties[which]
                for one in members
            )
            for group, members in groups.items()
        }
        got = [hit.user_id for hit in answer.hits]
        assert set(got) <= set(passing)
        shown = list(dict.fromkeys(likeness(passing[one].vector_D) for one in got))
        order = [*shown, *sorted(groups.keys() - set(shown), key=lambda group: -score[group])]
        ranked = [score[group] for group in order]
        assert ranked == pytest.approx(sorted(ranked, reverse=True), abs=2e-5)
        if request.count == "behaviors":
            assert got == [groups[group][0] for group in order[: request.k]]
        else:
            taken = places([len(groups[group]) for group in order], request.k)
            assert got == [
                one for group, num in zip(order, taken, strict=True) for one in groups[group][:num]
            ]
        for hit in answer.hits:
            alike = groups[likeness(passing[hit.user_id].vector_D)]
            known = passing[hit.user_id]
            cosine = view.products(query_D, known.vector_D[None]).sum()
            assert hit.similarity == pytest.approx(np.clip(cosine, -1, 1), abs=1e-6)
            expected = expected_hit(hit.user_id, known, hit.similarity)
            assert hit._replace(members=None) == expected._replace(duplicates=len(alike) - 1)
            if request.members:
                assert hit.members is not None
                names = [member.user_id for member in hit.members]
                assert names == alike[1 : 1 + request.members]

    @invariant()
    def counts_and_profiles_agree(self) -> None:
        if not hasattr(self, "service"):
            return
        assert self.service.num_users == len(self.oracle)
        violators = [known for known in self.oracle.values() if (known.label or (0,))[0] == 1]
        assert self.service.num_violators == len(violators)
        assert set(self.service.user_ids(0, 1_000)) == set(self.oracle)
        for user_id in (user_name(2), user_name(9), user_name(NUM_USERS + 1)):
            profile = self.service.profile(user_id)
            assert isinstance(profile, UserProfile) == (user_id in self.oracle)
            if isinstance(profile, UserProfile):
                known = self.oracle[user_id]
                label = known.label or (None, None)
                assert (profile.label, profile.policy) == label
                assert profile.num_events == known.num_events


def passes(known: Known, request: NeighborRequest) -> bool:
    label, policy = known.label or (None, None)
    condition = request.filter or Filter()
    return (
        (not request.known_violators or label == 1)
        and (condition.label is None or label == condition.label)
        and (condition.policies is None or policy in condition.policies)
        and (condition.min_events is None or known.num_events >= condition.min_events)
    )


def expected_hit(user_id: str, known: Known, similarity: float) -> Hit:
    is_violator = known.label is not None and known.label[0] == 1
    policy = known.label[1] if is_violator and known.label else None
    return Hit(user_id, similarity, is_violator, policy, known.num_events, 0)


def likeness(vector_D: Vectors) -> int:
    """Return which of all vectors it is but for noise."""
    return int(np.flatnonzero(np.linalg.norm(ORIGINALS - vector_D, axis=1) < 1e-4)[0])


def shown_first(known: Known) -> tuple[bool, int, int]:
    return (known.label or (0,))[0] != 1, -known.num_events, known.place


@contextmanager
def packed_early() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("index.delta.DEAD_MIN", 3)
        yield


def test_a_service_under_changes_answers_as_a_sorted_list() -> None:
    with packed_early():
        run_state_machine_as_test(
            LiveChanges,
            settings=settings(
                max_examples=40,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
