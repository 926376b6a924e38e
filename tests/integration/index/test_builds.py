from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from index.build import STAGING_PREFIX, load_build, write_build
from index.builds import TRASH_PREFIX, build_dir, list_builds, promote, prune, rollback, show
from index.config import IndexConfig
from index.errors import (
    BuildCorrupt,
    BuildInvalid,
    BuildMissing,
    BuildNotLive,
    BuildNotServable,
    NoLiveBuild,
    NothingToRollBack,
    PublishBusy,
)
from index.gate import Check, GateReport, read_report
from index.publish import (
    LOCK_FILE,
    Published,
    live_build_id,
    publish,
    publish_lock,
    read_live,
    swing,
)
from store.durable import remove_folder
from store.errors import WorkspaceBusy
from store.locks import exclusive_lock
from store.workspace import Workspace
from tests.index_fakes import NOW, build_input, publish_build, unit_vectors, user_name

REFUSED = GateReport((Check("recall_lower_bound", False, 0.5, 0.95, "too low"),))


def publish_days(workspace: Workspace, num: int) -> list[str]:
    """Publish one build a day, and return their ids."""
    return [
        publish_build(
            workspace, build_input(unit_vectors(5, seed=day)), now=NOW + timedelta(days=day)
        ).build_id
        for day in range(num)
    ]


def publish_refused(workspace: Workspace, *, force: bool = False) -> Published:
    staged = write_build(workspace, build_input(unit_vectors(5)), IndexConfig(), now=NOW)
    return publish(workspace, staged, REFUSED, now=NOW, force=force)


def test_published_build_is_live(workspace: Workspace) -> None:
    first, second = publish_days(workspace, 2)
    pointer = read_live(workspace)
    assert pointer is not None
    assert (pointer.live, pointer.previous) == (second, first)
    assert live_build_id(workspace) == second
    assert read_report(build_dir(workspace, second)).passed
    assert load_build(build_dir(workspace, second)).manifest.build_id == second


def test_nothing_is_live_before_the_first_publish(workspace: Workspace) -> None:
    assert read_live(workspace) is None
    assert list_builds(workspace) == []
    with pytest.raises(NoLiveBuild, match="lookalike rebuild"):
        live_build_id(workspace)


def test_refused_build_stays_on_disk_and_is_not_live(workspace: Workspace) -> None:
    (live,) = publish_days(workspace, 1)
    refused = publish_refused(workspace)
    assert not refused.is_live
    assert live_build_id(workspace) == live
    report = read_report(build_dir(workspace, refused.build_id))
    assert report == REFUSED
    assert report.verdict == "refused"
    with pytest.raises(BuildNotServable, match="--force"):
        promote(workspace, refused.build_id, now=NOW)


def test_forced_build_is_live_and_says_so(workspace: Workspace) -> None:
    forced = publish_refused(workspace, force=True)
    assert forced.is_live
    assert live_build_id(workspace) == forced.build_id
    assert read_report(build_dir(workspace, forced.build_id)).verdict == "forced"


def test_force_does_not_mark_a_build_that_passed(workspace: Workspace) -> None:
    staged = write_build(workspace, build_input(unit_vectors(5)), IndexConfig(), now=NOW)
    published = publish(workspace, staged, GateReport(()), now=NOW, force=True)
    assert published.report.verdict == "passed"


@pytest.mark.parametrize("builds_before", [0, 1])
def test_a_build_is_refused_where_another_went_live_since_it_was_judged(
    workspace: Workspace, builds_before: int
) -> None:
    judged_against = ([None, *publish_days(workspace, builds_before)])[-1]
    staged = write_build(workspace, build_input(unit_vectors(5)), IndexConfig(), now=NOW)
    live = publish_build(workspace, build_input(unit_vectors(6)), now=NOW + timedelta(days=5))
    refused = publish(workspace, staged, GateReport(()), now=NOW, judged_against=judged_against)
    assert not refused.is_live
    assert live_build_id(workspace) == live.build_id
    report = read_report(build_dir(workspace, refused.build_id))
    assert report.verdict == "refused"
    assert report.reasons == ("live_build_moved",)
    assert live.build_id in report.checks[0].detail
    with pytest.raises(BuildNotServable, match="--force"):
        promote(workspace, refused.build_id, now=NOW)


def test_force_overrules_that_another_build_went_live(workspace: Workspace) -> None:
    (live,) = publish_days(workspace, 1)
    staged = write_build(workspace, build_input(unit_vectors(5)), IndexConfig(), now=NOW)
    forced = publish(workspace, staged, GateReport(()), now=NOW, judged_against=None, force=True)
    assert forced.is_live
    pointer = read_live(workspace)
    assert pointer is not None
    assert pointer.previous == live
    assert read_report(build_dir(workspace, forced.build_id)).verdict == "forced"


@pytest.mark.parametrize("force", [False, True])
def test_who_is_erased_is_asked_while_nobody_else_can_publish(
    workspace: Workspace, force: bool
) -> None:
    def erased() -> list[str]:
        lock = exclusive_lock(workspace.builds_dir / LOCK_FILE, purpose="publish")
        with pytest.raises(WorkspaceBusy), lock:
            pass
        return [user_name(3), "nobody"]

    staged = write_build(workspace, build_input(unit_vectors(5)), IndexConfig(), now=NOW)
    report = GateReport((Check("erased_users", True, 0, 0, "none"),))
    published = publish(workspace, staged, report, now=NOW, force=force, erased_users=erased)
    assert not published.is_live
    (check,) = read_report(build_dir(workspace, published.build_id)).checks
    assert (check.passed, check.value) == (False, 1)
    assert published.report.verdict == "refused"
    assert read_live(workspace) is None
    with pytest.raises(BuildNotServable):
        promote(workspace, published.build_id)


def test_a_build_goes_live_where_the_one_it_was_judged_against_still_is(
    workspace: Workspace,
) -> None:
    (live,) = publish_days(workspace, 1)
    staged = write_build(workspace, build_input(unit_vectors(5)), IndexConfig(), now=NOW)
    published = publish(workspace, staged, GateReport(()), now=NOW, judged_against=live)
    assert published.is_live
    assert published.report == GateReport(())


def test_damaged_staged_build_is_not_published(workspace: Workspace) -> None:
    staged = write_build(workspace, build_input(unit_vectors(5)), IndexConfig(), now=NOW)
    (staged / "manifest.json").write_text("{}")
    with pytest.raises(BuildCorrupt):
        publish(workspace, staged, GateReport(()), now=NOW)
    assert read_live(workspace) is None
    assert list_builds(workspace) == []


def test_only_staged_builds_are_published(workspace: Workspace) -> None:
    (build_id,) = publish_days(workspace, 1)
    with pytest.raises(BuildInvalid, match="not a staged build"):
        publish(workspace, build_dir(workspace, build_id), GateReport(()), now=NOW)


def test_rollback_goes_back_and_forth(workspace: Workspace) -> None:
    first, second = publish_days(workspace, 2)
    pointer = rollback(workspace, now=NOW)
    assert (pointer.live, pointer.previous) == (first, second)
    assert rollback(workspace, now=NOW).live == second


def test_rollback_of_a_build_that_is_not_live_changes_nothing(workspace: Workspace) -> None:
    first, second = publish_days(workspace, 2)
    pointer = read_live(workspace)
    for named in (first, "b0"):
        with pytest.raises(BuildNotLive, match=f"{second} is; nothing was changed"):
            rollback(workspace, expected_live=named, now=NOW)
    assert read_live(workspace) == pointer
    assert rollback(workspace, expected_live=second, now=NOW).live == first


def test_a_publish_that_comes_before_the_lock_keeps_a_rollback_from_taking_it_back(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third build goes live after the rollback was asked for and before it has the lock."""
    _, second = publish_days(workspace, 2)

    @contextmanager
    def publishing_meanwhile(workspace: Workspace) -> Iterator[None]:
        publish_build(workspace, build_input(unit_vectors(5)), now=NOW + timedelta(days=9))
        with publish_lock(workspace):
            yield

    monkeypatch.setattr("index.builds.publish_lock", publishing_meanwhile)
    with pytest.raises(BuildNotLive, match=second):
        rollback(workspace, expected_live=second, now=NOW)
    pointer = read_live(workspace)
    assert pointer is not None
    assert pointer.previous == second


def test_rollback_needs_a_previous_build(workspace: Workspace) -> None:
    with pytest.raises(NothingToRollBack):
        rollback(workspace, now=NOW)
    publish_days(workspace, 1)
    with pytest.raises(NothingToRollBack):
        rollback(workspace, now=NOW)


def test_rollback_to_a_build_that_an_erasure_removed_says_so(workspace: Workspace) -> None:
    first, second = publish_days(workspace, 2)
    remove_folder(build_dir(workspace, first))
    with pytest.raises(NothingToRollBack, match=f"{first} is gone: .* erased user"):
        rollback(workspace, now=NOW)
    assert live_build_id(workspace) == second


def test_rollback_to_a_damaged_build_is_refused(workspace: Workspace) -> None:
    first, second = publish_days(workspace, 2)
    path = build_dir(workspace, first) / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BuildCorrupt, match=r"vectors\.npy"):
        rollback(workspace, now=NOW)
    assert live_build_id(workspace) == second


def test_any_build_can_be_promoted(workspace: Workspace) -> None:
    first, _, third = publish_days(workspace, 3)
    pointer = promote(workspace, first, now=NOW)
    assert (pointer.live, pointer.previous) == (first, third)
    again = promote(workspace, first, now=NOW + timedelta(hours=1))
    assert again == pointer


@pytest.mark.parametrize("name", ["b1", "", ".", "..", "../models", ".lock", "x/y"])
def test_builds_that_are_not_there_are_named(workspace: Workspace, name: str) -> None:
    publish_days(workspace, 1)
    with pytest.raises(BuildMissing):
        promote(workspace, name, now=NOW)
    with pytest.raises(BuildMissing):
        show(workspace, name)


def test_damaged_pointer_is_reported_and_replaced(workspace: Workspace) -> None:
    first, _ = publish_days(workspace, 2)
    workspace.live_file.write_bytes(b'{"live": ')
    with pytest.raises(BuildCorrupt, match="promote"):
        read_live(workspace)
    assert len(list_builds(workspace)) == 2
    with pytest.raises(BuildCorrupt):
        prune(workspace, keep=1, now=NOW)
    assert promote(workspace, first, now=NOW).live == first


def test_list_tells_what_each_build_is(workspace: Workspace) -> None:
    first, second = publish_days(workspace, 2)
    refused = publish_refused(workspace).build_id
    (build_dir(workspace, first) / "manifest.json").write_bytes(b"damaged")
    described = {build.build_id: build for build in list_builds(workspace)}
    assert list(described) == sorted([first, second, refused])
    assert described[second].live
    assert described[first].previous
    assert described[first].damage is not None
    assert described[first].gate is None
    assert described[refused].gate == "refused"
    assert described[second].gate == "passed"
    assert described[second].num_users == 5
    assert described[second].size_bytes > 5 * 12 * 4


def test_show_gives_manifest_and_report(workspace: Workspace) -> None:
    _, live = publish_days(workspace, 2)
    shown = show(workspace, live)
    assert shown["live"] is True
    assert shown["manifest"]["num_users"] == 5
    assert shown["report"]["verdict"] == "passed"


def test_prune_keeps_the_newest_the_live_and_the_previous(workspace: Workspace) -> None:
    ids = publish_days(workspace, 6)
    promote(workspace, ids[0], now=NOW)
    promote(workspace, ids[1], now=NOW)
    removed = prune(workspace, keep=2, now=NOW)
    assert removed == [ids[2], ids[3]]
    assert [build.build_id for build in list_builds(workspace)] == [ids[0], ids[1], ids[4], ids[5]]
    assert prune(workspace, keep=2, now=NOW) == []
    assert prune(workspace, keep=0, now=NOW) == [ids[4], ids[5]]
    assert live_build_id(workspace) == ids[1]


def test_prune_removes_what_dead_processes_left(workspace: Workspace) -> None:
    publish_days(workspace, 1)
    staged = write_build(workspace, build_input(unit_vectors(5)), IndexConfig(), now=NOW)
    (workspace.builds_dir / f"{TRASH_PREFIX}b0").mkdir()
    touched = staged.stat().st_mtime
    now = NOW + timedelta(seconds=touched - NOW.timestamp())
    prune(workspace, keep=1, now=now + timedelta(hours=1))
    assert staged.is_dir()
    prune(workspace, keep=1, now=now + timedelta(hours=25))
    assert not staged.exists()
    live = live_build_id(workspace)
    assert {path.name for path in hidden(workspace)} <= {LOCK_FILE, f".checked-{live}.json"}


def hidden(workspace: Workspace) -> list[Path]:
    return [path for path in workspace.builds_dir.iterdir() if path.name.startswith(".")]


def test_lock_is_waited_for_and_then_given_up(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.publish.LOCK_WAIT_SECONDS", 0.1)
    publish_days(workspace, 1)
    with (
        exclusive_lock(workspace.builds_dir / LOCK_FILE, purpose="test"),
        pytest.raises(PublishBusy, match="publishing"),
        publish_lock(workspace),
    ):
        pytest.fail("the lock is held")
    with publish_lock(workspace):
        pass


def test_lock_is_freed_by_an_error(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="inside"), publish_lock(workspace):
        raise ValueError("inside")
    with publish_lock(workspace):
        swing(workspace, "b1", now=NOW)


def test_ids_sort_by_time(workspace: Workspace) -> None:
    ids = publish_days(workspace, 3)
    assert ids == sorted(ids)
    assert all(not build_id.startswith(STAGING_PREFIX) for build_id in ids)
