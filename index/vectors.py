"""Vectors, neighbors, and what every index type does with them.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors, `D` dimensions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.errors import BuildInvalid, DimensionMismatch, NotAVector

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NORM_TOLERANCE = 1e-3
BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Neighbors:
    """The nearest stored vectors of each query.

    Attributes:
        rows_QK: int64 positions, best first; -1 where there are fewer than K.
        score_QK: float32, descending; -inf beside -1. Equal scores are ordered by row.
    """

    rows_QK: Rows
    score_QK: Floats

    @classmethod
    def none(cls, num_queries: int, k: int) -> "Neighbors":
        """Return an answer in which nothing is found yet; its arrays may be filled."""
        return cls(
            np.full((num_queries, k), -1, dtype=np.int64),
            np.full((num_queries, k), -np.inf, dtype=np.float32),
        )


def ties_by_row(found: Neighbors) -> Neighbors:
    """Return the same, equal scores ordered by row."""
    score_QK = found.score_QK
    if not np.count_nonzero(score_QK[:, 1:] >= score_QK[:, :-1]):  # mostly so, and quick
        return found
    if len(score_QK) == 1:  # in a third of the time
        order = np.lexsort((found.rows_QK[0], -score_QK[0]))
        return Neighbors(found.rows_QK[:, order], score_QK[:, order])
    order = np.lexsort((found.rows_QK, -score_QK), axis=-1)
    return Neighbors(
        np.take_along_axis(found.rows_QK, order, axis=1),
        np.take_along_axis(score_QK, order, axis=1),
    )


def row_blocks(num_rows: int, row_bytes: int, *, block_bytes: int = BLOCK_BYTES) -> Iterator[slice]:
    """Yield slices that cover the rows, each of at most `block_bytes` but at least one row."""
    size = max(1, block_bytes // max(1, row_bytes))
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


def first_faulty_row(vectors_ND: Vectors) -> int | None:
    """Return the first row that isn't finite and of length one, or None; memory is bounded."""
    for block in row_blocks(len(vectors_ND), vectors_ND.shape[1] * 4):
        part = vectors_ND[block]
        norm = np.sqrt(np.einsum("nd,nd->n", part, part, dtype=np.float64))
        faulty = ~(np.abs(norm - 1.0) <= NORM_TOLERANCE)
        if faulty.any():
            return int(block.start + np.argmax(faulty))
    return None


def check_stored(vectors_ND: Vectors) -> None:
    """Refuse an array that can't be stored.

    Raises:
        BuildInvalid: If it isn't a float32 matrix of finite unit rows.
    """
    if vectors_ND.ndim != 2 or vectors_ND.dtype != np.float32 or vectors_ND.shape[1] == 0:
        raise BuildInvalid(
            f"vectors must be a float32 matrix, not {vectors_ND.dtype} of shape {vectors_ND.shape}"
        )
    row = first_faulty_row(vectors_ND)
    if row is not None:
        raise BuildInvalid(f"vector {row} is not finite or not of length 1")


def check_dim(query_QD: npt.NDArray[np.floating], dim: int) -> None:
    """Raise DimensionMismatch unless the queries are a matrix of `dim` columns."""
    if query_QD.ndim != 2 or query_QD.shape[1] != dim:
        raise DimensionMismatch(
            f"the index holds vectors of {dim} numbers, the query is of shape {query_QD.shape}",
            pointer="vector",
        )


def unit_queries(query_QD: npt.NDArray[np.floating], dim: int) -> Vectors:
    """Return a caller's vectors scaled to length one, float32.

    Raises:
        DimensionMismatch: If they have another length than the index's.
        NotAVector: If one isn't finite or is all zero; `item` tells which.
    """
    query = np.array(query_QD, dtype=np.float64)
    check_dim(query, dim)
    if query_QD.dtype != np.float32:  # of those, float64 holds every square
        with np.errstate(invalid="ignore", divide="ignore"):
            query /= np.abs(query).max(axis=1, keepdims=True)
    norm = np.sqrt(np.einsum("qd,qd->q", query, query))
    faulty = ~(np.isfinite(norm) & (norm > 0))
    if faulty.any():
        item = int(np.argmax(faulty))
        raise NotAVector(
            "the query vector must be finite and not all zero", pointer="vector", item=item
        )
    unit: Vectors = (query / norm[:, None]).astype(np.float32)
    return unit
