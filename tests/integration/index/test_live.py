import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from index.answers import NeighborAnswer, NeighborRequest, RiskAnswer, UserProfile
from index.build_input import BuildInput
from index.builds import build_dir, promote, prune, rollback
from index.config import IndexConfig
from index.delta import SEEN_SCHEMA, ChangedUsers
from index.errors import BuildCorrupt, NoLiveBuild, SpaceMismatch
from index.live import NO_LABELS, RETRY_FIRST, RETRY_MAX, LiveService
from index.service import LookalikeService
from store.errors import DatabaseError
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
    write_rings_and_risk,
)

DEADLINE_SECONDS = 30.0


class Clock:
    """A clock that a test can turn."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self):  # type: ignore[no-untyped-def]  # a datetime
        return self.now


class Erasures:
    """Erased users, or a database that can't be read."""

    def __init__(self) -> None:
        self.user_ids: frozenset[str] = frozenset()
        self.is_broken = False

    def __call__(self) -> frozenset[str]:
        if self.is_broken:
            raise DatabaseError("the disk is full")
        return self.user_ids

    def add(self, row: int) -> None:
        self.user_ids |= {user_name(row)}


def live_service(
    workspace: Workspace,
    clock: Clock | None = None,
    erasures: Erasures | None = None,
    config: IndexConfig | None = None,
) -> LiveService:
    return LiveService(
        workspace,
        config or IndexConfig(),
        read_erased=erasures or Erasures(),
        open_service=lambda where, build_id, config: open_fake_service(where, build_id, config),
        clock=clock or Clock(),
    )


def day_input(day: int, num_users: int = 20) -> BuildInput:
    return build_input(unit_vectors(num_users, DIM, seed=day), violators=[1])


def publish_day(workspace: Workspace, day: int, num_users: int = 20) -> str:
    given = day_input(day, num_users)
    now = NOW + timedelta(days=day)
    return publish_build(workspace, given, now=now, write_extra=write_rings_and_risk).build_id


def test_nothing_is_served_before_the_first_publish(workspace: Workspace) -> None:
    live = live_service(workspace)
    with pytest.raises(NoLiveBuild, match="no build is loaded yet"):
        live.current()
    assert not live.refresh()
    with pytest.raises(NoLiveBuild, match="lookalike rebuild"):
        live.current()
    assert live.status().build_id is None
    assert live.status().error is not None


def test_first_publish_is_served_at_the_next_refresh(workspace: Workspace) -> None:
    live = live_service(workspace)
    live.refresh()
    build_id = publish_day(workspace, 0)
    assert live.refresh()
    assert live.current().build_id == build_id
    status = live.status()
    assert (status.build_id, status.error) == (build_id, None)
    assert status.loaded_at == status.checked_at == NOW
    assert not live.refresh()


def test_swap_and_rollback_are_followed(workspace: Workspace) -> None:
    live = live_service(workspace)
    first = publish_day(workspace, 0)
    live.refresh()
    before = live.current()
    second = publish_day(workspace, 1)
    assert live.refresh()
    assert live.current().build_id == second
    rollback(workspace, now=NOW)
    assert live.refresh()
    assert live.current().build_id == first
    assert before.neighbors_of_users([user_name(1)], NeighborRequest(k=3))


def test_promoting_what_is_served_loads_nothing(workspace: Workspace) -> None:
    live = live_service(workspace)
    first = publish_day(workspace, 0)
    publish_day(workspace, 1)
    promote(workspace, first, now=NOW)
    live.refresh()
    served = live.current()
    workspace.live_file.write_bytes(workspace.live_file.read_bytes())
    assert not live.refresh()
    assert live.current() is served


def test_damaged_build_leaves_the_old_one_in_service(workspace: Workspace) -> None:
    clock = Clock()
    live = live_service(workspace, clock)
    first = publish_day(workspace, 0)
    live.refresh()
    second = publish_day(workspace, 1)
    path = build_dir(workspace, second) / "vectors.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert not live.refresh()
    assert live.current().build_id == first
    assert live.status().build_id == first
    assert "vectors.npy" in (live.status().error or "")
    path.write_bytes(whole)
    assert not live.refresh(), "it is not read again and again"
    clock.now += RETRY_FIRST
    assert live.refresh()
    assert live.current().build_id == second
    assert live.status().error is None


def test_a_damaged_build_is_tried_soon_at_first_and_then_ever_later(workspace: Workspace) -> None:
    clock, tried = Clock(), 0

    def open_or_fail(where: Workspace, build_id: str, config: IndexConfig) -> LookalikeService:
        nonlocal tried
        tried += 1
        raise BuildCorrupt("damaged")

    live = LiveService(workspace, IndexConfig(), open_service=open_or_fail, clock=clock)
    publish_day(workspace, 0)
    waits = []
    for _ in range(7):
        waited, before = timedelta(), tried
        while tried == before:
            live.refresh()
            clock.now += RETRY_FIRST
            waited += RETRY_FIRST
        waits.append(waited.total_seconds())
    assert waits[1:] == [0.5, 1, 2, 4, 8, RETRY_MAX.total_seconds()]
    publish_day(workspace, 1)
    before = tried
    live.refresh()
    clock.now += RETRY_FIRST
    live.refresh()
    assert tried == before + 2, "another build is tried at once, and soon again"


def test_damaged_pointer_leaves_the_old_one_in_service(workspace: Workspace) -> None:
    live = live_service(workspace)
    first = publish_day(workspace, 0)
    live.refresh()
    workspace.live_file.write_text("{")
    assert not live.refresh()
    assert live.current().build_id == first
    workspace.live_file.unlink()
    live.refresh()
    assert live.current().build_id == first


def is_known(live: LiveService, row: int) -> bool:
    return isinstance(live.current().profile(user_name(row)), UserProfile)


def test_erased_users_are_hidden_at_the_load_and_as_they_come(workspace: Workspace) -> None:
    erasures = Erasures()
    live = live_service(workspace, erasures=erasures)
    erasures.add(3)
    assert not live.follow_erasures(), "nothing is loaded yet"
    publish_day(workspace, 0)
    live.refresh()
    assert [is_known(live, row) for row in (3, 4)] == [False, True]
    before = live.current()
    assert not live.follow_erasures()
    assert live.current() is before
    erasures.add(4)
    assert live.follow_erasures()
    assert [is_known(live, row) for row in (3, 4, 5)] == [False, False, True]
    assert isinstance(before.profile(user_name(4)), UserProfile), "a request ends as it began"
    publish_day(workspace, 1)
    assert live.refresh()
    assert [is_known(live, row) for row in (3, 4, 5)] == [False, False, True]


def test_a_user_erased_while_a_build_is_loading_is_hidden_in_it(workspace: Workspace) -> None:
    erasures = Erasures()

    def open_slowly(where: Workspace, build_id: str, config: IndexConfig) -> LookalikeService:
        opened = open_fake_service(where, build_id, config)
        erasures.add(3)
        live.follow_erasures()
        return opened

    live = LiveService(
        workspace, IndexConfig(), read_erased=erasures, open_service=open_slowly, clock=Clock()
    )
    publish_day(workspace, 0)
    live.refresh()
    assert not is_known(live, 3)


def test_nothing_is_served_before_it_is_known_who_was_erased(workspace: Workspace) -> None:
    clock, erasures = Clock(), Erasures()
    live = live_service(workspace, clock, erasures)
    publish_day(workspace, 0)
    erasures.is_broken = True
    live.refresh()
    with pytest.raises(NoLiveBuild, match="disk is full"):
        live.current()
    erasures.is_broken = False
    clock.now += RETRY_FIRST
    assert live.refresh()


def test_erasures_that_can_not_be_read_are_told_and_the_known_ones_hold(
    workspace: Workspace,
) -> None:
    erasures = Erasures()
    live = live_service(workspace, erasures=erasures)
    erasures.add(3)
    publish_day(workspace, 0)
    live.refresh()
    erasures.is_broken = True
    assert not live.follow_erasures()
    assert live.status().error == "the erasures can't be read: the disk is full"
    assert not is_known(live, 3)
    erasures.is_broken = False
    assert not live.follow_erasures()
    assert live.status().error is None


def test_build_that_is_pruned_away_goes_on_answering(workspace: Workspace) -> None:
    live = live_service(workspace)
    publish_day(workspace, 0)
    live.refresh()
    service = live.current()
    publish_day(workspace, 1)
    publish_day(workspace, 2)
    assert prune(workspace, keep=1, now=NOW) == [service.build_id]
    (answer,) = service.neighbors_of_users([user_name(1)], NeighborRequest(k=3))
    assert isinstance(answer, NeighborAnswer)
    assert len(answer.hits) == 3


def test_watcher_follows_without_being_asked(workspace: Workspace) -> None:
    live = live_service(workspace)
    live.start(poll_seconds=0.01)
    try:
        build_id = publish_day(workspace, 0)
        wait_for_build(live, build_id)
    finally:
        live.stop()
    assert not any(thread.name == "live-build" for thread in threading.enumerate())


def test_readers_get_complete_answers_from_one_build_while_builds_are_swapped(
    workspace: Workspace,
) -> None:
    """Build n has 20 + n users; an answer with all neighbors tells which one it came from."""
    live = live_service(workspace)
    publish_day(workspace, 0)
    live.refresh()
    live.start(poll_seconds=0.001)
    stopping = threading.Event()
    faults: list[str] = []
    seen: set[str] = set()

    def read() -> None:
        while not stopping.is_set():
            service = live.current()
            request = NeighborRequest(k=1_000, explain=True)
            answers = service.neighbors_of_users([user_name(3), user_name(4)], request)
            sizes = {len(answer.hits) for answer in answers if isinstance(answer, NeighborAnswer)}
            if sizes != {service.num_users - 1}:
                faults.append(f"{service.build_id} of {service.num_users} users answered {sizes}")
            seen.add(service.build_id)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        published = [publish_day(workspace, day, 20 + day) for day in range(1, 9)]
        for target in (published[-2], published[-1]):
            promote(workspace, target, now=NOW)
            wait_for_build(live, target)
    finally:
        stopping.set()
        for reader in readers:
            reader.join()
        live.stop()
    live.refresh()  # the watcher may have been stopped one swap behind
    assert faults == []
    assert len(seen) >= 2
    assert published[-1] == live.current().build_id


def wait_for_build(live: LiveService, build_id: str) -> None:
    """Poll until a build is served."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while live.status().build_id != build_id:
        assert time.monotonic() < deadline, live.status()
        time.sleep(0.005)


class Labels:
    """The labels that changed, or a database that can't be read."""

    def __init__(self) -> None:
        self.table = NO_LABELS
        self.since: datetime | None = None
        self.is_broken = False

    def __call__(self, since: datetime) -> pa.Table:
        if self.is_broken:
            raise DatabaseError("the disk is full")
        self.since = since
        return self.table

    def set(self, row: int, label: int | None, policy: str | None = None) -> None:
        changed = {"user_id": user_name(row), "label": label, "policy": policy}
        others = [one for one in self.table.to_pylist() if one["user_id"] != user_name(row)]
        self.table = pa.Table.from_pylist([*others, changed], schema=NO_LABELS.schema)


def labelled_service(workspace: Workspace, labels: Labels, **given: Any) -> LiveService:
    return LiveService(
        workspace,
        given.pop("config", IndexConfig()),
        read_labels=labels,
        open_service=lambda where, build_id, config: open_fake_service(where, build_id, config),
        clock=Clock(),
        **given,
    )


def violators(live: LiveService) -> dict[str, str | None]:
    request = NeighborRequest(k=100, known_violators=True)
    (answer,) = live.current().neighbors_of_vectors(unit_vectors(1), SPACE_ID, request)
    return {hit.user_id: hit.policy for hit in answer.hits}


def test_new_labels_are_searched_and_revoked_ones_are_not_in_every_build(
    workspace: Workspace,
) -> None:
    labels = Labels()
    live = labelled_service(workspace, labels)
    assert not live.follow_labels(), "nothing is loaded yet"
    publish_day(workspace, 0)
    live.refresh()
    assert violators(live) == {user_name(1): "spam"}
    assert labels.since == live.current().data_as_of
    labels.set(4, 1, "cheating")
    labels.set(1, None)
    before = live.current()
    assert live.follow_labels()
    assert violators(live) == {user_name(4): "cheating"}
    assert live.current().num_violators == 1
    assert not live.follow_labels(), "nothing is new"
    assert before.num_violators == 1, "a request ends as it began"
    (risk,) = live.current().risk_of_users([user_name(4)])
    assert isinstance(risk, RiskAnswer)
    assert risk.known_violator
    publish_day(workspace, 1)
    assert live.refresh()
    assert violators(live) == {user_name(4): "cheating"}
    labels.set(4, 0)
    assert live.follow_labels()
    assert violators(live) == {}


def test_labels_that_can_not_be_read_are_told_and_the_known_ones_hold(workspace: Workspace) -> None:
    labels = Labels()
    live = labelled_service(workspace, labels)
    publish_day(workspace, 0)
    labels.set(4, 1, "cheating")
    live.refresh()
    labels.is_broken = True
    assert not live.follow_labels()
    assert live.status().error == "the labels can't be read: the disk is full"
    assert user_name(4) in violators(live)
    labels.is_broken = False
    live.follow_labels()
    assert live.status().error is None


def changed_users(rows: Sequence[int], *, seen_at: datetime, seed: int = 5) -> ChangedUsers:
    numbers = [4] * len(rows)
    ids = [user_name(row) for row in rows]
    users = pa.table([ids, numbers, numbers, numbers, numbers], names=SEEN_SCHEMA.names)
    return ChangedUsers(users, unit_vectors(len(rows), DIM, seed=seed), SPACE_ID, seen_at)


def test_users_who_come_are_found_until_a_build_has_them(workspace: Workspace) -> None:
    live = live_service(workspace)
    publish_day(workspace, 0)
    live.refresh()
    new = changed_users([3, 100], seen_at=NOW + timedelta(hours=1))
    assert live.apply(new) == 0
    service = live.current()
    assert service.num_users == 21
    (answer,) = service.neighbors_of_vectors(new.vectors_MD[[1]], SPACE_ID, NeighborRequest(k=1))
    assert answer.hits[0].user_id == user_name(100)
    (own,) = service.neighbors_of_users([user_name(3)], NeighborRequest(k=100))
    assert isinstance(own, NeighborAnswer)
    assert own.num_events == 4
    assert len(own.hits) == 20
    assert user_name(3) not in {hit.user_id for hit in own.hits}
    publish_build(workspace, replace(day_input(1), data_as_of=NOW), now=NOW + timedelta(hours=2))
    assert live.refresh()
    assert is_known(live, 100), "the build is of a time before"
    late = replace(day_input(2), data_as_of=NOW + timedelta(days=1))
    publish_build(workspace, late, now=NOW + timedelta(days=1))
    assert live.refresh()
    assert not is_known(live, 100)


def test_erased_users_do_not_come_back_with_their_events(workspace: Workspace) -> None:
    erasures = Erasures()
    live = live_service(workspace, erasures=erasures)
    publish_day(workspace, 0)
    erasures.add(3)
    live.refresh()
    live.apply(changed_users([3, 100], seen_at=NOW))
    assert not is_known(live, 3)
    assert is_known(live, 100)
    erasures.add(100)
    live.follow_erasures()
    assert not is_known(live, 100)


def test_a_user_who_came_and_is_erased_while_a_build_loads_is_not_taken_over(
    workspace: Workspace,
) -> None:
    erasures = Erasures()
    live = live_service(workspace, erasures=erasures)
    publish_day(workspace, 0)
    live.refresh()
    live.apply(changed_users([3, 100], seen_at=NOW + timedelta(days=1)))
    erasures.add(100)
    publish_day(workspace, 1)
    assert live.refresh()
    live.follow_erasures()
    assert is_known(live, 3)
    assert not is_known(live, 100)


def test_more_users_than_there_is_room_for_are_told(workspace: Workspace) -> None:
    config = IndexConfig(delta_users_max=2)
    live = labelled_service(workspace, Labels(), config=config)
    publish_day(workspace, 0)
    live.refresh()
    assert live.apply(changed_users([3, 100, 101], seen_at=NOW)) == 1
    assert live.status().num_left_out == 1
    assert not is_known(live, 101)
    assert live.apply(changed_users([3, 100], seen_at=NOW, seed=6)) == 0
    assert live.status().num_left_out == 1  # the other is still left out
    assert live.admit([user_name(number) for number in (3, 102, 100)]) == [
        user_name(3),
        user_name(100),
    ]
    assert live.status().num_left_out == 2
    publish_day(workspace, 1)
    assert live.refresh()
    assert live.status().num_left_out == 0


def test_who_is_erased_or_finds_room_is_left_out_no_longer(workspace: Workspace) -> None:
    erasures = Erasures()
    live = live_service(workspace, erasures=erasures, config=IndexConfig(delta_users_max=1))
    publish_day(workspace, 0)
    live.refresh()
    assert live.apply(changed_users([100, 101, 102], seen_at=NOW)) == 2
    erasures.add(101)
    live.follow_erasures()
    assert live.status().num_left_out == 1
    gone = replace(changed_users([], seen_at=NOW), gone=frozenset([user_name(100)]))
    live.apply(gone)
    assert live.apply(changed_users([102], seen_at=NOW)) == 0
    assert live.status().num_left_out == 0
    assert is_known(live, 102)


def test_users_of_another_encoder_are_refused(workspace: Workspace) -> None:
    live = live_service(workspace)
    publish_day(workspace, 0)
    live.refresh()
    changed = replace(changed_users([3], seen_at=NOW), space_id="space-b")
    with pytest.raises(SpaceMismatch, match="space-b"):
        live.apply(changed)
