"""A graph of vectors that keep coming: each addition makes another graph, none is ever written to.

Whoever searches goes on in the graph it holds while a longer copy is made, so no search meets a
half-linked vector. Copying takes far less than linking the new vectors, and FAISS leaves the
interpreter to the readers meanwhile.

Shape key: `E` entries (distinct vectors), `D` dimensions.
"""

from typing import Any

import faiss
import numpy as np

from index.config import IndexConfig
from index.hnsw import EXTRA_DIMS, HnswIndex
from index.hubness import augment_gallery
from index.vectors import Floats, Vectors

PENALTY_MAX = 0.51
"""Half a cosine, and some rounding: vectors to come must fit among those that are linked."""


def grow_graph(
    index: HnswIndex | None,
    added_ED: Vectors,
    penalty_E: Floats | None,
    config: IndexConfig,
    *,
    effort: int,
) -> HnswIndex:
    """Return a graph with more entries, numbered on from those there are.

    Args:
        index: What to go on from, left as it is; None to begin.
        added_ED: Distinct unit vectors that are not in it.
        penalty_E: Their hub corrections; None where there is no hub correction.
        config: Shape of the graph.
        effort: Beam width of a search.
    """
    dim = added_ED.shape[1]
    width = dim if penalty_E is None else dim + EXTRA_DIMS
    graph: Any
    if index is None:
        graph = faiss.IndexHNSWFlat(width, config.m, faiss.METRIC_L2)
        graph.hnsw.efConstruction = config.ef_construction
    else:
        graph = faiss.clone_index(index.graph)
    if penalty_E is not None:
        added_ED = augment_gallery(added_ED, penalty_E, penalty_max=PENALTY_MAX)
    faiss.omp_set_num_threads(1)
    graph.add(np.ascontiguousarray(added_ED))
    square_length = 1.0 if penalty_E is None else 1.0 + PENALTY_MAX**2
    return HnswIndex(graph, dim, square_length, effort, 1)
