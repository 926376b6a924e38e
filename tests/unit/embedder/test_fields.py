import numpy as np
import pyarrow as pa
import pytest

from embedder.fields import (
    HashedField,
    count_users,
    fit_knots,
    interpolate,
    lookup_slots,
    numbers_of,
    salted,
)
from embedder.hashing import MISSING, hash_column


def test_a_number_between_two_knots_is_spread_over_them() -> None:
    ids, weights = interpolate(np.array([0.0, 2.5, 10.0]), np.array([0.0, 2.0, 10.0]))
    assert ids[1].tolist() == [2, 3]
    assert weights[1] == pytest.approx([1 - 0.5 / 8, 0.5 / 8])
    table = np.array([0.0, 0.0, 2.0, 10.0])
    assert (table[ids] * weights).sum(axis=1) == pytest.approx([0.0, 2.5, 10.0])


def test_numbers_beyond_the_knots_stand_at_the_ends() -> None:
    ids, weights = interpolate(np.array([-9.0, 99.0]), np.array([0.0, 2.0, 10.0]))
    assert [int(row[weight > 0][0]) for row, weight in zip(ids, weights, strict=True)] == [1, 3]


def test_what_is_no_number_takes_the_slot_of_missing() -> None:
    ids, weights = interpolate(np.array([np.nan, np.inf, -np.inf]), np.array([0.0, 1.0]))
    assert ids.tolist() == [[0, 0]] * 3
    assert weights.tolist() == [[1.0, 0.0]] * 3


def test_a_column_of_one_value_has_one_knot() -> None:
    ids, weights = interpolate(np.array([5.0, 7.0, np.nan]), fit_knots(np.full(9, 5.0), 16))
    assert ids[:, 0].tolist() == [1, 1, 0]
    assert weights.sum(axis=1).tolist() == [1.0, 1.0, 1.0]


def test_knots_are_quantiles_of_the_finite_values() -> None:
    values = np.concatenate([np.arange(1001.0), [np.nan, np.inf]])
    knots = fit_knots(values, 5)
    assert knots.tolist() == [0.0, 250.0, 500.0, 750.0, 1000.0]
    assert fit_knots(np.array([np.nan]), 5).tolist() == [0.0]
    assert fit_knots(np.array([3.0, 1.0, 3.0]), 5).tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(
            ["1.5", " 2 ", "-3e2", ".5", "five", "", None, "1e999", "0x10", "nan", "Infinity"]
        ),
        pa.array(["1.5", " 2 ", "-3e2", ".5"] + [None] * 7).dictionary_encode(),
    ],
    ids=["text", "dictionary"],
)
def test_text_is_read_as_numbers_where_it_is_one(column: pa.Array) -> None:
    numbers = numbers_of(pa.chunked_array([column]))
    assert numbers[:4].tolist() == [1.5, 2.0, -300.0, 0.5]
    assert np.isnan(numbers[4:]).all()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([2**62, 2**53 + 1, None], pa.int64()),
        ([True, False, None], pa.bool_()),
        ([2**63 + 1, 0, None], pa.uint64()),
        ([1.5, np.inf, None], pa.float32()),
        ([None, None], pa.null()),
    ],
)
def test_every_type_of_number_is_read(values: list[object], kind: pa.DataType) -> None:
    numbers = numbers_of(pa.chunked_array([pa.array(values, kind)]))
    expected = [float(value) if isinstance(value, int) else value for value in values]
    for number, value in zip(numbers, expected, strict=True):
        if value is None or value == np.inf:
            assert np.isnan(number)
        else:
            assert number == value


def test_numbers_at_the_edge_of_float64_are_interpolated() -> None:
    values = numbers_of(pa.chunked_array([pa.array([1.7e308, -1.7e308])]))
    knots = fit_knots(values, 16)
    _, weights = interpolate(np.array([*values, 1.0]), knots)
    assert np.isfinite(weights).all()
    assert weights.sum(axis=1) == pytest.approx(1.0)


def test_a_value_outside_the_vocabulary_is_other_and_null_is_missing() -> None:
    vocabulary = np.sort(hash_column(pa.array(["a", "b"])))
    ids, weights = lookup_slots(hash_column(pa.array(["a", "z", None, "b"])), vocabulary)
    assert ids[1, 0] == 1
    assert ids[2, 0] == 0
    assert {int(ids[0, 0]), int(ids[3, 0])} == {2, 3}
    assert (weights == 1).all()
    assert lookup_slots(vocabulary, vocabulary[:0])[0].tolist() == [[1], [1]]


def test_equal_text_in_two_columns_is_told_apart_and_null_stays_missing() -> None:
    hashes = hash_column(pa.array(["a", None]))
    one, two = salted("page", hashes), salted("agent", hashes)
    assert one[0] != two[0]
    assert one[1] == two[1] == MISSING


def test_users_are_counted_once_per_value() -> None:
    hashes = hash_column(pa.array(["a", "a", "b", None, "a"]))
    values, users = count_users(hashes, np.array([0, 0, 0, 1, 2]))
    counted = dict(zip(values.tolist(), users.tolist(), strict=True))
    assert counted == {int(hashes[0]): 2, int(hashes[2]): 1}


def test_a_value_never_seen_has_no_users() -> None:
    values = np.array([3, 9], dtype=np.uint64)
    field = HashedField("page", values, np.array([5, 7]), num_users=10, learned=True)
    asked = np.array([9, 4, 3, 99], dtype=np.uint64)
    assert field.users_with(asked).tolist() == [7, 0, 5, 0]
    nothing = HashedField("page", values[:0], np.array([], dtype=np.int64), 10, learned=True)
    assert nothing.users_with(asked).tolist() == [0, 0, 0, 0]


def test_a_flag_that_came_as_text_is_still_one_and_zero() -> None:
    values = numbers_of(pa.chunked_array([pa.array(["true", "false", "yes", " 2 ", None])]))
    assert values[[0, 1, 3]].tolist() == [1.0, 0.0, 2.0]
    assert np.isnan(values[[2, 4]]).all()
