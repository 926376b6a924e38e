import numpy as np
import pyarrow as pa
import pytest

from embedder.wording import (
    BUCKETS,
    FIRST_STRINGS,
    SMOOTHING,
    Wording,
    fit_wording,
    log_ratios,
    mean_weights,
    shapes_of,
    worded_columns,
)
from store.schema import Column, EventSchema, Role
from store.sequences import SequenceBatch

WORDS = ("school", "castle", "river", "insult", "garden", "museum")


def talkers(strings: list[list[str | None]]) -> SequenceBatch:
    """One user per list, an event per string."""
    sizes = [len(own) for own in strings]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    flat = pa.array([text for own in strings for text in own], pa.string())
    ts_us = np.arange(len(flat), dtype=np.int64) * 1_000_000
    users = [f"u{place}" for place in range(len(strings))]
    return SequenceBatch(users, offsets, ts_us, pa.table({"page": flat}))


def town(num_users: int, seed: int) -> tuple[SequenceBatch, np.ndarray]:
    """Users of six events; violators' strings hold a word of their own half of the time."""
    rng = np.random.default_rng(seed)
    is_violator = rng.random(num_users) < 0.4
    strings: list[list[str | None]] = []
    for wrong in is_violator:
        words = rng.choice(len(WORDS) - 1, 6)
        own = ["rubbish" if wrong and rng.random() < 0.5 else WORDS[word] for word in words]
        strings.append([f"the {word} of {rng.integers(10_000)}" for word in own])
    return talkers(strings), is_violator


def means_by_user(codes: np.ndarray, batch: SequenceBatch) -> np.ndarray:
    return np.add.reduceat(codes[:, 0], batch.offsets[:-1]) / batch.num_events


def area(score: np.ndarray, is_violator: np.ndarray) -> float:
    return float((score[is_violator][:, None] > score[~is_violator][None, :]).mean())


def test_strings_never_seen_read_like_those_that_share_their_words() -> None:
    learned, is_violator = town(400, 1)
    wording, _ = fit_wording(
        learned, ["page"], is_violator, np.ones(400, bool), np.random.default_rng(0)
    )
    unseen = talkers([["a Rubbish thing"], ["a museum thing"], ["zzz qqq"]])
    dirty, clean, neither = wording.codes(unseen)[:, 0]
    assert dirty > neither > clean


def test_nobodys_own_label_speaks_in_the_own_codes() -> None:
    """Labels drawn at random can't be read from the codes of those who were told."""
    batch, _ = town(600, 2)
    lots = np.random.default_rng(3).random(600) < 0.5
    told = np.ones(600, bool)
    _, codes = fit_wording(batch, ["page"], lots, told, np.random.default_rng(0))
    assert area(means_by_user(codes, batch), lots) < 0.55
    wording, _ = fit_wording(batch, ["page"], lots, told, np.random.default_rng(0))
    assert area(means_by_user(wording.codes(batch), batch), lots) > 0.6


def test_labels_of_users_not_told_change_nothing() -> None:
    batch, is_violator = town(300, 4)
    told = np.arange(300) % 3 > 0
    other = np.where(told, is_violator, ~is_violator)
    first, codes = fit_wording(batch, ["page"], is_violator, told, np.random.default_rng(0))
    second, others = fit_wording(batch, ["page"], other, told, np.random.default_rng(0))
    np.testing.assert_array_equal(first.weight_CV, second.weight_CV)
    np.testing.assert_array_equal(codes, others)
    untold = ~np.repeat(told, batch.num_events)
    np.testing.assert_array_equal(codes[untold], first.codes(batch)[untold])


def test_a_loud_user_counts_once_per_string_and_only_early() -> None:
    castle: list[str | None] = ["castle"]
    quiet: list[list[str | None]] = [["rubbish"], *[castle] * 60]
    often: list[str | None] = ["rubbish"] * 500
    loud = [often, *quiet[1:]]
    once: list[str | None] = ["rubbish", *(["x"] * FIRST_STRINGS), "insult"]
    late = [once, *quiet[1:]]
    wrong = np.arange(61) == 0
    weights = [
        fit_wording(talkers(one), ["page"], wrong, np.ones(61, bool), np.random.default_rng(0))[0]
        for one in (quiet, loud, late)
    ]
    np.testing.assert_array_equal(weights[0].weight_CV, weights[1].weight_CV)
    unseen = talkers([["insult"], ["neverseen"]])
    told = weights[2].codes(unseen)[:, 0]
    assert told[0] == pytest.approx(told[1], abs=0.02)


def test_log_ratios_are_those_of_smoothed_shares() -> None:
    counts = np.zeros((2, BUCKETS))
    counts[:, 0], counts[:, 1], counts[:, 2] = (8, 2), (0, 6), (90, 94)
    total = counts.sum(axis=1)
    prior = SMOOTHING * total / total.sum()
    wanted = np.log((counts[1] + prior[1]) / total[1]) - np.log((counts[0] + prior[0]) / total[0])
    told = log_ratios(counts)
    assert told == pytest.approx(wanted, abs=1e-6)
    assert told[3:] == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(log_ratios(np.zeros((2, BUCKETS)))).all()


def test_mean_weights_do_not_depend_on_company_or_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    strings = pa.array(["The Castle", "", "é", "the castle", "x" * 300, "the"], pa.large_string())
    weight = np.random.default_rng(0).normal(size=(BUCKETS, 2)).astype(np.float32)
    together = mean_weights(strings, weight)
    monkeypatch.setattr("embedder.wording.STRINGS_AT_ONCE", 2)
    np.testing.assert_allclose(mean_weights(strings, weight), together, rtol=1e-5)
    alone = [mean_weights(strings.slice(place, 1), weight)[0] for place in range(len(strings))]
    np.testing.assert_allclose(np.stack(alone), together, rtol=1e-5)
    np.testing.assert_array_equal(together[0], together[3])
    assert np.isnan(together[1]).all()
    assert np.isfinite(together[[0, 2, 4]]).all()


def test_length_and_digits_are_told() -> None:
    shapes = shapes_of(pa.array(["", "abc", "a1b2", "éé"], pa.large_string()))
    assert shapes[:, 0] == pytest.approx(np.log1p([0, 3, 4, 2]))
    assert shapes[:, 1].tolist() == [0, 0, 0.5, 0]


def test_missing_strings_and_columns_are_told_as_missing() -> None:
    batch = talkers([["castle", None], [None]])
    wording = Wording(("page", "chat"), np.ones((2, BUCKETS), np.float32))
    codes = wording.codes(batch)
    assert codes.shape == (3, 6)
    assert np.isfinite(codes[0, :3]).all()
    assert np.isnan(codes[1:, :3]).all()
    assert np.isnan(codes[:, 3:]).all()


def test_no_column_of_strings_is_no_code() -> None:
    batch = talkers([["castle"], ["river"]])
    wording, codes = fit_wording(
        batch, [], np.array([True, False]), np.ones(2, bool), np.random.default_rng(0)
    )
    assert codes.shape == (2, 0)
    assert wording.codes(batch).shape == (2, 0)


def test_targets_and_texts_are_read() -> None:
    roles = {
        "page": {Role.TARGET, Role.TEXT},
        "chat": {Role.TEXT},
        "place": {Role.CATEGORY},
        "gone": {Role.IGNORE},
    }
    schema = EventSchema(tuple(Column(name, frozenset(own)) for name, own in roles.items()))
    assert worded_columns(schema) == ("chat", "page")


@pytest.mark.parametrize(
    "nothing", [pa.nulls(4, pa.string()), pa.nulls(4), pa.nulls(4, pa.string()).dictionary_encode()]
)
def test_a_column_without_any_string_tells_nothing(nothing: pa.Array) -> None:
    """A column may be named before it has its first value."""
    batch = SequenceBatch(
        ["a", "b"], np.array([0, 2, 4]), np.arange(4) * 1_000_000, pa.table({"chat": nothing})
    )
    wording, codes = fit_wording(
        batch, ["chat"], np.array([True, False]), np.ones(2, bool), np.random.default_rng(0)
    )
    assert np.isnan(codes).all()
    assert np.isnan(wording.codes(batch)).all()
    assert not wording.weight_CV.any()


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.float64(), pa.bool_(), pa.dictionary(pa.int32(), pa.string())]
)
def test_values_that_are_no_strings_are_read_as_text(kind: pa.DataType) -> None:
    values = pa.array([1, 0, None, 1]).cast(pa.string() if pa.types.is_dictionary(kind) else kind)
    values = values.dictionary_encode() if pa.types.is_dictionary(kind) else values
    batch = SequenceBatch(
        ["a", "b"], np.array([0, 2, 4]), np.arange(4) * 1_000_000, pa.table({"chat": values})
    )
    codes = Wording(("chat",), np.ones((1, BUCKETS), np.float32)).codes(batch)
    assert np.isfinite(codes[[0, 1, 3]]).all()
    assert np.isnan(codes[2]).all()
