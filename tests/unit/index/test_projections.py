import numpy as np
import pytest

from index.noise import NOISE
from index.projections import PAIR_BYTES, Projections
from index.vectors import BLOCK_BYTES, Vectors
from tests.index_fakes import unit_vectors

DIM = 24


def family(num: int, spread: float, *, seed: int = 0) -> Vectors:
    """Return vectors about `spread` from one centre."""
    offset = np.random.default_rng(seed).normal(size=(num, DIM)) * spread / np.sqrt(DIM)
    vectors: Vectors = (unit_vectors(1, DIM, seed=1) + offset).astype(np.float32)
    return vectors


def moved(vectors: Vectors, distance: float, *, seed: int = 2) -> Vectors:
    return vectors + np.float32(distance) * unit_vectors(len(vectors), DIM, seed=seed)


@pytest.mark.parametrize("spread", [1e-6, 1e-5, 1e-4, 0.01, 1.0])
@pytest.mark.parametrize("pair_bytes", [PAIR_BYTES, BLOCK_BYTES // 7])
def test_the_nearest_row_within_noise_is_found_however_close_others_are(
    spread: float, pair_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the windows hold, in blocks of seven pairs as in one."""
    monkeypatch.setattr("index.projections.PAIR_BYTES", pair_bytes)
    stored = family(300, spread)
    asked = np.concatenate(
        [
            stored[:20],
            *(moved(stored[:20], NOISE * share) for share in (0.001, 0.05, 0.5, 0.98, 1.02, 3)),
        ]
    )
    row_M, distance_M = Projections.of(stored).nearest(asked)
    apart_MN = np.linalg.norm(asked[:, None].astype(np.float64) - stored, axis=2)
    expected_M = np.where(apart_MN.min(axis=1) <= NOISE, apart_MN.min(axis=1), np.inf)
    np.testing.assert_allclose(distance_M, expected_M, rtol=1e-9)
    found = np.flatnonzero(row_M >= 0)
    assert np.array_equal(found, np.flatnonzero(np.isfinite(expected_M)))
    np.testing.assert_allclose(apart_MN[found, row_M[found]], distance_M[found], rtol=1e-9)
    assert (distance_M[:20] == 0).all()


def test_rows_that_are_left_out_are_not_found() -> None:
    stored = family(6, 0.1)
    stored[4] = stored[1]
    among_N = np.array([True, False, True, True, True, True])
    row_M, _ = Projections.of(stored, among_N).nearest(stored)
    assert row_M.tolist() == [0, 4, 2, 3, 4, 5]
    row_M, _ = Projections.of(stored[:5], ~among_N[:5]).nearest(stored)
    assert row_M.tolist() == [-1, 1, -1, -1, 1, -1]


def test_a_crowd_of_equal_rows_is_looked_at_once() -> None:
    stored = np.concatenate([np.repeat(family(1, 0.1), 5_000, axis=0), family(10, 1.0)])
    projections = Projections.of(stored)
    assert len(projections.key_B) == 11
    assert projections.nearest(stored[-10:])[0].tolist() == list(range(5_000, 5_010))


def test_among_no_rows_nothing_is_found() -> None:
    nothing = np.empty((0, DIM), dtype=np.float32)
    assert Projections.of(nothing).nearest(family(2, 0.1))[0].tolist() == [-1, -1]
    assert len(Projections.of(family(2, 0.1)).nearest(nothing)[0]) == 0
