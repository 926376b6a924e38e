"""The best of several searches over disjoint rows.

Shape key: `Q` queries, `K` neighbors, `D` dimensions.
"""

from collections.abc import Sequence

import numpy as np

from index.exact import ExactIndex
from index.vectors import Neighbors, Rows, Vectors


def merge_neighbors(parts: Sequence[Neighbors], *, k: int | None = None) -> Neighbors:
    """Return the k best of all parts for each query, equal scores ordered by row.

    Args:
        parts: Of the same queries and scored alike; -1 may stand anywhere among the rows.
        k: As many as the parts have together if absent.
    """
    rows_QK = np.concatenate([part.rows_QK for part in parts], axis=1)
    score_QK = np.concatenate([part.score_QK for part in parts], axis=1)
    score_QK = np.where(rows_QK >= 0, score_QK, np.float32(-np.inf))
    order = np.lexsort((rows_QK, -score_QK, rows_QK < 0), axis=-1)[:, :k]
    return Neighbors(
        np.take_along_axis(rows_QK, order, axis=1), np.take_along_axis(score_QK, order, axis=1)
    )


def scored(exact: ExactIndex, query_QD: Vectors, rows_QK: Rows, *, k: int) -> Neighbors:
    """Return the k best of the rows found for each query, scored again without rounding."""
    score_QK = np.full(rows_QK.shape, -np.inf, dtype=np.float32)
    for query_D, rows_K, score_K in zip(query_QD, rows_QK, score_QK, strict=True):
        score_K[rows_K >= 0] = exact.score(query_D, rows_K[rows_K >= 0])
    return merge_neighbors([Neighbors(rows_QK, score_QK)], k=k)
