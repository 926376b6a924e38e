"""What changes while users are added or a build takes them over counts at once, and stays."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from index.answers import Filter, NeighborAnswer, NeighborRequest
from index.builds import rollback
from index.config import IndexConfig
from index.delta import Delta
from index.hnsw import HnswIndex
from index.live import LiveService
from index.population import Population
from index.service import LookalikeService
from index.slice_indexes import SliceIndexes
from store.workspace import Workspace
from tests.index_fakes import (
    DIM,
    NOW,
    SPACE_ID,
    build_input,
    open_fake_service,
    publish_build,
    unit_vectors,
    user_name,
)
from tests.integration.index.test_live import (
    Clock,
    Erasures,
    Labels,
    changed_users,
    is_known,
    labelled_service,
    publish_day,
    violators,
)

SECONDS_MAX = 10.0
WITH_GRAPH = IndexConfig(delta_exact_multiplications=5 * DIM)

Beside = Callable[[Callable[[], Any]], Any]


@contextmanager
def held(
    monkeypatch: pytest.MonkeyPatch, owner: type, step: str, work: Callable[[], Any]
) -> Iterator[Beside]:
    """Do work in a thread, one step of which returns only after the block; then wait for it all.

    The block is given what does something else beside, and fails where that has to wait.
    """
    reached, go_on, done = threading.Event(), threading.Event(), getattr(owner, step)

    def held_step(*given: Any, **named: Any) -> Any:
        result = done(*given, **named)
        reached.set()
        assert go_on.wait(3 * SECONDS_MAX)
        return result

    monkeypatch.setattr(owner, step, held_step)
    with ThreadPoolExecutor() as pool:
        working = pool.submit(work)
        try:
            assert reached.wait(SECONDS_MAX)
            yield lambda task: pool.submit(task).result(SECONDS_MAX)
        finally:
            go_on.set()
        working.result(SECONDS_MAX)


def erase_and_label(live: LiveService, erasures: Erasures, labels: Labels, beside: Beside) -> None:
    """Erase users 3, 7 and 100, and label 4, 5 and 101 `late`; both must count at once."""
    for row in (3, 7, 100):
        erasures.add(row)
    assert beside(live.follow_erasures)
    for row in (4, 5, 101):
        labels.set(row, 1, "late")
    assert beside(live.follow_labels)


def test_erasures_and_labels_count_while_users_are_added(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    erasures, labels = Erasures(), Labels()
    live = labelled_service(workspace, labels, read_erased=erasures)
    publish_day(workspace, 0)
    live.refresh()
    new = changed_users([3, 5, 6, 100, 101, 102], seen_at=NOW)
    with held(monkeypatch, Population, "with_changed", lambda: live.apply(new)) as beside:
        erase_and_label(live, erasures, labels, beside)
        assert [is_known(live, row) for row in (3, 7, 101)] == [False, False, False]
        assert violators(live) == {user_name(1): "spam", user_name(4): "late", user_name(5): "late"}
    known = [is_known(live, row) for row in (3, 7, 100, 5, 6, 101, 102)]
    assert known == [False, False, False, True, True, True, True]
    late = {user_name(row): "late" for row in (4, 5, 101)}
    assert violators(live) == {user_name(1): "spam", **late}
    assert live.current().num_violators == 4
    assert live.current().num_users == 20 - 2 + 2
    assert not live.follow_erasures()
    assert not live.follow_labels()


def test_erasures_and_labels_count_while_a_build_takes_over(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    erasures, labels = Erasures(), Labels()
    live = labelled_service(workspace, labels, read_erased=erasures)
    first = publish_day(workspace, 0)
    live.refresh()
    live.apply(changed_users([3, 5, 100, 101], seen_at=NOW))
    second = publish_day(workspace, 1)
    with held(monkeypatch, Population, "carrying", live.refresh) as beside:
        erase_and_label(live, erasures, labels, beside)
        assert live.current().build_id == first
        assert not any(is_known(live, row) for row in (3, 7, 100))
        assert user_name(101) in violators(live)
    assert live.current().build_id == second
    assert [is_known(live, row) for row in (3, 7, 100, 5, 101)] == [False, False, False, True, True]
    late = {user_name(row): "late" for row in (4, 5, 101)}
    assert violators(live) == {user_name(1): "spam", **late}
    assert not live.follow_erasures()
    assert not live.follow_labels()


@pytest.mark.parametrize("goes_back", [False, True])
def test_a_build_that_goes_live_while_users_are_added_has_them(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, goes_back: bool
) -> None:
    erasures, labels, opened = Erasures(), Labels(), threading.Event()

    def open_and_tell(where: Workspace, build_id: str, config: IndexConfig) -> LookalikeService:
        service = open_fake_service(where, build_id, config)
        opened.set()
        return service

    live = LiveService(
        workspace,
        IndexConfig(),
        read_erased=erasures,
        read_labels=labels,
        open_service=open_and_tell,
        clock=Clock(),
    )
    publish_day(workspace, 0)
    if goes_back:
        publish_day(workspace, 1)
    live.refresh()
    before = live.current().build_id
    new = changed_users([3, 100, 101], seen_at=NOW)
    refreshing = threading.Thread(target=live.refresh)
    with held(monkeypatch, Population, "with_changed", lambda: live.apply(new)) as beside:
        opened.clear()
        if goes_back:
            rollback(workspace, now=NOW)
        else:
            publish_day(workspace, 1)
        refreshing.start()
        assert opened.wait(SECONDS_MAX)
        erasures.add(100)
        beside(live.follow_erasures)
        labels.set(101, 1, "late")
        beside(live.follow_labels)
    refreshing.join(SECONDS_MAX)
    assert live.current().build_id != before
    assert [is_known(live, row) for row in (3, 100, 101)] == [True, False, True]
    assert live.current().population.delta.num_users == 2
    assert violators(live) == {user_name(1): "spam", user_name(101): "late"}


def test_users_who_come_while_a_build_takes_over_are_served_in_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = labelled_service(workspace, Labels())
    publish_day(workspace, 0)
    live.refresh()
    live.apply(changed_users([100], seen_at=NOW))
    second = publish_day(workspace, 1)
    more = changed_users([3, 101], seen_at=NOW, seed=6)
    applying = threading.Thread(target=live.apply, args=[more])
    with held(monkeypatch, Population, "carrying", live.refresh):
        applying.start()
    applying.join(SECONDS_MAX)
    assert live.current().build_id == second
    assert [is_known(live, row) for row in (100, 101)] == [True, True]
    assert live.current().population.delta.num_users == 3


def test_who_is_erased_while_no_room_is_found_is_not_left_out(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    erasures = Erasures()
    config = IndexConfig(delta_users_max=1)
    live = labelled_service(workspace, Labels(), read_erased=erasures, config=config)
    publish_day(workspace, 0)
    live.refresh()
    new = changed_users([100, 101, 102], seen_at=NOW)
    with held(monkeypatch, Population, "with_changed", lambda: live.apply(new)) as beside:
        erasures.add(101)
        beside(live.follow_erasures)
    assert live.status().num_left_out == 1


def num_linked(live: LiveService) -> int:
    """Return how many of the changed users a graph knows, when it is grown."""
    assert live.settle(SECONDS_MAX)
    graph = live.current().population.delta.graph
    return 0 if graph is None else graph.num_entries


def test_many_users_who_are_taken_over_have_a_graph_though_nobody_else_comes(
    workspace: Workspace,
) -> None:
    live = labelled_service(workspace, Labels(), config=WITH_GRAPH)
    publish_day(workspace, 0)
    live.refresh()
    live.apply(changed_users(range(100, 130), seen_at=NOW))
    assert num_linked(live) == 30
    publish_day(workspace, 1)
    live.refresh()
    assert num_linked(live) == 30


def test_many_users_of_whom_others_were_erased_have_a_graph(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.delta.DEAD_MIN", 3)
    erasures = Erasures()
    live = labelled_service(workspace, Labels(), read_erased=erasures, config=WITH_GRAPH)
    publish_day(workspace, 0)
    live.refresh()
    live.apply(changed_users(range(100, 130), seen_at=NOW))
    assert num_linked(live) == 30
    for row in range(100, 120):
        erasures.add(row)
    live.follow_erasures()
    assert num_linked(live) == 10, "their slots have other numbers"


def test_a_graph_that_is_grown_while_another_build_takes_over_is_grown_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = labelled_service(workspace, Labels(), config=WITH_GRAPH)
    publish_day(workspace, 0)
    live.refresh()
    new = changed_users(range(100, 130), seen_at=NOW)

    def come_and_grow() -> None:
        live.apply(new)
        assert live.settle(SECONDS_MAX)

    with held(monkeypatch, Delta, "grown_graph", come_and_grow) as beside:
        publish_day(workspace, 1)
        assert beside(live.refresh), "it does not wait for the graph"
        assert live.current().population.delta.graph is None
    assert num_linked(live) == 30


def test_a_graph_that_is_grown_while_users_are_added_is_kept(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = labelled_service(workspace, Labels(), config=WITH_GRAPH)
    publish_day(workspace, 0)
    live.refresh()
    grow, grown_graph = threading.Event(), Delta.grown_graph

    def grown_when_told(delta: Delta, config: IndexConfig) -> HnswIndex:
        assert grow.wait(SECONDS_MAX)
        return grown_graph(delta, config)

    monkeypatch.setattr(Delta, "grown_graph", grown_when_told)
    live.apply(changed_users(range(100, 130), seen_at=NOW))
    few = changed_users(range(200, 203), seen_at=NOW, seed=6)
    with held(monkeypatch, Population, "with_changed", lambda: live.apply(few)):
        grow.set()
        assert num_linked(live) == 30
    assert num_linked(live) == 30
    assert live.current().population.delta.num_users == 33


def test_slices_of_a_build_that_was_replaced_get_no_more_indexes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    making, go_on, made = threading.Event(), threading.Event(), list[int]()

    def make(_self: SliceIndexes, rows_M: Any, *_given: Any) -> None:
        making.set()
        assert go_on.wait(SECONDS_MAX)
        made.append(len(rows_M))

    monkeypatch.setattr(SliceIndexes, "make", make)
    monkeypatch.setattr(SliceIndexes, "pays_for", lambda *_given: True)
    config = IndexConfig(kind="hnsw", tuning_queries=100)
    live = labelled_service(workspace, Labels(), config=config)
    given = build_input(unit_vectors(400, DIM))
    publish_build(workspace, given, config)
    live.refresh()
    before = live.current()

    def ask(least: int) -> None:
        request = NeighborRequest(k=3, filter=Filter(min_events=least))
        for _ in range(2):
            (answer,) = before.neighbors_of_vectors(unit_vectors(1), SPACE_ID, request)
            assert isinstance(answer, NeighborAnswer)
            assert len(answer.hits) == 3

    for least in (101, 102, 103):
        ask(least)
    assert making.wait(SECONDS_MAX)
    publish_build(workspace, given, config, now=NOW + timedelta(hours=1))
    assert live.refresh()
    ask(104)
    go_on.set()
    assert before.build.slices.settle(SECONDS_MAX)
    assert made == [300], "only the one that was being made"
