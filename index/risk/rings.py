"""Rings: groups of users closer to each other than chance.

Links that chance brings are scattered, those within a ring meet: two by two they make groups of
three and more. So the bar on links is the loosest at which the groups that chance alone is expected
to make hold no more than a set share of the users in groups. Communities of the graph of links
(Louvain, Blondel et al. 2008) are rings; what hangs together beyond a size is a crowd, not a ring.

Shape key: `N` users, `E` entries (distinct vectors), `L` links, `D` dimensions, `R` rings.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.special import gammaln
from sknetwork.clustering import Louvain

from index.risk.config import RingsConfig
from index.risk.links import Floats, Links, find_links
from index.risk.ring_rates import Asked, RingRates
from index.vectors import Vectors
from store.sequences import Int64s

BARS = 10.0 ** -np.arange(0.0, 4.05, 0.1)
"""Expected strangers as close: one is no surprise, one in ten thousand always is."""


@dataclass(frozen=True)
class Rings:
    """Rings over a build's users.

    Attributes:
        ring_N: Ring of each user, int32, -1 for none; numbered by size, largest first.
        table: One row per ring: `ring`, `num_users`, `num_violators`, `violator_rate_lower` (see
            `RingRates`), `cohesion` (mean similarity within).
        bar: How many strangers may be expected to come as close as two linked users.
        chance_share: Of the users in rings, how many are expected to be there by chance.
    """

    ring_N: npt.NDArray[np.int32]
    table: pa.Table
    bar: float
    chance_share: float


def find_rings(
    vectors_ND: Vectors, num_events_N: Int64s, label_N: Int64s, config: RingsConfig
) -> Rings:
    """Find rings among users.

    Args:
        vectors_ND: Unit vectors; may be memory-mapped.
        num_events_N: Events behind each vector.
        label_N: 1 known violator, anything else not. Labels do not decide who is in a ring.
        config: Neighbors, sizes, chance, resolution.

    Deterministic for a seed. Cost is N^2 D up to `exact_users_max` users, then about
    N sqrt(N) D by an inverted file.
    """
    rows = np.flatnonzero(num_events_N >= config.events_min)
    vectors = vectors_ND if len(rows) == len(vectors_ND) else vectors_ND[rows]
    links = find_links(vectors, num_events_N[rows], config)
    bar, chance_share = choose_bar(links, config)
    ring_E = rings_of(links, bar, choose_twin_bar(links, config), config)
    ring_N = np.full(len(vectors_ND), -1, dtype=np.int32)
    ring_N[rows[links.entries.rows_N]] = np.repeat(ring_E, links.users_E)
    return Rings(ring_N, describe_rings(vectors_ND, ring_N, label_N), bar, chance_share)


def choose_bar(links: Links, config: RingsConfig) -> tuple[float, float]:
    """Return the loosest bar that keeps chance low enough, and chance's share; 0, 0 if none does.

    Were all links chance, groups of them would be as those of a random graph of as many links.
    There are no more such links than the bar allows every user. Entries are counted, not users:
    a thousand equal bots say nothing of other links.
    """
    num_entries = links.entries.num_entries
    for bar in BARS.tolist():
        group_E, keep = _groups(links, bar)
        found = _size_of_group(group_E) >= config.size_min
        found &= _size_of_group(group_E, links.users_E) <= config.size_max
        num_found = int(np.count_nonzero(found))
        degree = min(2.0 * np.count_nonzero(keep) / max(num_entries, 1), bar)
        expected = num_entries * chance_in_groups(degree, config.size_min)
        if num_found > 0 and expected <= config.chance_share * num_found:
            return bar, expected / num_found
    return 0.0, 0.0


def choose_twin_bar(links: Links, config: RingsConfig) -> float:
    """Return the loosest bar at which chance explains few enough of those who share a vector."""
    for bar in BARS.tolist():
        num_found = (links.users_E - 1)[links.twins_E <= bar].sum()
        if links.entries.num_entries * bar <= config.chance_share * num_found:
            return float(bar)
    return 0.0


def chance_in_groups(links_per_user: float, size_min: int) -> float:
    """Return the share of a random graph's vertices that are in groups of a size or more (Borel).

    Args:
        links_per_user: Mean degree, at most 1.
        size_min: Vertices of the smallest group that counts.
    """
    size = np.arange(1.0, size_min)
    log_share = (size - 1) * np.log(links_per_user * size + 1e-300) - links_per_user * size
    return max(1.0 - float(np.exp(log_share - gammaln(size + 1)).sum()), 0.0)


def rings_of(
    links: Links, bar: float, twin_bar: float, config: RingsConfig
) -> npt.NDArray[np.int32]:
    """Return the ring of each entry, -1 for none, numbered by size, then by the first user."""
    users_E = links.users_E
    group_E, keep = _groups(links, bar)
    community_E = _communities(links, keep, bar, config)
    size_E = _size_of_group(community_E, users_E)
    strangers_E = (_size_of_group(community_E) == 1) & (links.twins_E > twin_bar)
    fits_E = ~strangers_E & (size_E >= config.size_min)
    fits_E &= _size_of_group(group_E, users_E) <= config.size_max
    return _number_by_size(np.where(fits_E, community_E, -1), users_E)


def describe_rings(vectors_ND: Vectors, ring_N: npt.NDArray[np.int32], label_N: Int64s) -> pa.Table:
    """Return size, violators, the lower bound of their rate, and cohesion of each ring."""
    ring = ring_N.astype(np.int64)
    rates = RingRates.count(ring, label_N == 1, num_rings=int(ring.max(initial=-1)) + 1)
    rings = np.arange(len(rates.users_R))
    order = np.argsort(ring_N, kind="stable")[np.count_nonzero(ring_N < 0) :]
    starts = np.cumsum(rates.users_R) - rates.users_R
    cohesion = [
        _cohesion(np.asarray(vectors_ND[np.sort(order[first : first + count])]))
        for first, count in zip(starts.tolist(), rates.users_R.tolist(), strict=True)
    ]
    lower = rates.rate_lower(Asked.by_strangers(rings))
    return pa.table(
        {
            "ring": pa.array(rings, pa.int32()),
            "num_users": pa.array(rates.users_R, pa.int64()),
            "num_violators": pa.array(rates.violators_R, pa.int64()),
            "violator_rate_lower": pa.array(lower, pa.float64()),
            "cohesion": pa.array(cohesion, pa.float64()),
        }
    )


def _groups(links: Links, bar: float) -> tuple[Int64s, npt.NDArray[np.bool_]]:
    """Return what hangs together by links up to the bar, and which links these are."""
    keep = links.chance_L <= bar
    num_entries = links.entries.num_entries
    edges = (links.first_L[keep], links.second_L[keep])
    graph = sp.csr_matrix((np.ones(len(edges[0])), edges), shape=(num_entries, num_entries))
    _, group_E = connected_components(graph, directed=False)
    return group_E.astype(np.int64), keep


def _size_of_group(group_E: Int64s, weight_E: Int64s | None = None) -> Floats:
    """Return, for each entry, the number (or weight) of all in its group."""
    return np.asarray(np.bincount(group_E, weights=weight_E)[group_E], dtype=np.float64)


def _communities(
    links: Links, keep: npt.NDArray[np.bool_], bar: float, config: RingsConfig
) -> Int64s:
    """Return the community of each entry; those without a link are their own.

    A community that holds more than 1 / resolution of all weight is cut, so the resolution grows
    with the entries that are linked at all.
    """
    community_E = np.arange(links.entries.num_entries)
    linked, place = np.unique([links.first_L[keep], links.second_L[keep]], return_inverse=True)
    if len(linked) == 0:
        return community_E
    first, second = place.reshape(2, -1)
    weight = np.maximum(np.log(bar / links.chance_L[keep]), 1e-6)
    one_way = sp.csr_matrix((weight, (first, second)), shape=(len(linked), len(linked)))
    resolution = max(config.resolution * len(linked) / 100.0, 1.0)
    louvain = Louvain(resolution=resolution, random_state=config.seed, shuffle_nodes=False)
    found = np.asarray(louvain.fit_predict((one_way + one_way.T).tocsr()))
    community_E[linked] = len(community_E) + found
    return np.unique(community_E, return_inverse=True)[1].astype(np.int64)


def _number_by_size(community_E: Int64s, users_E: Int64s) -> npt.NDArray[np.int32]:
    """Number communities, largest first, then by their first entry; -1 stays."""
    labels, first, place = np.unique(community_E, return_index=True, return_inverse=True)
    size = np.bincount(place, weights=users_E)
    good = np.flatnonzero(labels >= 0)
    ranked = good[np.lexsort((first[good], -size[good]))]
    number = np.full(len(labels), -1, dtype=np.int32)
    number[ranked] = np.arange(len(ranked), dtype=np.int32)
    return number[place]


def _cohesion(vectors_MD: Vectors) -> float:
    """Return the mean similarity of all pairs of a ring, from the length of its mean."""
    count = len(vectors_MD)
    total = float(np.square(vectors_MD.sum(axis=0, dtype=np.float64)).sum())
    return (total - count) / (count * (count - 1))
