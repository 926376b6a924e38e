from dataclasses import replace

import numpy as np
import pytest

from index import distinct
from index.distinct import group_identical
from index.vectors import Vectors
from tests.index_fakes import unit_vectors


def test_equal_rows_are_one_entry() -> None:
    vectors = unit_vectors(6)
    vectors[4] = vectors[1]
    entries = group_identical(vectors)
    assert entries.num_entries == 5
    assert entries.first_rows_E.tolist() == [0, 1, 2, 3, 5]
    assert entries.rows_N.tolist() == [0, 1, 4, 2, 3, 5]


def test_negative_zero_is_zero() -> None:
    vectors = np.array([[1, 0.0], [1, -0.0]], dtype=np.float32)
    assert group_identical(vectors).num_entries == 1


def test_values_are_spread_to_all_rows() -> None:
    vectors = unit_vectors(4)
    vectors[3] = vectors[0]
    value = np.array([10, 20, 30], dtype=np.float32)
    assert group_identical(vectors).spread(value).tolist() == [10, 20, 30, 10]


def test_equal_hashes_of_different_vectors_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def same_hash(vectors_ND: Vectors) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        return np.zeros(len(vectors_ND), dtype=np.uint64)

    monkeypatch.setattr(distinct, "_hashes", same_hash)
    vectors = unit_vectors(5)
    vectors[3] = vectors[0]
    entries = group_identical(vectors)
    assert sorted(entries.rows_N.tolist()) == [0, 1, 2, 3, 4]
    assert entries.num_entries == 4


def test_entries_that_name_nobody_or_are_of_another_type_do_not_fit() -> None:
    entries = group_identical(unit_vectors(20, 8))
    assert entries.fit(20, 20)
    assert not entries.fit(21, 20)
    assert not entries.fit(20, 19)
    beyond, below = entries.first_rows_E.copy(), entries.rows_N.copy()
    beyond[3], below[5] = 20, -1
    assert not replace(entries, first_rows_E=beyond).fit(20, 20)
    assert not replace(entries, rows_N=below).fit(20, 20)
    assert not replace(entries, rows_N=entries.rows_N.astype(">i8")).fit(20, 20)
