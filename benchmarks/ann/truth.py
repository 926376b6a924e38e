"""True neighbors by exact products in blocks, and what they tell of the data's dimension.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors, `D` dimensions.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.ann.engines.engine import Flags, Ids, Vectors
from benchmarks.ann.recall import Floats, inner_products

BLOCK_BYTES = 64 * 2**20
ROUNDING = 32  # more than k are kept, for float32 products rank the last ones by chance
DIMENSION_K = 20


def true_products(
    vectors_ND: Vectors,
    query_QD: Vectors,
    *,
    k: int,
    passes_N: npt.NDArray[np.bool_] | None = None,
    penalty_N: Vectors | None = None,
) -> Floats:
    """Return the inner products of the k nearest rows of each query, descending, float64.

    Args:
        vectors_ND: May be mapped; memory is bounded.
        query_QD: Queries.
        k: How many; -inf stands where there are fewer rows.
        passes_N: Rows that count; all if absent.
        penalty_N: Subtracted from the products of each row.
    """
    kept = k + ROUNDING
    best_QK = np.full((len(query_QD), kept), -np.inf, dtype=np.float32)
    rows_QK: Ids = np.full((len(query_QD), kept), -1, dtype=np.int64)
    size = max(kept, BLOCK_BYTES // (4 * max(len(query_QD), vectors_ND.shape[1])))
    for start in range(0, len(vectors_ND), size):
        rows = np.arange(start, min(start + size, len(vectors_ND)))
        if passes_N is not None:
            rows = rows[passes_N[rows]]
        if not len(rows):
            continue
        whole = passes_N is None
        part_ND = vectors_ND[start : rows[-1] + 1] if whole else vectors_ND[rows]
        product_QN = query_QD @ np.ascontiguousarray(part_ND).T
        if penalty_N is not None:
            product_QN -= penalty_N[rows]
        best_QK, rows_QK = _merged(best_QK, rows_QK, product_QN, rows)
    exact_QK = inner_products(vectors_ND, query_QD, rows_QK, penalty_N)
    return -np.sort(-exact_QK, axis=1)[:, :k]


def _merged(
    best_QK: npt.NDArray[np.float32], rows_QK: Ids, product_QN: Vectors, rows_N: Ids
) -> tuple[npt.NDArray[np.float32], Ids]:
    """Return the best of what was kept and what is new, in no order."""
    kept = best_QK.shape[1]
    if product_QN.shape[1] > kept:
        place_QK = np.argpartition(product_QN, -kept, axis=1)[:, -kept:]
    else:
        place_QK = np.broadcast_to(np.arange(product_QN.shape[1]), product_QN.shape)
    both_QK = np.concatenate([best_QK, np.take_along_axis(product_QN, place_QK, axis=1)], axis=1)
    ids_QK = np.concatenate([rows_QK, rows_N[place_QK]], axis=1)
    order = np.argpartition(both_QK, -kept, axis=1)[:, -kept:]
    return np.take_along_axis(both_QK, order, axis=1), np.take_along_axis(ids_QK, order, axis=1)


def intrinsic_dimension(true_QK: Floats) -> dict[str, Any]:
    """Return how many dimensions the data have around held-out queries, estimated twice.

    `two_nn` is the maximum-likelihood form of Facco et al. (2017), "Estimating the intrinsic
    dimension of datasets by a minimal neighborhood information"; `mle` is Levina and Bickel (2004),
    averaged over queries as MacKay and Ghahramani propose. Queries whose nearest vectors are equal
    to them, or equally far away, tell nothing and are left out.

    Args:
        true_QK: True inner products of unit vectors, descending.
    """
    distance_QK = np.sqrt(np.maximum(2 - 2 * true_QK[:, :DIMENSION_K], 0))
    two_Q = distance_QK[:, 0] > 0
    two_Q &= distance_QK[:, 1] > distance_QK[:, 0]
    ratio_Q = distance_QK[two_Q, 1] / distance_QK[two_Q, 0]
    far_Q = (distance_QK[:, 0] > 0) & np.isfinite(distance_QK).all(axis=1)
    far_Q &= distance_QK[:, -1] > distance_QK[:, 0]
    log_QK = np.log(distance_QK[far_Q, -1:] / distance_QK[far_Q, :-1])
    return {
        "two_nn": round(float(1 / np.log(ratio_Q).mean()), 2) if two_Q.any() else None,
        "mle": round(float(1 / log_QK.mean()), 2) if far_Q.any() else None,
        "queries": int(two_Q.sum()),
    }


def make_filters(
    vectors_ND: Vectors, generator: np.random.Generator
) -> tuple[list[dict[str, Any]], Flags]:
    """Return filters and which rows each lets through, N by F.

    Random ones pass rows whatever their vectors; correlated ones pass the rows nearest to a random
    one, as a filter does that goes with behavior.
    """
    num = len(vectors_ND)
    about: list[dict[str, Any]] = []
    columns = []
    for share in (0.0001, 0.001, 0.01, 0.1, 0.5, 1.0):
        passes_N = np.zeros(num, dtype=np.bool_)
        take = max(1, round(num * share))
        passes_N[generator.choice(num, take, replace=False)] = True
        about.append({"kind": "random", "share": share, "rows": take})
        columns.append(passes_N)
    for share in (0.001, 0.01, 0.1, 0.5):
        take = max(1, round(num * share))
        near_N = vectors_ND @ vectors_ND[generator.integers(num)]
        passes_N = np.zeros(num, dtype=np.bool_)
        passes_N[np.argpartition(near_N, num - take)[num - take :]] = True
        about.append({"kind": "correlated", "share": share, "rows": take})
        columns.append(passes_N)
    return about, np.ascontiguousarray(np.stack(columns, axis=1))
