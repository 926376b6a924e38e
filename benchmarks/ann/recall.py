"""How many true neighbors were found, by distances that are computed here.

An answer counts when its true inner product reaches that of the k-th neighbor, within a tolerance:
which of two equal vectors is returned does not matter, and no library is asked for distances.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors, `D` dimensions.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.ann.engines.engine import Ids, Vectors

Floats = npt.NDArray[np.float64]

TIE_TOLERANCE = 1e-5
FAILED_BELOW = 0.5
QUERIES_AT_ONCE = 64


@dataclass(frozen=True)
class Recall:
    """The recall of some queries; a mean hides failures, so their share stands beside it.

    Attributes:
        recall: Mean.
        failed: Share of queries with less than half of their neighbors.
        nothing: Share of queries with none of them.
        lowest: Recall of the worst query.
    """

    recall: float
    failed: float
    nothing: float
    lowest: float

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return {key: round(value, 6) for key, value in asdict(self).items()}


def recall_of(
    vectors_ND: Vectors, query_QD: Vectors, ids_QK: Ids, true_QK: Floats, *, k: int
) -> Recall:
    """Judge answers to the first queries.

    Args:
        vectors_ND: What the ids are rows of; ids outside count as no answer.
        query_QD: At least as many queries as answers.
        ids_QK: Answers; what is more than k of a query counts for nothing.
        true_QK: True inner products of at least the k nearest, descending, -inf where there are
            fewer.
        k: Neighbors asked for.
    """
    recall_Q = recall_per_query(vectors_ND, query_QD[: len(ids_QK)], ids_QK, true_QK, k=k)
    return Recall(
        float(recall_Q.mean()),
        float((recall_Q < FAILED_BELOW).mean()),
        float((recall_Q == 0).mean()),
        float(recall_Q.min()),
    )


def recall_per_query(
    vectors_ND: Vectors,
    query_QD: Vectors,
    ids_QK: Ids,
    true_QK: Floats,
    *,
    k: int,
    penalty_N: Vectors | None = None,
) -> Floats:
    """Return the share of true neighbors found by each query; 1 where there are none to find.

    What is subtracted of each row's product, in `true_QK` too, is `penalty_N`.
    """
    ids_QK = ids_QK[:, :k]
    true_QK = true_QK[: len(ids_QK), :k]
    num_true_Q = np.isfinite(true_QK).sum(axis=1)
    last_Q = np.where(num_true_Q > 0, num_true_Q - 1, 0)
    kth_Q = true_QK[np.arange(len(true_QK)), last_Q]
    product_QK = inner_products(vectors_ND, query_QD, _once(ids_QK, len(vectors_ND)), penalty_N)
    reached_Q = (product_QK >= kth_Q[:, None] - TIE_TOLERANCE).sum(axis=1)
    share_Q: Floats = np.minimum(reached_Q, num_true_Q) / np.maximum(num_true_Q, 1)
    return np.where(num_true_Q > 0, share_Q, 1.0)


def inner_products(
    vectors_ND: Vectors, query_QD: Vectors, ids_QK: Ids, penalty_N: Vectors | None = None
) -> Floats:
    """Return the product of each query with its answers less a penalty, float64; -inf for none."""
    product_QK = np.full(ids_QK.shape, -np.inf)
    for start in range(0, len(ids_QK), QUERIES_AT_ONCE):
        block = slice(start, start + QUERIES_AT_ONCE)
        found = ids_QK[block] >= 0
        rows_QKD = vectors_ND[np.where(found, ids_QK[block], 0)].astype(np.float64)
        exact = np.einsum("qkd,qd->qk", rows_QKD, query_QD[block].astype(np.float64))
        if penalty_N is not None:
            exact -= penalty_N[np.where(found, ids_QK[block], 0)]
        product_QK[block] = np.where(found, exact, -np.inf)
    return product_QK


def _once(ids_QK: Ids, num_rows: int) -> Ids:
    """Replace ids that are no rows, and repetitions within a query, by -1."""
    order = np.argsort(ids_QK, axis=1, kind="stable")
    ascending = np.take_along_axis(ids_QK, order, axis=1)
    repeated = np.zeros(ids_QK.shape, dtype=np.bool_)
    repeated[:, 1:] = ascending[:, 1:] == ascending[:, :-1]
    valid = (ascending >= 0) & (ascending < num_rows) & ~repeated
    once = np.empty_like(ids_QK)
    np.put_along_axis(once, order, np.where(valid, ascending, -1), axis=1)
    return once
