"""Builds in Milvus: loaded, published, taken back and dropped, whatever goes wrong meanwhile."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from types import FrameType
from typing import Any

import numpy as np
import pytest

from index.answers import Filter, NeighborRequest
from index.build import Build, load_build, write_build
from index.builds import build_dir, promote, prune, rollback
from index.config import IndexConfig
from index.errors import (
    AliasNotMoved,
    CollectionInvalid,
    CollectionMissing,
    MilvusError,
    MilvusNotConfigured,
    MilvusUnavailable,
)
from index.exact import ExactIndex
from index.forgetting import forget_in_builds
from index.gate import GateReport
from index.live import LiveService
from index.manifest import read_manifest
from index.milvus.client import MilvusServer
from index.milvus.collections import MilvusCollections
from index.milvus.search import MilvusIndex, MilvusView
from index.publish import publish, read_live
from index.vectors import Neighbors, Vectors
from store.workspace import Workspace
from tests.index_fakes import (
    NOW,
    build_input,
    open_fake_service,
    publish_build,
    unit_vectors,
    user_name,
)
from tests.milvus_servers import milvus_config, skip_without

pytestmark = pytest.mark.slow

PASSED = GateReport(())


def stage(
    workspace: Workspace, config: IndexConfig, collections: MilvusCollections, day: int
) -> Build:
    """Write a build, and load it into its collection."""
    given = build_input(unit_vectors(40, seed=day), violators=[1, 5])
    staged = write_build(workspace, given, config, now=NOW + timedelta(days=day))
    return collections.load(load_build(staged))


def publish_days(
    workspace: Workspace, config: IndexConfig, collections: MilvusCollections, num: int
) -> list[str]:
    """Publish one build a day, and return their ids."""
    return [
        publish(
            workspace,
            stage(workspace, config, collections, day).directory,
            PASSED,
            now=NOW,
            collections=collections,
        ).build_id
        for day in range(num)
    ]


def target(collections: MilvusCollections) -> str | None:
    """Return what the alias stands for."""
    return collections.server.alias_target(collections._milvus.alias)


def served(workspace: Workspace, config: IndexConfig) -> str:
    """Open what is live, see that it answers as the exact search does, and return its id."""
    service = open_fake_service(workspace, config=config)
    assert service.search_mode == "milvus"
    (candidate,) = service.build.manifest.choice.candidates
    assert candidate.kind == "milvus"
    assert candidate.reached
    (answer,) = service.neighbors_of_vectors(
        service.build.vectors_ND[[3]], service.space_id, NeighborRequest(k=4)
    )
    assert answer.search_mode == "milvus"
    expected = service.build.everyone.search(service.build.vectors_ND[[3]], k=4)
    names = [user_name(row) for row in expected.rows_QK[0].tolist()]
    assert [hit.user_id for hit in answer.hits] == names
    return service.build_id


def test_a_build_is_published_and_taken_back_with_its_collection(
    workspace: Workspace, in_milvus: IndexConfig, collections: MilvusCollections
) -> None:
    first, second, third = publish_days(workspace, in_milvus, collections, 3)
    assert served(workspace, in_milvus) == third
    assert target(collections) == collections.name_of(third)
    rollback(workspace, now=NOW, collections=collections)
    assert served(workspace, in_milvus) == second
    assert target(collections) == collections.name_of(second)
    promote(workspace, first, now=NOW, collections=collections)  # was out of the server's memory
    assert served(workspace, in_milvus) == first
    assert target(collections) == collections.name_of(first)


def test_builds_that_are_pruned_take_their_collections_along(
    workspace: Workspace, in_milvus: IndexConfig, collections: MilvusCollections
) -> None:
    first, second, third = publish_days(workspace, in_milvus, collections, 3)
    abandoned = stage(workspace, in_milvus, collections, 9)
    touched = abandoned.directory.stat().st_mtime
    later = NOW + timedelta(seconds=touched - NOW.timestamp(), days=2)
    assert prune(workspace, keep=0, now=later, collections=collections) == [first]
    has = collections.server.has
    assert not has(collections.name_of(first))
    assert not has(collections.name_of(abandoned.manifest.build_id))
    assert has(collections.name_of(second))
    assert has(collections.name_of(third))
    rollback(workspace, now=NOW, collections=collections)
    assert served(workspace, in_milvus) == second


def test_an_erased_user_leaves_the_old_builds_with_their_collections(
    workspace: Workspace, in_milvus: IndexConfig, collections: MilvusCollections
) -> None:
    first, second = publish_days(workspace, in_milvus, collections, 2)
    forgotten = forget_in_builds(workspace, {user_name(3)}, collections=collections)
    assert forgotten.removed == (first,)
    assert forgotten.live_holds
    assert not collections.server.has(collections.name_of(first))
    assert collections.server.has(collections.name_of(second))


class StuckServer(MilvusServer):
    """A server that says it swung the alias and goes on answering from the old collection."""

    def set_alias(self, alias: str, name: str) -> None:
        pass


def test_an_alias_that_goes_on_answering_from_the_old_collection_stops_the_publish(
    workspace: Workspace, in_milvus: IndexConfig, collections: MilvusCollections
) -> None:
    first, second = publish_days(workspace, in_milvus, collections, 2)
    hasty = in_milvus.model_copy(
        update={"milvus": in_milvus.milvus.model_copy(update={"timeout_seconds": 0.5})}
    )
    stuck = MilvusCollections(hasty)
    stuck.server = StuckServer(in_milvus.milvus)
    third = stage(workspace, in_milvus, collections, 2)
    for change in (
        lambda: publish(workspace, third.directory, PASSED, now=NOW, collections=stuck),
        lambda: rollback(workspace, now=NOW, collections=stuck),
    ):
        with pytest.raises(AliasNotMoved, match="answers from another collection"):
            change()
        pointer = read_live(workspace)
        assert pointer is not None
        assert (pointer.live, pointer.previous) == (second, first)
        assert target(collections) == collections.name_of(second)
    assert served(workspace, in_milvus) == second
    promote(workspace, third.manifest.build_id, now=NOW, collections=collections)
    assert served(workspace, in_milvus) == third.manifest.build_id


class SlowServer(MilvusServer):
    """A server whose searches follow the alias some searches later."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.num_searches = 0

    def search(self, name: str, query_QD: Vectors, **options: Any) -> Neighbors:
        self.num_searches += 1
        if self.num_searches <= 3:
            return Neighbors(np.array([[-17]]), np.zeros((1, 1), np.float32))
        return super().search(name, query_QD, **options)


def test_an_alias_that_follows_late_is_waited_for(
    workspace: Workspace, in_milvus_lite: IndexConfig
) -> None:
    collections = MilvusCollections(in_milvus_lite)
    first, second = publish_days(workspace, in_milvus_lite, collections, 2)
    collections.server = slow = SlowServer(in_milvus_lite.milvus)
    collections.point_to(first)
    assert slow.num_searches == 4
    assert target(collections) == collections.name_of(first) != collections.name_of(second)


class LossyServer(MilvusServer):
    """A server that takes entities and forgets some."""

    def insert(self, name: str, columns: Any, *, is_sentinel: bool = False) -> None:
        if not is_sentinel:
            columns = {key: list(values)[:-1] for key, values in columns.items()}
        super().insert(name, columns, is_sentinel=is_sentinel)


def test_a_collection_that_holds_less_than_was_sent_is_refused(
    workspace: Workspace, in_milvus_lite: IndexConfig
) -> None:
    collections = MilvusCollections(in_milvus_lite)
    collections.server = LossyServer(in_milvus_lite.milvus)
    with pytest.raises(CollectionInvalid, match=r"41 entities were sent, .* holds 40"):
        stage(workspace, in_milvus_lite, collections, 0)


def test_a_collection_of_another_build_is_refused(
    workspace: Workspace, in_milvus_lite: IndexConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    collections = MilvusCollections(in_milvus_lite)
    first, second = publish_days(workspace, in_milvus_lite, collections, 2)
    name = collections.name_of(first)
    monkeypatch.setattr(collections, "name_of", lambda build_id: name)
    with pytest.raises(CollectionInvalid, match=f"{name} is not of build {second}"):
        collections.open(load_build(build_dir(workspace, second)))


def test_a_build_whose_collection_is_gone_says_what_to_do(
    workspace: Workspace, in_milvus: IndexConfig, collections: MilvusCollections
) -> None:
    first, _ = publish_days(workspace, in_milvus, collections, 2)
    collections.drop(first)
    with pytest.raises(CollectionMissing, match="lookalike rebuild"):
        rollback(workspace, now=NOW, collections=collections)
    with pytest.raises(CollectionMissing, match="lookalike rebuild"):
        open_fake_service(workspace, first, in_milvus)


def test_the_collection_that_the_alias_names_is_never_dropped(
    workspace: Workspace, in_milvus_lite: IndexConfig
) -> None:
    collections = MilvusCollections(in_milvus_lite)
    (live,) = publish_days(workspace, in_milvus_lite, collections, 1)
    with pytest.raises(CollectionInvalid, match="it stays"):
        collections.drop(live)
    assert served(workspace, in_milvus_lite) == live


def test_back_to_a_build_on_disk_takes_the_alias_away(
    workspace: Workspace, in_milvus: IndexConfig, collections: MilvusCollections
) -> None:
    on_disk = publish_build(workspace, build_input(unit_vectors(8))).build_id
    (live,) = publish_days(workspace, in_milvus, collections, 1)
    assert target(collections) == collections.name_of(live)
    rollback(workspace, now=NOW, collections=collections)
    assert target(collections) is None
    assert open_fake_service(workspace, config=in_milvus).build_id == on_disk
    rollback(workspace, now=NOW, collections=collections)
    assert served(workspace, in_milvus) == live


def nowhere() -> IndexConfig:
    return milvus_config("http://127.0.0.1:1", timeout_seconds=0.5)


def test_a_server_that_is_away_is_named_and_changes_nothing(
    workspace: Workspace, in_milvus_lite: IndexConfig
) -> None:
    collections = MilvusCollections(in_milvus_lite)
    first, second = publish_days(workspace, in_milvus_lite, collections, 2)
    away = MilvusCollections(nowhere())
    third = stage(workspace, in_milvus_lite, collections, 2)
    for change in (
        lambda: publish(workspace, third.directory, PASSED, now=NOW, collections=away),
        lambda: rollback(workspace, now=NOW, collections=away),
        lambda: prune(workspace, keep=1, now=NOW, collections=away),
        lambda: open_fake_service(workspace, config=nowhere()),
    ):
        with pytest.raises(MilvusUnavailable, match=r"127\.0\.0\.1:1"):
            change()
    assert third.directory.is_dir()
    pointer = read_live(workspace)
    assert pointer is not None
    assert (pointer.live, pointer.previous) == (second, first)


def test_what_an_away_server_kept_from_being_dropped_is_dropped_later(
    workspace: Workspace, in_milvus_lite: IndexConfig
) -> None:
    """The users' files go at once all the same."""
    collections = MilvusCollections(in_milvus_lite)
    first, _ = publish_days(workspace, in_milvus_lite, collections, 2)
    with pytest.raises(MilvusUnavailable):
        forget_in_builds(workspace, {user_name(3)}, collections=MilvusCollections(nowhere()))
    (kept,) = workspace.builds_dir.glob(".trash-*")
    assert list(kept.iterdir()) == []
    assert collections.server.has(collections.name_of(first))
    forget_in_builds(workspace, {user_name(3)}, collections=collections)
    assert not collections.server.has(collections.name_of(first))
    assert list(workspace.builds_dir.glob(".trash-*")) == []


def test_a_service_goes_on_with_its_build_where_the_next_one_has_no_collection(
    workspace: Workspace, in_milvus_lite: IndexConfig
) -> None:
    collections = MilvusCollections(in_milvus_lite)
    (first,) = publish_days(workspace, in_milvus_lite, collections, 1)
    live = LiveService(
        workspace,
        in_milvus_lite,
        open_service=open_fake_service,
    )
    assert live.refresh()
    second = stage(workspace, in_milvus_lite, collections, 1)
    publish(workspace, second.directory, PASSED, now=NOW, collections=collections)
    collections.point_to(first)
    collections.drop(second.manifest.build_id)
    assert not live.refresh()
    assert live.current().build_id == first
    assert "has no collection" in (live.status().error or "")


def test_a_build_in_milvus_needs_a_server_that_is_set(
    workspace: Workspace, in_milvus_lite: IndexConfig
) -> None:
    collections = MilvusCollections(in_milvus_lite)
    first, _ = publish_days(workspace, in_milvus_lite, collections, 2)
    with pytest.raises(MilvusNotConfigured, match="is in Milvus: set `uri`"):
        open_fake_service(workspace)
    with pytest.raises(MilvusNotConfigured):
        promote(workspace, first, now=NOW)


def test_an_address_that_is_none_is_told() -> None:
    skip_without("pymilvus")
    with pytest.raises(MilvusNotConfigured, match="nothing://x"):
        MilvusServer(milvus_config("nothing://x").milvus)


def test_a_build_remembers_where_it_is_and_no_secret(
    workspace: Workspace, in_milvus_lite: IndexConfig
) -> None:
    settings = in_milvus_lite.model_dump()
    settings["milvus"]["token"] = "root:Milvus"
    config = IndexConfig.model_validate(settings)
    given = build_input(unit_vectors(5))
    staged = write_build(workspace, given, config, now=NOW)
    assert "root:Milvus" not in (staged / "manifest.json").read_text()
    assert read_manifest(staged).config.milvus.uri == config.milvus.uri


class GraphServer(MilvusServer):
    """A server whose graph loses candidates under a filter, as that of FAISS does."""

    def search(self, name: str, query_QD: Vectors, **options: Any) -> Neighbors:
        found = super().search(name, query_QD, **options)
        if options.get("expression"):
            found.rows_QK[:, 1:] = -1
            found.score_QK[:, 1:] = -np.inf
        return found


def test_candidates_that_a_server_loses_are_compared_here(
    workspace: Workspace, in_milvus_lite: IndexConfig
) -> None:
    collections = MilvusCollections(in_milvus_lite)
    build = stage(workspace, in_milvus_lite, collections, 0)
    assert isinstance(build.remote, MilvusView)
    index = replace(build.remote.index, server=GraphServer(in_milvus_lite.milvus))
    view = replace(build.remote, index=index)
    request = NeighborRequest(k=6, filter=Filter(min_events=11))
    query = unit_vectors(4, seed=99)
    condition = request.filter
    assert condition is not None
    part = build.slices.get(condition, known_violators=False)
    found, mode = view.find(query, request, part, k=6)
    expected = build.everyone.search_rows(query, np.arange(10, 40), k=6)
    assert mode == "exact_filtered"
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    np.testing.assert_allclose(found.score_QK, expected.score_QK, atol=1e-5)


class Death(BaseException):
    """The process ends here: nothing that handles errors sees it."""


@contextmanager
def dying_at_line(line: int, files: tuple[str, ...]) -> Iterator[None]:
    """Let the n-th line of these files be the last that runs."""
    num_lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal num_lines
        if not frame.f_code.co_filename.endswith(files) or frame.f_code.co_name == "publish_lock":
            return None  # the kernel frees a lock when a process ends, and this one goes on
        if event == "line":
            num_lines += 1
            if num_lines == line:
                raise Death
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


FATAL_FILES = ("index/builds.py", "index/publish.py", "index/milvus/collections.py")


def deaths(change: Callable[[], Any], step: int) -> Iterator[int]:
    """Run a change again and again, ended `step` lines later each time, until one ends alive."""
    line = 1
    while True:
        try:
            with dying_at_line(line, FATAL_FILES):
                change()
        except Death:
            yield line
        else:
            return
        line += step


def test_a_death_at_any_line_of_a_rollback_leaves_the_old_build_live_or_the_new_one(
    workspace: Workspace, in_milvus_lite: IndexConfig
) -> None:
    """The alias may be one step ahead; the next change, or a prune, brings it back."""
    collections = MilvusCollections(in_milvus_lite)
    first, second = publish_days(workspace, in_milvus_lite, collections, 2)
    names = {collections.name_of(one) for one in (first, second)}
    seen: list[Any] = []
    for _ in deaths(lambda: rollback(workspace, now=NOW, collections=collections), step=2):
        live = served(workspace, in_milvus_lite)
        assert target(collections) in names
        assert live in (first, second)
        seen.append(live)
        prune(workspace, keep=9, now=NOW, collections=collections)
        assert target(collections) == collections.name_of(live)
        promote(workspace, second, now=NOW, collections=collections)
    assert set(seen) == {first, second}
    assert len(seen) > 20


def test_a_death_at_any_line_of_a_publish_leaves_the_old_build_live_or_the_new_one(
    workspace: Workspace, in_milvus_lite: IndexConfig
) -> None:
    collections = MilvusCollections(in_milvus_lite)
    published = publish_days(workspace, in_milvus_lite, collections, 2)
    seen: list[Any] = []

    def change() -> None:
        staged = stage(workspace, in_milvus_lite, collections, 3 + len(seen))
        publish(workspace, staged.directory, PASSED, now=NOW, collections=collections)

    before = published[-1]
    for _ in deaths(change, step=17):
        live = served(workspace, in_milvus_lite)
        pointer = read_live(workspace)
        assert pointer is not None
        assert live == before or pointer.previous == before
        seen.append(live == before)
        before = live
    assert served(workspace, in_milvus_lite) != before
    assert len(seen) > 5
    assert seen[0]


def test_scores_fetched_are_those_of_the_exact_search(
    workspace: Workspace, in_milvus_lite: IndexConfig
) -> None:
    build = stage(workspace, in_milvus_lite, MilvusCollections(in_milvus_lite), 0)
    assert build.approximate is not None
    index = build.approximate.inner
    assert isinstance(index, MilvusIndex)
    query = unit_vectors(3, seed=5)
    found = index.score_all(query, "entry >= 0", num_entries=40)
    expected = ExactIndex(build.vectors_ND, build.everyone.penalty_N).search(query, k=40)
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    with pytest.raises(CollectionInvalid, match="gives 40"):
        index.score_all(query, "entry >= 0", num_entries=41)


def test_the_server_is_told_no_more_than_the_error_says(in_milvus_lite: IndexConfig) -> None:
    server = MilvusServer(in_milvus_lite.milvus)
    with pytest.raises(CollectionMissing, match="searching nothing failed"):
        server.search("nothing", unit_vectors(1), k=1, effort=8)
    with pytest.raises(MilvusError, match="counting in nothing failed"):
        server.count("nothing")
