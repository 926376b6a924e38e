"""Neighbor features: what the references of equal age say of a user.

Gaussian-weighted nearest neighbors with a Beta prior, the lead of the nearest violators over the
nearest others, a log ratio of densities, and what the user's ring says without the user. A user's
own label never votes: all is as if the user were no reference, the prior and the ring included.

Shape key: `Q` queries, `G` references of a gallery, `K` neighbors, `F` features.
"""

import numpy as np

from embedder.opinion import log_odds_of
from index.products import products
from index.risk.config import RiskConfig
from index.risk.gallery import Floats, References, age_of
from index.risk.ring_rates import NO_RING, Asked, RingRates
from index.vectors import Vectors
from store.sequences import Int64s

FEATURES = (
    "knn_log_odds",
    "effective_neighbors",
    "violator_similarity",
    "violator_lead",
    "log_density_ratio",
    "ring_log_odds",
    "opinion_log_odds",
    "log_num_events",
)
QUERIES_AT_ONCE = 512
NEAREST, DENSITY_NEIGHBORS, DENSITY_SCALE = 3, 50, 0.05
RING_NEIGHBORS, RING_MAJORITY = 3, 2


def neighbor_features(
    references: References,
    rates: RingRates,
    query_QD: Vectors,
    num_events_Q: Int64s,
    own_Q: Int64s,
    asked: Asked,
    config: RiskConfig,
) -> Floats:
    """Return the features of each query, Q x F, named by `FEATURES`.

    Args:
        references: Galleries by age.
        rates: Of the rings.
        query_QD: Unit vectors.
        num_events_Q: Age of each query; decides the gallery.
        own_Q: The reference that each query is, or -1: it does not vote for itself.
        asked: The ring that each query is in. One in none is asked about the ring that most of its
            nearest references are in, if there is such a ring.
        config: Number of neighbors, bandwidth, prior.

    Cost is Q x G x D; memory is bounded by `QUERIES_AT_ONCE` x G.
    """
    features = np.empty((len(query_QD), len(FEATURES)))
    age_Q = age_of(num_events_Q, references.ages)
    for age in np.unique(age_Q):
        queries = np.flatnonzero(age_Q == age)
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            some = queries[start : start + QUERIES_AT_ONCE]
            features[some, :-2] = _gallery_features(
                references, rates, int(age), query_QD[some], own_Q[some], asked.rows(some), config
            )
    start, stop = references.opinion_at
    features[:, -2] = log_odds_of(query_QD[:, start:stop]) if stop > start else 0.0
    features[:, -1] = np.log(np.maximum(num_events_Q, 1))
    return features


def _gallery_features(
    references: References,
    rates: RingRates,
    age: int,
    query_QD: Vectors,
    own_Q: Int64s,
    asked: Asked,
    config: RiskConfig,
) -> Floats:
    """Return the features of queries that meet the same gallery, but opinion and age."""
    rows_G = references.rows[age]
    similarity_QG = products(query_QD, references.vectors[age])
    is_own_QG = own_Q[:, None] == rows_G[None, :]
    similarity_QG[is_own_QG] = -np.inf  # what has no weight anywhere
    violator_G, vote_G = references.is_violator_R[rows_G], references.vote_R[rows_G]
    violators_G, others_G = np.flatnonzero(violator_G), np.flatnonzero(~violator_G)
    of_violators_QK = _nearest(similarity_QG, violators_G, config.neighbors)
    of_others_QK = _nearest(similarity_QG, others_G, config.neighbors)
    near_QK = _merge(similarity_QG, of_violators_QK, of_others_QK, config.neighbors)
    near_similarity = np.take_along_axis(similarity_QG, near_QK, axis=1).astype(np.float64)
    weight_QK = _gaussian_weights(near_similarity, config.bandwidth_rank) * vote_G[near_QK]
    total, of_violators = weight_QK.sum(1), (weight_QK * violator_G[near_QK]).sum(1)
    effective = total**2 / np.maximum((weight_QK**2).sum(1), 1e-12)
    share = of_violators / np.maximum(total, 1e-12)
    rate_Q = references.base_rate_without(own_Q)
    prior = config.prior_votes * rate_Q, config.prior_votes * (1.0 - rate_Q)
    votes = share * effective + prior[0], (1.0 - share) * effective + prior[1]
    to_violators = np.take_along_axis(similarity_QG, of_violators_QK, axis=1).astype(np.float64)
    to_others = np.take_along_axis(similarity_QG, of_others_QK, axis=1).astype(np.float64)
    violators_Q = to_violators[:, :NEAREST].mean(axis=1)
    others_Q = to_others[:, :NEAREST].mean(axis=1)
    density = _log_density(to_violators, (violator_G & ~is_own_QG).sum(1)) - _log_density(
        to_others, (~violator_G & ~is_own_QG).sum(1)
    )
    around_Q = _ring_around(references.ring_R[rows_G[near_QK[:, :RING_NEIGHBORS]]])
    return np.stack(
        [
            np.log(votes[0]) - np.log(votes[1]),
            np.log(effective),
            violators_Q,
            violators_Q - others_Q,
            density,
            rates.excess_log_odds(asked.elsewhere(around_Q)),
        ],
        axis=1,
    )


def _nearest(similarity_QG: Vectors, some_G: Int64s, count: int) -> Int64s:
    """Return the nearest of some references, most similar first; ties by row."""
    part = similarity_QG[:, some_G]
    count = min(count, len(some_G))
    near = np.sort(np.argpartition(-part, count - 1, axis=1)[:, :count], axis=1)
    return _in_order(similarity_QG, some_G[near])


def _merge(similarity_QG: Vectors, first_QK: Int64s, second_QK: Int64s, count: int) -> Int64s:
    """Return the nearest of two lists of references, most similar first."""
    both = np.sort(np.concatenate([first_QK, second_QK], axis=1), axis=1)
    return _in_order(similarity_QG, both)[:, :count]


def _in_order(similarity_QG: Vectors, rows_QK: Int64s) -> Int64s:
    """Order references by falling similarity, equal ones as they stand."""
    order = np.argsort(-np.take_along_axis(similarity_QG, rows_QK, axis=1), axis=1, kind="stable")
    return np.take_along_axis(rows_QK, order, axis=1).astype(np.int64)


def _gaussian_weights(similarity_QK: Floats, bandwidth_rank: int) -> Floats:
    """Return Gaussian weights of the distances; the bandwidth is the distance to one neighbor."""
    distance = np.sqrt(np.maximum(2.0 - 2.0 * similarity_QK, 0.0))
    at_Q = np.minimum(bandwidth_rank, np.isfinite(distance).sum(axis=1)) - 1
    bandwidth = np.maximum(np.take_along_axis(distance, at_Q[:, None], axis=1), 1e-3)
    return np.asarray(np.exp(-0.5 * (distance / bandwidth) ** 2))


def _log_density(similarity_QK: Floats, num_references_Q: Int64s) -> Floats:
    """Return the log of a kernel density, summed over the nearest of a class, per reference."""
    scaled = (similarity_QK[:, :DENSITY_NEIGHBORS] - 1.0) / DENSITY_SCALE
    top = scaled.max(axis=1)
    return np.asarray(top + np.log(np.exp(scaled - top[:, None]).sum(1)) - np.log(num_references_Q))


def _ring_around(ring_QK: Int64s) -> Int64s:
    """Return the ring that most of the nearest references are in, -1 for none."""
    same_QKK = ring_QK[:, :, None] == ring_QK[:, None, :]
    num_same_QK = np.where(ring_QK == NO_RING, 0, same_QKK.sum(axis=2))
    most_Q = num_same_QK.argmax(axis=1)[:, None]
    ring_Q = np.take_along_axis(ring_QK, most_Q, axis=1)[:, 0]
    is_most_Q = np.take_along_axis(num_same_QK, most_Q, axis=1)[:, 0] >= RING_MAJORITY
    return np.where(is_most_Q, ring_Q, NO_RING)
