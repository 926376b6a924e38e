import numpy as np
import pytest

from embedder import bfloat16
from embedder.bfloat16 import BFloat16Products
from embedder.profiles import Floats
from tests.index_fakes import unit_vectors


def true_products(vectors: Floats, queries: Floats) -> np.ndarray:
    return vectors.astype(np.float64) @ queries.T.astype(np.float64)


@pytest.mark.parametrize("dim", [1, 12, 130])
@pytest.mark.parametrize("length", [0.01, 1.0, 30.0])
def test_no_product_errs_by_more_than_is_told(dim: int, length: float) -> None:
    vectors = unit_vectors(3_000, dim)
    queries = np.concatenate([vectors[:20], unit_vectors(20, dim, seed=5)]) * np.float32(length)
    products = BFloat16Products(queries)
    error = np.abs(products.of(vectors) - true_products(vectors, queries)).max()
    assert error <= products.largest_error < 0.02 * length


def test_numbers_that_round_worst_err_by_no_more_either() -> None:
    halfway = (1 + 15 * 2.0**-8) / 8  # between two numbers of eight significant bits
    vectors = np.full((3, 57), halfway, dtype=np.float32)  # and so are their products
    vectors[1] *= -1
    assert np.linalg.norm(vectors[0]) < 1
    products = BFloat16Products(vectors)
    error = np.abs(products.of(vectors) - true_products(vectors, vectors)).max()
    assert 0.0096 < error <= products.largest_error


def test_pieces_are_as_the_whole_and_mapped_vectors_are_read(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    vectors, queries = unit_vectors(100), unit_vectors(7, seed=3)
    vectors.flags.writeable = False
    whole = BFloat16Products(queries).of(vectors)
    monkeypatch.setattr(bfloat16, "VECTORS_AT_ONCE", 9)
    pieces = BFloat16Products(queries).of(vectors)
    assert pieces.shape == whole.shape == (100, 7)
    np.testing.assert_allclose(pieces, whole, atol=2.0**-8)
    assert BFloat16Products(queries).of(vectors[:0]).shape == (0, 7)
    assert not [str(warning.message) for warning in recwarn.list]
