import numpy as np
import pytest

from index.errors import BuildInvalid, DimensionMismatch, NotAVector
from index.vectors import check_stored, first_faulty_row, row_blocks, unit_queries
from tests.index_fakes import unit_vectors


def test_unit_vectors_are_accepted() -> None:
    check_stored(unit_vectors(50))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, 5.0])
def test_first_row_that_is_not_a_unit_vector_is_found(bad: float) -> None:
    vectors = unit_vectors(50)
    vectors[17] = bad
    vectors[30] = bad
    assert first_faulty_row(vectors) == 17


def test_other_types_and_shapes_are_refused() -> None:
    with pytest.raises(BuildInvalid, match="float64"):
        check_stored(unit_vectors(3).astype(np.float64))
    with pytest.raises(BuildInvalid, match="shape"):
        check_stored(unit_vectors(3)[0])


def test_blocks_cover_all_rows_once() -> None:
    blocks = list(row_blocks(10, 4, block_bytes=12))
    assert [(block.start, block.stop) for block in blocks] == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert list(row_blocks(0, 4)) == []
    assert len(list(row_blocks(3, 1000, block_bytes=10))) == 3


def test_queries_are_scaled_to_length_one() -> None:
    vectors = np.array([[3.0, 4.0], [1e300, 0.0], [1e-300, 1e-300]])
    unit = unit_queries(vectors, 2)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-6)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit[0], [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_queries_without_direction_are_refused(bad: float) -> None:
    vectors = unit_vectors(4)
    vectors[2] = 0
    vectors[2, 1] = bad
    with pytest.raises(NotAVector) as caught:
        unit_queries(vectors, vectors.shape[1])
    assert caught.value.item == 2
    assert caught.value.pointer == "vector"


def test_queries_of_another_length_are_refused() -> None:
    with pytest.raises(DimensionMismatch, match="12"):
        unit_queries(unit_vectors(1, 7), 12)
    with pytest.raises(DimensionMismatch):
        unit_queries(np.zeros(12), 12)
