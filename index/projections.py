"""Which stored row a vector equals but for float noise, however close others are.

Rows are projected on two fixed directions of length one. Nothing is farther apart in a projection
than it is, so all rows within `NOISE` of a vector lie in a narrow window of the first, which is
sorted, and of the second; their true distances decide, as in `index.noise`.

Shape key: `N` rows, `B` bit-different ones, `M` vectors looked up, `P` pairs of one and a row, `D`
dimensions, `C` directions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.noise import LEVELS, Booleans, Doubles, directions, distances
from index.vectors import Rows, Vectors, row_blocks

SCALE = 2**30
"""Projections are whole numbers of such parts of one: rounded by half a part, within 32 bits."""
ROW_BITS, ROW_MASK = 32, 2**32 - 1
PAIR_BYTES = 64
"""Of a row in a window, before the second direction has narrowed it."""


@dataclass(frozen=True)
class Projections:
    """The bit-different rows of a matrix in the order of their first projection.

    Attributes:
        vectors_ND: Holds the rows; may be memory-mapped.
        key_B: The first projection of a row, and the row in the lower half; int64, ascending.
        second_N: The second projection of each row, int32.
    """

    vectors_ND: Vectors
    key_B: Rows
    second_N: npt.NDArray[np.int32]

    @classmethod
    def of(cls, vectors_ND: Vectors, among_N: Booleans | None = None) -> "Projections":
        """Project all rows, or some, in one pass over the vectors.

        A row takes 12 bytes, and twice that until copies are left out.
        """
        key_N = np.empty(len(vectors_ND), dtype=np.int64)
        second_N = np.empty(len(vectors_ND), dtype=np.int32)
        for block in row_blocks(len(vectors_ND), 8 * vectors_ND.shape[1]):
            place_MC = _places(vectors_ND[block])
            key_N[block] = (place_MC[:, 0] << ROW_BITS) + np.arange(block.start, block.stop)
            second_N[block] = place_MC[:, 1]
        if among_N is not None:
            key_N = key_N[among_N]
        key_N.sort()
        return cls(vectors_ND, _without_copies(vectors_ND, key_N), second_N)

    def nearest(self, vectors_MD: Vectors) -> tuple[Rows, Doubles]:
        """Return the nearest row within `NOISE` of each vector and how far it is; -1, inf for none.

        Most who equal a row are nearer than that to it: the narrowest windows are looked at first.
        Time grows with the rows in them, memory does not.
        """
        row_M = np.full(len(vectors_MD), -1, dtype=np.int64)
        distance_M = np.full(len(vectors_MD), np.inf)
        place_MC = _places(vectors_MD)
        for link in reversed(LEVELS):
            open_M = np.flatnonzero(row_M < 0)
            for vector_P, row_P in self._close(place_MC[open_M], link):
                vector_P = open_M[vector_P]
                distance_P = distances(self.vectors_ND, row_P, vectors_MD, vector_P)
                order = np.lexsort((row_P, distance_P, vector_P))
                order = order[np.unique(vector_P[order], return_index=True)[1]]
                order = order[distance_P[order] <= np.minimum(link, distance_M[vector_P[order]])]
                row_M[vector_P[order]] = row_P[order]
                distance_M[vector_P[order]] = distance_P[order]
        return row_M, distance_M

    def _close(self, place_MC: Rows, link: float) -> Iterator[tuple[Rows, Rows]]:
        """Yield blocks of all pairs of a vector and a row that may be within `link` of it."""
        reach = int(link * SCALE) + 2  # by the roundings of both
        first_M = np.searchsorted(self.key_B, (place_MC[:, 0] - reach) << ROW_BITS)
        stop_M = np.searchsorted(self.key_B, (place_MC[:, 0] + reach + 1) << ROW_BITS)
        end_M = np.cumsum(stop_M - first_M)
        for block in row_blocks(int(end_M[-1]) if len(end_M) else 0, PAIR_BYTES):
            pair = np.arange(block.start, block.stop)
            vector_P = np.searchsorted(end_M, pair, side="right").astype(np.int64)
            row_P = self.key_B[stop_M[vector_P] - end_M[vector_P] + pair] & ROW_MASK
            is_close_P = np.abs(self.second_N[row_P] - place_MC[vector_P, 1]) <= reach
            yield vector_P[is_close_P], row_P[is_close_P]


def _places(vectors_MD: Vectors) -> Rows:
    """Return the projections on the first two directions, M by C."""
    direction_DC = directions(vectors_MD.shape[1])[:, :2]
    place_MC: Rows = np.rint(vectors_MD.astype(np.float64) @ direction_DC * SCALE).astype(np.int64)
    return place_MC


def _without_copies(vectors_ND: Vectors, key_N: Rows) -> Rows:
    """Return the keys without those of rows that are bit-equal to the one before."""
    apart = key_N[1:] ^ key_N[:-1]
    apart >>= ROW_BITS
    same = np.flatnonzero(apart == 0) + 1
    del apart
    is_copy_N = np.zeros(len(key_N), dtype=np.bool_)
    for block in row_blocks(len(same), 8 * vectors_ND.shape[1]):
        row, before = key_N[same[block]] & ROW_MASK, key_N[same[block] - 1] & ROW_MASK
        is_copy_N[same[block]] = (vectors_ND[row] == vectors_ND[before]).all(axis=1)
    return key_N[~is_copy_N] if is_copy_N.any() else key_N
