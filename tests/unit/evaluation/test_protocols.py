"""Who is asked and who may answer, in each retrieval task."""

from collections.abc import Sequence

import numpy as np
import pytest

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.groups import GroupedUsers, dominant_values, measure_groups
from embedder.evaluation.sample import draw_rows, join_batches, rows_of
from embedder.evaluation.split_halves import (
    measure_split_halves,
    split_in_halves,
    without_shared_targets,
)
from store.sequences import SequenceBatch
from tests.unit.evaluation.fakes import guessing, knowing
from tests.unit.evaluation.sequences import HOUR_US, Event, at, make_batch

CONFIG = EvaluationConfig(num_resamples=50, min_positives=4, half_min_events=2, group_min_events=1)


def people(size: int) -> SequenceBatch:
    """Users with two events on either side of two days, at places of their own."""
    return make_batch(
        {f"u{number:02}": at([1, 2, 50, 51], f"home{number}") for number in range(size)}
    )


def test_second_half_starts_after_the_pause() -> None:
    batch = make_batch({"a": at([0, 1, 2, 3, 10, 27, 28, 40])})
    halves = split_in_halves(batch, CONFIG)
    assert (halves.first.ts_us / HOUR_US).tolist() == [0, 1, 2, 3]
    assert (halves.second.ts_us / HOUR_US).tolist() == [27, 28, 40]


def test_users_without_enough_events_on_either_side_are_left_out() -> None:
    batch = make_batch({"a": at([0, 1, 2, 3]), "b": at([0, 1, 30, 31]), "c": at([0]), "d": []})
    assert list(split_in_halves(batch, CONFIG).first.user_ids) == ["b"]


def test_a_later_self_loses_events_at_places_of_the_earlier() -> None:
    events: list[Event] = [*at([0, 1], "old"), *at([30, 31], "new"), *at([32], "old")]
    batch = make_batch({"a": events, "b": [*at([0, 1], "x"), *at([30, 31], "old")]})
    halves = without_shared_targets(split_in_halves(batch, CONFIG), "place", CONFIG)
    assert list(halves.second.user_ids) == ["a", "b"]
    assert halves.second.events["place"].to_pylist() == ["new", "new", "old", "old"]


def test_users_whose_later_self_has_only_old_places_are_left_out() -> None:
    halves = split_in_halves(people(3), CONFIG)
    assert without_shared_targets(halves, "place", CONFIG).second.num_users == 0


def test_a_method_that_knows_finds_every_later_self_and_a_guess_does_not() -> None:
    batch = people(40)
    key = {user: number for number, user in enumerate(batch.user_ids)}
    methods = {"knows": knowing(key), "guesses": guessing(1)}
    full, disjoint = measure_split_halves(batch, target="place", methods=methods, config=CONFIG)
    assert full.comparison is not None
    assert full.comparison.metrics["knows"]["hit_at_1"].value == 1.0
    assert full.comparison.metrics["guesses"]["hit_at_1"].value < 0.3
    assert full.counts["queries"] == 40
    assert full.extra["chance_hit_at_1"] == pytest.approx(1 / 40)
    assert disjoint.comparison is None
    assert "only 0 users have 2 events on either side" in (disjoint.why_not or "")


def test_without_a_target_only_the_full_form_is_measured() -> None:
    methods = {"guesses": guessing(1)}
    full, disjoint = measure_split_halves(people(8), target=None, methods=methods, config=CONFIG)
    assert full.comparison is not None
    assert "no column is the target" in (disjoint.why_not or "")


def test_nobody_at_all_is_not_measurable() -> None:
    results = measure_split_halves(None, target="place", methods={}, config=CONFIG)
    assert [result.comparison for result in results] == [None, None]


def grouped(groups: Sequence[str | None], violators: bool, taught: set[int]) -> GroupedUsers:
    size = len(groups)
    return GroupedUsers(
        groups,
        [None] * size,
        np.full(size, violators),
        np.array([row in taught for row in range(size)]),
    )


def test_members_are_asked_for_each_other_and_loners_answer_only() -> None:
    batch = people(12)
    groups = ["a", "a", "b", "b", "b", *[None] * 7]
    key = {user: {"a": 0, "b": 1, None: 2}[groups[row]] for row, user in enumerate(batch.user_ids)}
    users = grouped(groups, violators=True, taught=set())
    result = measure_groups(batch, users, methods={"knows": knowing(key)}, config=CONFIG)
    assert result.comparison is not None
    assert result.counts["queries"] == 5
    assert result.counts["candidates_median"] == 11
    assert result.comparison.metrics["knows"]["hit_at_1"].value == 1.0
    assert result.comparison.metrics["knows"]["purity"].value == 1.0


def test_members_whose_labels_training_knew_are_answers_but_no_queries() -> None:
    users = grouped(["a"] * 6 + [None] * 2, violators=True, taught={0, 1})
    methods = {"guesses": guessing(0)}
    result = measure_groups(people(8), users, methods=methods, config=CONFIG)
    assert result.counts["queries"] == 4
    assert result.counts["candidates_median"] == 7
    assert any("2 members are no queries" in note for note in result.notes)


def test_groups_of_violators_are_searched_among_violators() -> None:
    users = GroupedUsers(
        ["a"] * 4 + [None] * 6, [None] * 10, np.arange(10) < 6, np.zeros(10, dtype=np.bool_)
    )
    methods = {"guesses": guessing(0)}
    assert measure_groups(people(10), users, methods=methods, config=CONFIG).counts["gallery"] == 6


def test_candidates_of_another_dominant_value_are_not_ranked() -> None:
    config = CONFIG.model_copy(update={"within": "place"})
    batch = make_batch(
        {f"u{number}": at([1, 2], "left" if number < 4 else "right") for number in range(8)}
    )
    users = grouped(["a"] * 4 + ["b"] * 4, violators=False, taught=set())
    result = measure_groups(batch, users, methods={"guesses": guessing(0)}, config=config)
    assert result.counts["candidates_median"] == 3


def test_an_unknown_column_to_stay_within_is_said() -> None:
    config = CONFIG.model_copy(update={"within": "continent"})
    users = grouped(["a"] * 4, violators=False, taught=set())
    result = measure_groups(people(4), users, methods={}, config=config)
    assert 'no column "continent"' in (result.why_not or "")


def test_users_who_share_only_the_unverified_value_are_not_ranked() -> None:
    loose: list[str | None] = ["s"] * 3 + [None] * 7
    groups: list[str | None] = ["a", "a", None, "b", "b", *[None] * 5]
    nobody = np.zeros(10, dtype=np.bool_)
    users = GroupedUsers(groups, loose, nobody, nobody)
    methods = {"guesses": guessing(0)}
    result = measure_groups(people(10), users, methods=methods, config=CONFIG)
    assert result.counts["queries"] == 4
    assert result.counts["candidates_median"] == 8  # the first two lose the third user


def test_no_groups_and_no_users_are_said() -> None:
    for batch, groups in ((people(3), [None] * 3), (None, [])):
        users = grouped(groups, violators=False, taught=set())
        result = measure_groups(batch, users, methods={}, config=CONFIG)
        assert "no label names a group" in (result.why_not or "")


def test_dominant_value_is_the_most_frequent_one() -> None:
    batch = make_batch(
        {"a": [*at([1, 2], "x"), *at([3], "y")], "b": at([1, 2], "x"), "c": at([1], "y"), "d": []}
    )
    dominant_B = dominant_values(batch, "place")
    assert dominant_B[0] == dominant_B[1] != dominant_B[2]
    assert dominant_B[3] == -1


def test_joined_batches_keep_order_and_bound_events() -> None:
    joined = join_batches([people(2), make_batch({"z": at([1, 2, 3])})], max_events=2)
    assert joined is not None
    assert list(joined.user_ids) == ["u00", "u01", "z"]
    assert joined.num_events.tolist() == [2, 2, 2]
    assert join_batches([], max_events=2) is None


def test_kept_events_stay_with_their_users() -> None:
    batch = make_batch({"a": at([1, 2], "x"), "b": at([3], "y"), "c": at([4, 5], "z")})
    kept = batch.keep(np.array([True, False, False, True, True]))
    assert kept.num_events.tolist() == [1, 0, 2]
    assert kept.events["place"].to_pylist() == ["x", "z", "z"]


def test_rows_of_unknown_users_are_minus_one() -> None:
    assert rows_of(people(3), ["u01", "nobody"]).tolist() == [1, -1]


def test_samples_are_sorted_bounded_and_repeatable() -> None:
    rows = np.arange(0, 1000, 3)
    first = draw_rows(rows, size_max=50, rng=np.random.default_rng(1))
    second = draw_rows(rows, size_max=50, rng=np.random.default_rng(1))
    assert first.tolist() == sorted(set(first.tolist())) == second.tolist()
    assert len(first) == 50
    assert draw_rows(rows, size_max=5000, rng=np.random.default_rng(1)) is rows
