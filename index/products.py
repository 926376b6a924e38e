"""Inner products of queries with many vectors.

Shape key: `Q` queries, `M` vectors, `C` of them, `D` dimensions.
"""

from typing import Any

import faiss
import numpy as np

from index.vectors import Floats, Rows, Vectors

UNCACHED_BYTES = 16 * 2**20
"""Vectors of more bytes hardly stay in a core's caches between two searches."""


def products(query_QD: Vectors, vectors_MD: Vectors) -> Floats:
    """Return the inner product of each query with each vector, Q by M, float32."""
    if len(query_QD) == 1:
        return products_of_one(query_QD[0], vectors_MD)[None]
    return query_QD @ vectors_MD.T


def products_of_one(query_D: Vectors, vectors_MD: Vectors) -> Floats:
    """Return the inner product of one query with each vector, float32.

    FAISS reads vectors that come from memory up to twice as fast as OpenBLAS does.
    """
    if vectors_MD.nbytes < UNCACHED_BYTES:
        return vectors_MD @ query_D
    query = np.ascontiguousarray(query_D, dtype=np.float32)  # read as such, unchecked
    vectors = np.ascontiguousarray(vectors_MD, dtype=np.float32)
    product_M = np.empty(len(vectors), dtype=np.float32)
    library: Any = faiss  # its stubs lack the function
    library.fvec_inner_products_ny(
        *map(faiss.swig_ptr, (product_M, query, vectors)), vectors.shape[1], len(vectors)
    )
    return product_M


def products_of_rows(query_QD: Vectors, vectors_MD: Vectors, rows_QC: Rows) -> Floats:
    """Return the inner products of each query with its rows, -inf for rows below 0, Q by C.

    Vectors are multiplied where they lie: a copy of them first takes up to 1.4 times as long, and
    memory that each search asks for anew.

    Args:
        query_QD: float32, contiguous.
        vectors_MD: float32, contiguous.
        rows_QC: int64, contiguous, below M.
    """
    product_QC = np.empty(rows_QC.shape, dtype=np.float32)
    library: Any = faiss  # its stubs lack the function
    library.fvec_inner_products_by_idx(
        faiss.swig_ptr(product_QC),
        faiss.swig_ptr(query_QD),
        faiss.swig_ptr(vectors_MD),
        faiss.swig_ptr(rows_QC),
        vectors_MD.shape[1],
        *rows_QC.shape,
    )
    return product_QC
