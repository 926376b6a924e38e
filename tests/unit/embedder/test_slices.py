import numpy as np
import pytest

from embedder.slices import (
    PREFIX_AGES,
    Spans,
    draw_labelled,
    looks_at,
    pair_spans,
    prefix_spans,
    span_rows,
)

SIZES = np.array([2, 3, 10, 200, 5, 40])
OFFSETS = np.concatenate([[0], np.cumsum(SIZES)])
USERS = np.tile(np.arange(len(SIZES)), 400)


def test_rows_of_spans_stand_one_after_the_other() -> None:
    rows, owner = span_rows(Spans(np.array([5, 0, 9]), np.array([7, 1, 9])))
    assert rows.tolist() == [5, 6, 0]
    assert owner.tolist() == [0, 0, 1]


def test_pairs_lie_inside_the_users_events_and_are_not_too_long() -> None:
    both = pair_spans(OFFSETS, USERS, longest=32, apart_share=0.5, rng=np.random.default_rng(0))
    for spans in both:
        assert (spans.first >= OFFSETS[USERS]).all()
        assert (spans.last <= OFFSETS[USERS + 1]).all()
        assert (spans.last > spans.first).all()
        assert (spans.last - spans.first).max() == 32


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_pairs_do_not_overlap_and_the_first_is_the_earlier(share: float) -> None:
    users = np.full(4000, 3)
    rng = np.random.default_rng(1)
    first, second = pair_spans(OFFSETS, users, longest=100, apart_share=share, rng=rng)
    apart = (first.last <= second.first).mean()
    assert share <= apart + 0.02
    assert apart < share + 0.15, "of two windows anywhere few do not overlap"
    short = np.zeros(4000, dtype=np.int64)  # of two events a pair apart is one and one
    first, second = pair_spans(OFFSETS, short, longest=100, apart_share=share, rng=rng)
    assert (first.last <= second.first).mean() == pytest.approx(share, abs=0.05)


def test_prefixes_start_at_the_first_event() -> None:
    spans = prefix_spans(OFFSETS, USERS, longest=64, rng=np.random.default_rng(2))
    length = spans.last - spans.first
    assert (spans.first == OFFSETS[USERS]).all()
    assert (length >= 1).all()
    assert (length <= np.minimum(SIZES[USERS], 64)).all()


def test_prefixes_are_the_ages_asked_for_or_whole() -> None:
    users = np.full(8000, 3)
    spans = prefix_spans(OFFSETS, users, longest=64, rng=np.random.default_rng(3))
    lengths, counts = np.unique(spans.last - spans.first, return_counts=True)
    assert lengths.tolist() == [*PREFIX_AGES, 64]
    assert counts.min() > 8000 / len(counts) * 0.8


def test_every_user_is_looked_at_once_at_each_age_reached() -> None:
    looks = looks_at(OFFSETS, np.arange(len(SIZES)))
    lengths = looks.spans.last - looks.spans.first
    seen = {user: sorted(lengths[looks.user == user].tolist()) for user in range(len(SIZES))}
    assert seen[0] == [2]
    assert seen[1] == [3]
    assert seen[2] == [3, 5, 10]
    assert seen[3] == [3, 5, 10, 20, 50, 200]
    assert seen[5] == [3, 5, 10, 20, 40]
    assert (looks.spans.first == OFFSETS[looks.user]).all()


def test_all_users_weigh_the_same_however_short_they_lived() -> None:
    looks = looks_at(OFFSETS, np.arange(len(SIZES)))
    weight = np.bincount(looks.user, weights=looks.weight)
    assert weight.tolist() == [len(PREFIX_AGES) + 1] * len(SIZES)


def test_half_of_a_supervised_batch_are_violators_even_if_they_are_few() -> None:
    violators, others = np.array([3, 4]), np.arange(10, 90)
    users = draw_labelled(violators, others, 20, rng=np.random.default_rng(6))
    assert np.isin(users[:10], violators).all()
    assert len(np.unique(users[10:])) == 10
    assert np.isin(users[10:], others).all()
