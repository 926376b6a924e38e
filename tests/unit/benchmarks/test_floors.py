"""Floors against slow formulas."""

from collections import Counter

import numpy as np
import pytest
from scipy import sparse

from benchmarks.encoder.floors import (
    Standard,
    as_angle,
    count_pairs,
    rates_by_count,
    reduced,
    weigh_pairs,
)
from benchmarks.encoder.items import common_targets, count_near, learn_items
from benchmarks.encoder.methods import Unanswerable
from benchmarks.encoder.positions import POSITIONS, Positions
from benchmarks.encoder.tasks import RetrievalTask
from embedder.evaluation.ranking import plain_task
from embedder.evaluation.retrieval import ask
from embedder.hashing import hash_name
from store.sequences import SequenceBatch
from tests.unit.evaluation.sequences import HOUR_US, Event, make_batch


def random_batch(num_users: int, seed: int) -> SequenceBatch:
    rng = np.random.default_rng(seed)

    def events() -> list[Event]:
        hours = np.sort(rng.random(rng.integers(1, 9)) * 50)
        return [
            (float(hour), f"t{rng.integers(3)}", f"p{rng.integers(6)}", float(rng.random()))
            for hour in hours
        ]

    return make_batch({f"u{number:03}": events() for number in range(num_users)})


BATCH = random_batch(40, 1)


def column(batch: SequenceBatch, name: str, user: int) -> list[str]:
    first, last = batch.offsets[user : user + 2].tolist()
    values: list[str] = batch.events[name].to_pylist()[first:last]
    return values


def test_rates_by_count_are_the_smoothed_shares_of_like_users() -> None:
    learned = np.array([1, 1, 1, 2, 2, 500])
    is_positive = np.array([True, True, False, False, False, True])
    rates = rates_by_count(learned, is_positive, np.array([1, 2, 7]))
    assert rates.tolist() == pytest.approx([(2 + 0.5) / 4, 0.5 / 3, 0.5])


def test_angles_of_users_with_like_counts_are_close() -> None:
    rows = as_angle(make_batch({"a": [(0, "t", "p", 1.0)], "b": [(0, "t", "p", 1.0)] * 2}))
    more = as_angle(make_batch({"c": [(0, "t", "p", 1.0)] * 9}))
    assert np.allclose(np.linalg.norm(rows, axis=1), 1)
    assert (rows[0] @ rows[1]) > (rows[0] @ more[0])


def test_pairs_are_counted_as_one_would_by_hand() -> None:
    counts = count_pairs(BATCH)
    for user in range(BATCH.num_users):
        types = column(BATCH, "event_type", user)
        pairs = Counter(zip([None, *types[:-1]], types, strict=True))
        assert sorted(counts[user].data.tolist()) == sorted(pairs.values())


def test_weighed_pairs_have_unit_length_and_rare_ones_count_more() -> None:
    rows = weigh_pairs(BATCH)(BATCH)
    assert np.allclose(np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1))), 1)


@pytest.mark.parametrize(("num_tokens", "width"), [(1, 1), (2, 2), (9, 4)])
def test_few_tokens_are_reduced_no_further_than_they_go(num_tokens: int, width: int) -> None:
    """A track may leave nothing but one type of event, whose only token can't be reduced."""
    rng = np.random.default_rng(2)
    rows = sparse.csr_matrix(rng.random((12, num_tokens)), shape=(12, 1 << 8))
    same = np.arange(12, dtype=np.int64)
    batch = make_batch({f"u{row:02}": [(0.0, "t", "p", 1.0)] for row in range(12)})
    task = RetrievalTask("groups", "Groups", ask(batch, batch, plain_task(same, same, same - 99)))
    query, gallery = reduced(lambda batches: [rows, rows], 4, seed=0)(task)
    assert query.shape[1] <= width
    assert np.allclose(np.linalg.norm(gallery, axis=1), 1, atol=1e-5)


def test_standard_statistics_are_centred_on_the_learned_users() -> None:
    standard = Standard.fit(BATCH, ("event_type", "place", "size"))
    rows = standard.rows(BATCH)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.isfinite(rows).all()


def test_near_targets_are_counted_as_one_would_by_hand() -> None:
    known = common_targets(BATCH, "place")
    counts = count_near(BATCH, "place", known).toarray()
    slow = np.zeros_like(counts)
    row = {value: place for place, value in enumerate(known.tolist())}
    for user in range(BATCH.num_users):
        places = [int(hash_name(name)) for name in column(BATCH, "place", user)]
        for first in range(len(places)):
            for second in range(first + 1, min(first + 6, len(places))):
                if places[first] != places[second]:
                    slow[row[places[first]], row[places[second]]] += 1
    assert np.array_equal(counts, slow + slow.T)


def test_targets_that_are_visited_together_have_like_vectors() -> None:
    rng = np.random.default_rng(3)
    users = {}
    for number in range(200):
        circle = number % 2
        places = [f"p{circle}_{rng.integers(12)}" for _ in range(8)]
        users[f"u{number:03}"] = [(float(h), "t", p, 1.0) for h, p in enumerate(places)]
    batch = make_batch(users)
    rows = learn_items(batch, "place", seed=0).rows(batch)
    likeness = rows @ rows.T
    same = np.arange(200)[:, None] % 2 == np.arange(200) % 2
    assert likeness[same].mean() > likeness[~same].mean() + 0.5


def test_targets_that_nobody_shares_are_no_basis() -> None:
    with pytest.raises(Unanswerable, match="shared"):
        learn_items(
            make_batch({"a": [(0, "t", "p", 1.0)], "b": [(0, "t", "q", 1.0)]}), "place", seed=0
        )


@pytest.mark.parametrize("counted", [True, False])
def test_positions_are_described_as_one_would_by_hand(counted: bool) -> None:
    positions = Positions.fit(BATCH, "place")
    numbers = positions.numbers(BATCH, counted=counted)
    visitors = Counter(place for user in range(40) for place in set(column(BATCH, "place", user)))
    for user in range(BATCH.num_users):
        first, last = BATCH.offsets[user : user + 2].tolist()
        size, places = last - first, column(BATCH, "place", user)
        _, gap, hour, popular, same, seen = numbers[user, 2:].reshape(6, POSITIONS)
        assert numbers[user, 0] == pytest.approx(np.log1p(size))
        assert np.isnan(hour[size:]).all()
        for place in range(size):
            at = BATCH.ts_us[first + place]
            assert hour[place] == at // HOUR_US % 24
            others = visitors[places[place]] - counted
            assert popular[place] == pytest.approx(np.log1p(others))
            assert seen[place] == (places[place] in places[:place])
            assert same[place] == (place > 0 and places[place] == places[place - 1])
            if place:
                seconds = (at - BATCH.ts_us[first + place - 1]) / 1e6
                assert gap[place] == pytest.approx(np.log1p(seconds))
            else:
                assert np.isnan(gap[place])


def test_a_target_unknown_to_the_learned_users_is_popular_with_nobody() -> None:
    positions = Positions.fit(BATCH, "place")
    numbers = positions.numbers(make_batch({"n": [(1.0, "new", "never seen", 1.0)]}), counted=False)
    popular = numbers[0, 2:].reshape(6, POSITIONS)[3]
    assert popular[0] == 0
