"""All-neighbors search by an inverted file (FAISS IVF-Flat): for graphs over many users.

Unlike a graph index built by several threads it gives the same answer every time, which rings and
point-in-time features need.
"""

import faiss
import numpy as np

from index.vectors import Neighbors, Vectors, row_blocks

TRAIN_PER_LIST, PROBE_SHARE, PROBES_MIN = 40, 0.02, 8


def neighbors_by_inverted_file(vectors_ND: Vectors, *, k: int, seed: int) -> Neighbors:
    """Return about the k most similar stored users of every stored user, itself among them.

    Cost is about N x sqrt(N) x D for sqrt(N) lists of which a fixed share is probed.
    """
    num_users, dim = vectors_ND.shape
    num_lists = max(int(np.sqrt(num_users)), 1)
    quantizer = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFFlat(quantizer, dim, num_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed + 1
    index.cp.min_points_per_centroid = 1  # few users are no reason to warn
    sample = np.random.default_rng([seed, 6]).choice(
        num_users, min(num_users, TRAIN_PER_LIST * num_lists), replace=False
    )
    index.train(np.ascontiguousarray(vectors_ND[np.sort(sample)]))
    for rows in row_blocks(num_users, dim * 4):
        index.add(np.ascontiguousarray(vectors_ND[rows]))
    index.nprobe = max(int(PROBE_SHARE * num_lists), PROBES_MIN)
    found = Neighbors(np.empty((num_users, k), np.int64), np.empty((num_users, k), np.float32))
    for rows in row_blocks(num_users, dim * 4):
        score_QK, rows_QK = index.search(np.ascontiguousarray(vectors_ND[rows]), k)
        found.rows_QK[rows] = rows_QK
        found.score_QK[rows] = np.where(rows_QK < 0, -np.inf, score_QK)
    return found
