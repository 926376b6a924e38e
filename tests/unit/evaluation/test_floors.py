import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from embedder.evaluation.floors import BoostedTrees, Tokenizer, TokenRegression, tfidf
from embedder.evaluation.metrics import Floats, area_under_roc, make_ladder
from embedder.evaluation.statistics import Described, count_statistics
from store.sequences import SequenceBatch
from tests.unit.evaluation.sequences import SCHEMA, Event, at, make_batch


def crowd(size: int, seed: int) -> tuple[SequenceBatch, np.ndarray]:
    """Users of whom the odd ones chat fast at the market, mostly."""
    rng = np.random.default_rng(seed)
    users: dict[str, list[Event]] = {}
    for number in range(size):
        odd = number % 2 == 1
        gap = 0.1 if odd else 3.0
        hours = np.cumsum(rng.exponential(gap, 6))
        kinds = rng.choice(["chat", "join"], 6, p=[0.8, 0.2] if odd else [0.3, 0.7])
        places = rng.choice(["market", "arena"], 6, p=[0.7, 0.3] if odd else [0.4, 0.6])
        users[f"u{number:03}"] = [
            (float(hour), str(kind), str(place), float(rng.normal()))
            for hour, kind, place in zip(hours, kinds, places, strict=True)
        ]
    return make_batch(users), np.arange(size) % 2 == 1


def described(batch: SequenceBatch, *names: str) -> Floats:
    return count_statistics(batch, Described.fit(batch, names))


def test_users_who_do_the_same_have_cosine_one_and_strangers_zero() -> None:
    batch = make_batch(
        {"a": at([1, 2], "x", "k"), "b": at([5, 9], "x", "k"), "c": at([1], "y", "l")}
    )
    (rows,) = tfidf([Tokenizer.fit(batch, SCHEMA).count(batch)])
    cosine = (rows @ rows.T).toarray()
    assert cosine[0, 1] == pytest.approx(1.0)
    assert cosine[0, 2] == pytest.approx(0.0)


def test_a_rare_place_weighs_more_than_one_that_all_visit() -> None:
    users = {f"u{number}": at([1], "everywhere") for number in range(20)}
    users |= {"a": at([1], "rare") + at([2], "everywhere"), "b": at([1], "rare") + at([2], "third")}
    batch = make_batch(users)
    tokenizer = Tokenizer(("place",), {})
    (rows,) = tfidf([tokenizer.count(batch)])
    cosine = (rows @ rows.T).toarray()
    assert cosine[20, 21] > cosine[20, 0]


def test_weights_are_common_to_all_sets_of_users() -> None:
    batch = make_batch({"a": at([1], "x"), "b": at([1], "y")})
    counts = Tokenizer.fit(batch, SCHEMA).count(batch)
    (together,) = tfidf([counts])
    first, second = tfidf([counts[:1], counts[1:]])
    assert abs(together[:1] - first).max() == pytest.approx(0, abs=1e-6)
    assert abs(together[1:] - second).max() == pytest.approx(0, abs=1e-6)


def test_numbers_become_bins_and_missing_ones_no_token() -> None:
    events: list[Event] = [(float(hour), "k", "x", float(hour)) for hour in range(20)]
    batch = make_batch(
        {"low": events[:2], "low2": events[:2], "high": events[-2:], "none": at([1])}
    )
    tokenizer = Tokenizer(("size",), Tokenizer.fit(batch, SCHEMA).edges)
    counts = tokenizer.count(batch)
    assert abs(counts[0] - counts[1]).nnz == 0
    assert counts[0].multiply(counts[2]).nnz == 0
    assert counts[3].nnz == 0


def test_a_user_without_tokens_is_a_row_of_zeros() -> None:
    batch = make_batch({"a": at([1], "x"), "b": []})
    (rows,) = tfidf([Tokenizer.fit(batch, SCHEMA).count(batch)])
    assert rows[1].nnz == 0


@pytest.mark.parametrize("floor", [BoostedTrees, TokenRegression])
def test_risk_floors_learn_what_is_there_to_learn(
    floor: type[BoostedTrees] | type[TokenRegression],
) -> None:
    batch, is_positive = crowd(300, seed=1)
    fresh, is_fresh_positive = crowd(200, seed=2)
    model = floor(Tokenizer.fit(batch, SCHEMA), seed=0).fit([batch], [is_positive])
    probability = model.probabilities(fresh)
    assert ((probability >= 0) & (probability <= 1)).all()
    ladder = make_ladder(probability, is_fresh_positive, np.ones((1, 200)))
    assert area_under_roc(ladder)[0] > 0.8


def as_text(batch: SequenceBatch) -> SequenceBatch:
    """The same events as they come when a later file has text among the numbers."""
    events = batch.events
    text = events["size"].cast(pa.string())
    place = events.column_names.index("size")
    return dataclasses.replace(batch, events=events.set_column(place, "size", text))


@pytest.mark.parametrize("floor", [BoostedTrees, TokenRegression])
def test_risk_floors_judge_alike_when_numbers_have_become_text(
    floor: type[BoostedTrees] | type[TokenRegression],
) -> None:
    batch, is_positive = crowd(300, seed=1)
    fresh, _ = crowd(50, seed=2)
    model = floor(Tokenizer.fit(batch, SCHEMA), seed=0).fit([batch], [is_positive])
    assert np.allclose(model.probabilities(as_text(fresh)), model.probabilities(fresh))


def test_numbers_of_a_column_that_is_text_at_times_are_binned_and_words_are_no_token() -> None:
    batch, _ = crowd(40, seed=3)
    number, text = Tokenizer.fit(batch, SCHEMA), Tokenizer.fit(as_text(batch), SCHEMA)
    assert np.array_equal(number.edges["size"], text.edges["size"])
    words = pa.table(
        {
            **dict(zip(batch.events.column_names, batch.events.columns, strict=True)),
            "size": pa.array(["much"] * batch.events.num_rows),
        }
    )
    alone = Tokenizer(("size",), number.edges)
    assert alone.count(dataclasses.replace(batch, events=words)).nnz == 0
    assert alone.count(as_text(batch)).nnz == alone.count(batch).nnz > 0


def test_statistics_of_a_column_are_its_repeats() -> None:
    """One user repeats a place every hour, one changes places; the others' events do not count."""
    batch = make_batch(
        {"steady": at([1, 2, 3, 4], "x"), "moving": [*at([1], "x"), *at([2], "y"), *at([10], "z")]}
    )
    without, with_place = described(batch), described(batch, "place")
    added = [
        column
        for column in with_place.T.tolist()
        if not any(np.allclose(column, other, equal_nan=True) for other in without.T)
    ]
    assert [0.25, 1.0] in added  # distinct places per event
    assert [0.75, 0.0] in added  # events at the place of the one before


def test_statistics_are_those_of_the_user_whoever_else_is_there() -> None:
    batch, _ = crowd(20, seed=3)
    together = described(batch, "place", "size")
    for row in (0, 7, 19):
        alone = described(batch.take(np.array([row])), "place", "size")
        assert np.allclose(alone[0], together[row], equal_nan=True)


def test_statistics_of_a_user_without_events_are_finite_or_missing() -> None:
    batch = make_batch({"none": [], "one": at([1])})
    statistics = described(batch, "place")
    assert not np.isinf(statistics).any()
