from collections import Counter

import numpy as np
import pytest

from benchmarks.encoder.changes import (
    NOISE,
    PLAIN,
    Alteration,
    Change,
    add_noise,
    kept_labels,
    redraw_times,
    shuffle_order,
    without_column,
)
from store.sequences import SequenceBatch
from tests.unit.evaluation.sequences import make_batch

BATCH = make_batch(
    {
        "a": [(hour, f"t{hour}", f"p{hour % 3}", float(hour)) for hour in range(12)],
        "b": [(5.0, "t", "p", 1.0)],
        "c": [(hour * 24.0, "u", "q", None) for hour in range(4)],
    }
)


def changed(change: Change) -> SequenceBatch:
    return change(BATCH, np.random.default_rng(1))


def user_events(batch: SequenceBatch, user: int) -> list[tuple[object, ...]]:
    first, last = batch.offsets[user : user + 2].tolist()
    return [tuple(row.values()) for row in batch.events.slice(first, last - first).to_pylist()]


def test_shuffled_order_keeps_the_times_and_what_each_user_did() -> None:
    batch = changed(shuffle_order)
    assert np.array_equal(batch.ts_us, BATCH.ts_us)
    assert user_events(batch, 0) != user_events(BATCH, 0)
    for user in range(3):
        assert Counter(user_events(batch, user)) == Counter(user_events(BATCH, user))


def test_redrawn_times_keep_the_order_and_both_ends() -> None:
    batch = changed(redraw_times)
    assert batch.events.equals(BATCH.events)
    assert not np.array_equal(batch.ts_us, BATCH.ts_us)
    for first, last in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
        assert (np.diff(batch.ts_us[first:last]) >= 0).all()
        assert batch.ts_us[first] == BATCH.ts_us[first]
        assert batch.ts_us[last - 1] == BATCH.ts_us[last - 1]


def test_a_column_that_is_left_out_is_empty_and_keeps_its_type() -> None:
    batch = changed(without_column("place"))
    assert batch.events["place"].null_count == batch.events.num_rows
    assert batch.events.schema == BATCH.events.schema
    assert changed(without_column("nowhere")) is BATCH


def test_noise_is_shared_by_nobody_and_drawn_anew_for_every_batch() -> None:
    first = changed(add_noise).events[NOISE].to_pylist()
    second = add_noise(BATCH, np.random.default_rng(2)).events[NOISE].to_pylist()
    assert not set(first) & set(second)
    a, b, c = (set(first[start:stop]) for start, stop in ((0, 12), (12, 13), (13, 17)))
    assert not a & b
    assert not (a | b) & c
    assert 1 < len(a) < 12


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 1.0])
def test_fewer_labels_are_some_of_the_more(share: float) -> None:
    users = [f"u{number}" for number in range(5_000)]
    kept = kept_labels(users, share)
    assert abs(kept.mean() - share) < 0.02
    assert not (kept & ~kept_labels(users, min(share * 2, 1.0))).any()


def test_an_alteration_of_nothing_is_plain() -> None:
    assert PLAIN.is_plain
    assert not Alteration("x", shuffle_order).is_plain
    assert not Alteration("x", label_share=0.1).is_plain
