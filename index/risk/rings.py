"""Rings: groups of users closer to each other than chance.

Two users are linked when each is among the other's nearest and they are closer than all but a tiny
share of random pairs. Communities of that graph (Louvain, Blondel et al. 2008) of a moderate size
are rings; a crowd around something popular is too large or too loose to be one.

Shape key: `N` users, `K` neighbors, `D` dimensions.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp
from scipy.stats import beta
from sknetwork.clustering import Louvain

from index.exact import ExactIndex
from index.inverted_file import neighbors_by_inverted_file
from index.risk.config import RingsConfig
from index.vectors import Vectors
from store.sequences import Int64s

RANDOM_PAIRS, PAIRS_AT_ONCE = 500_000, 5_000
QUERIES_AT_ONCE = 4096
COHESION_PAIRS = 20_000
LOWER_TAIL = 0.05

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rings:
    """Rings over a build's users.

    Attributes:
        ring_N: Ring of each user, int32, -1 for none; numbered by size, largest first.
        table: One row per ring: `ring`, `num_users`, `num_violators`, `violator_rate_lower` (5 %
            quantile of the empirical-Bayes posterior), `cohesion` (mean similarity within).
        similarity_min: What two users had to exceed to be linked.
    """

    ring_N: npt.NDArray[np.int32]
    table: pa.Table
    similarity_min: float


def find_rings(vectors_ND: Vectors, label_N: Int64s, config: RingsConfig) -> Rings:
    """Find rings among users.

    Args:
        vectors_ND: Unit vectors; may be memory-mapped.
        label_N: 1 known violator, anything else not.
        config: Neighbors, sizes, resolution.

    Deterministic for a seed. Cost is N^2 D up to `exact_users_max` users, then about
    N sqrt(N) D by an inverted file.
    """
    num_users = len(vectors_ND)
    if num_users <= config.size_min:
        return Rings(np.full(num_users, -1, np.int32), _table([], [], [], []), 1.0)
    similarity_min = chance_similarity(vectors_ND, config)
    graph = mutual_graph(vectors_ND, similarity_min, config)
    ring_N = _number_by_size(communities(graph, config), config)
    return Rings(ring_N, describe_rings(vectors_ND, ring_N, label_N, config), similarity_min)


def chance_similarity(vectors_ND: Vectors, config: RingsConfig) -> float:
    """Return the similarity that only the tail share of unrelated pairs of users exceeds.

    Rings and crowds are among random pairs too, and would raise the bar for all others. So it is
    never higher than where an exponential tail, drawn through the bulk of the pairs, comes to.
    """
    rng = np.random.default_rng([config.seed, 4])
    draws = []
    for _ in range(RANDOM_PAIRS // PAIRS_AT_ONCE):
        pair = rng.integers(0, len(vectors_ND), (2, PAIRS_AT_ONCE))
        rows = np.unique(pair)
        place = np.searchsorted(rows, pair)
        block = np.asarray(vectors_ND[rows])
        other = pair[0] != pair[1]
        draws.append(np.einsum("nd,nd->n", block[place[0][other]], block[place[1][other]]))
    bulk, far, tail = np.quantile(np.concatenate(draws), [0.9, 0.99, 1.0 - config.tail_share])
    decades = np.log10(0.01 / config.tail_share)
    return float(min(tail, far + max(decades, 0.0) * (far - bulk)))


def mutual_graph(vectors_ND: Vectors, similarity_min: float, config: RingsConfig) -> sp.csr_matrix:
    """Return the symmetric graph of users who are mutually among their nearest and close enough."""
    num_users, count = len(vectors_ND), min(config.neighbors + 1, len(vectors_ND))
    if num_users <= config.exact_users_max:
        index = ExactIndex(vectors_ND)
        parts = [
            index.search(np.ascontiguousarray(vectors_ND[first : first + QUERIES_AT_ONCE]), k=count)
            for first in range(0, num_users, QUERIES_AT_ONCE)
        ]
        rows_NK = np.concatenate([part.rows_QK for part in parts])
        score_NK = np.concatenate([part.score_QK for part in parts])
    else:
        found = neighbors_by_inverted_file(vectors_ND, k=count, seed=config.seed)
        rows_NK, score_NK = found.rows_QK, found.score_QK
    own_N1 = np.arange(num_users)[:, None]
    keep = (rows_NK >= 0) & (rows_NK != own_N1) & (score_NK > similarity_min)
    source = np.broadcast_to(own_N1, rows_NK.shape)[keep]
    weight = np.maximum(score_NK[keep] - similarity_min, 1e-6).astype(np.float64)
    one_way = sp.csr_matrix((weight, (source, rows_NK[keep])), shape=(num_users, num_users))
    return one_way.minimum(one_way.T).tocsr()


def communities(graph: sp.csr_matrix, config: RingsConfig) -> npt.NDArray[np.integer]:
    """Return the community of each user.

    A community that holds more than 1 / resolution of all weight is cut, so the resolution grows
    with the users who are linked at all; those who are not say nothing.
    """
    num_linked = int((np.diff(graph.indptr) > 0).sum())
    if num_linked == 0:
        return np.arange(graph.shape[0])
    resolution = max(config.resolution * num_linked / 100.0, 1.0)
    louvain = Louvain(resolution=resolution, random_state=config.seed, shuffle_nodes=False)
    return np.asarray(louvain.fit_predict(graph))


def describe_rings(
    vectors_ND: Vectors, ring_N: npt.NDArray[np.int32], label_N: Int64s, config: RingsConfig
) -> pa.Table:
    """Return size, violators, the lower bound of their rate, and cohesion of each ring."""
    num_rings = int(ring_N.max(initial=-1)) + 1
    inside = ring_N >= 0
    size = np.bincount(ring_N[inside], minlength=num_rings)
    violators = np.bincount(ring_N[inside & (label_N == 1)], minlength=num_rings)
    lower = rate_lower(violators, size, base_rate=float(np.mean(label_N == 1)))
    order = np.argsort(ring_N, kind="stable")[np.count_nonzero(~inside) :]
    starts = np.cumsum(size) - size
    cohesion = [
        _cohesion(np.asarray(vectors_ND[order[first : first + count]]))
        for first, count in zip(starts.tolist(), size.tolist(), strict=True)
    ]
    return _table(size.tolist(), violators.tolist(), lower.tolist(), cohesion)


def rate_lower(violators: Int64s, size: Int64s, *, base_rate: float) -> Floats:
    """Return the 5 % quantile of each ring's violator rate, shrunk to the rate of all rings.

    The Beta prior is fitted to the rings by moments (empirical Bayes); with few rings it is a weak
    one at the base rate.
    """
    a, b = beta_prior(violators, size, base_rate=base_rate)
    if len(size) == 0:
        return np.zeros(0)
    return np.asarray(beta.ppf(LOWER_TAIL, a + violators, b + size - violators))


def beta_prior(violators: Int64s, size: Int64s, *, base_rate: float) -> tuple[float, float]:
    """Return the Beta prior of the rings' violator rates, by moments."""
    rate = min(max(base_rate, 1e-4), 1 - 1e-4)
    if len(size) < 10 or violators.sum() == 0:
        return 2.0 * rate, 2.0 * (1 - rate)
    mean = min(max(float(violators.sum() / size.sum()), 1e-4), 1 - 1e-4)
    within = mean * (1 - mean) * float(np.mean(1 / size))
    between = max(float(np.var(violators / size)) - within, 1e-4)
    strength = min(max(mean * (1 - mean) / between - 1, 0.5), 100.0)
    return mean * strength, (1 - mean) * strength


def _number_by_size(
    community_N: npt.NDArray[np.integer], config: RingsConfig
) -> npt.NDArray[np.int32]:
    """Number the communities of admissible size, largest first, then by their first user."""
    labels, first, place, size = np.unique(
        community_N, return_index=True, return_inverse=True, return_counts=True
    )
    good = np.flatnonzero((size >= config.size_min) & (size <= config.size_max))
    ranked = good[np.lexsort((first[good], -size[good]))]
    number = np.full(len(labels), -1, dtype=np.int32)
    number[ranked] = np.arange(len(ranked), dtype=np.int32)
    return number[place]


def _cohesion(vectors_MD: Vectors) -> float:
    """Return the mean similarity of all pairs of a ring, from the length of its mean."""
    count = len(vectors_MD)
    total = float(np.square(vectors_MD.sum(axis=0, dtype=np.float64)).sum())
    return (total - count) / (count * (count - 1))


def _table(
    size: list[int], violators: list[int], lower: list[float], cohesion: list[float]
) -> pa.Table:
    return pa.table(
        {
            "ring": pa.array(range(len(size)), pa.int32()),
            "num_users": pa.array(size, pa.int64()),
            "num_violators": pa.array(violators, pa.int64()),
            "violator_rate_lower": pa.array(lower, pa.float64()),
            "cohesion": pa.array(cohesion, pa.float64()),
        }
    )
