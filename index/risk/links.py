"""Links: pairs of users closer to each other than chance brings them, in the eyes of both.

How close strangers come by chance differs from user to user: in a crowd around something popular
everybody is close to many, and users of few events are close to all of their like. So a similarity
is read in the user's own terms, from where the closest strangers begin and how far they spread.
How far the nearest of all users comes by chance is then read off users of like age and spread
together: the largest of many numbers follows a Gumbel law, and its place and scale are those of
the middle and the upper quartile, which rings that are no more than a few in a hundred do not move.

Identical vectors are one entry with its users, so that a thousand bots are no thousand witnesses.

Shape key: `N` users, `E` entries (distinct vectors), `K` neighbors, `R` reference users, `L` links,
`D` dimensions.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from index.distinct import Entries, group_identical
from index.exact import ExactIndex
from index.inverted_file import neighbors_by_inverted_file
from index.risk.config import RingsConfig
from index.vectors import Neighbors, Rows, Vectors, row_blocks
from store.sequences import Int64s

QUERIES_AT_ONCE = 4096
CROWD_SHARE, BULK_SHARE, CROWD_MIN = 0.01, 0.1, 10
ALIKE_MIN, ALIKE_SPLITS_MAX = 500, 8
SPREAD_MIN, SCALE_MIN, EXPONENT_MAX = 1e-4, 1e-3, 60.0
MEDIAN, QUARTILE = np.log(2.0), np.log(4.0 / 3.0)
"""How many come as close by chance as the nearest of the median user, and of the upper quartile."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Links:
    """Entries that are mutually among their nearest, and how surprising that is.

    Attributes:
        entries: Users by distinct vector.
        first_L, second_L: The entries of each link, first < second.
        chance_L: How many strangers are expected to come as close, to the one of the two whom it
            surprises less.
        twins_E: The same of users who share a vector; infinite where an entry has one user.
    """

    entries: Entries
    first_L: Int64s
    second_L: Int64s
    chance_L: Floats
    twins_E: Floats

    @property
    def users_E(self) -> Int64s:
        """Users of each entry."""
        return np.diff(self.entries.offsets_E)


def find_links(vectors_ND: Vectors, num_events_N: Int64s, config: RingsConfig) -> Links:
    """Return all mutual neighbors with their chance; where users are too few, none.

    Deterministic for a seed. Cost is N^2 D up to `exact_users_max` users, then about N sqrt(N) D.
    """
    entries = group_identical(vectors_ND)
    rows_E = entries.first_rows_E
    nobody = np.empty(0, dtype=np.int64)
    if len(rows_E) < 4 * CROWD_MIN:
        never = np.full(len(rows_E), np.inf)
        return Links(entries, nobody, nobody, np.empty(0), never)
    vectors_ED = vectors_ND if len(rows_E) == len(vectors_ND) else vectors_ND[rows_E]
    near_E, spread_E = background(vectors_ED, config)
    nearest = _nearest(vectors_ED, config)
    alike = _alike(num_events_N[rows_E], spread_E)
    closeness_EK = (nearest.score_QK - near_E[:, None]) / spread_E[:, None]
    mode_E, scale_E = _gumbel(closeness_EK[:, 0], alike)
    chance_EK = _chance(closeness_EK, mode_E[:, None], scale_E[:, None])
    twin_E = _chance((1.0 - near_E) / spread_E, mode_E, scale_E)
    first_L, second_L, chance_L = _mutual(nearest.rows_QK, chance_EK)
    twins_E = np.where(np.diff(entries.offsets_E) > 1, twin_E, np.inf)
    return Links(entries, first_L, second_L, chance_L, twins_E)


def background(vectors_ED: Vectors, config: RingsConfig) -> tuple[Floats, Floats]:
    """Return where each entry's closest strangers begin, and how far they spread below.

    Strangers are a sample of distinct vectors, so that a thousand equal bots weigh as one. The
    closest of them are those nearer than all but one in a hundred: a group that is larger is a
    crowd, in which closeness is no surprise. The spread reaches down to one in ten.
    """
    num_entries = len(vectors_ED)
    size = min(num_entries, config.references)
    rng = np.random.default_rng([config.seed, 4])
    rows = np.sort(rng.choice(num_entries, size, replace=False))
    reference_RD = np.ascontiguousarray(vectors_ED[rows])
    near = max(round(CROWD_SHARE * size), CROWD_MIN)
    far = max(min(round(BULK_SHARE * size), size // 2), 2 * near)
    near_E, far_E = np.empty(num_entries), np.empty(num_entries)
    for block in row_blocks(num_entries, size * 4):
        similarity = vectors_ED[block] @ reference_RD.T
        similarity.partition([size - far, size - near], axis=1)
        near_E[block], far_E[block] = similarity[:, size - near], similarity[:, size - far]
    return near_E, np.maximum(near_E - far_E, SPREAD_MIN)


def _nearest(vectors_ED: Vectors, config: RingsConfig) -> Neighbors:
    """Return the nearest other entries of each, most similar first; -1 with -inf where none is."""
    num_entries, count = len(vectors_ED), min(config.neighbors + 1, len(vectors_ED))
    if num_entries <= config.exact_users_max:
        index = ExactIndex(vectors_ED)
        parts = [
            index.search(np.ascontiguousarray(vectors_ED[first : first + QUERIES_AT_ONCE]), k=count)
            for first in range(0, num_entries, QUERIES_AT_ONCE)
        ]
        rows_EK = np.concatenate([part.rows_QK for part in parts])
        score_EK = np.concatenate([part.score_QK for part in parts])
    else:
        found = neighbors_by_inverted_file(vectors_ED, k=count, seed=config.seed)
        rows_EK, score_EK = found.rows_QK, found.score_QK
    own_EK = rows_EK == np.arange(num_entries)[:, None]
    own_EK[~own_EK.any(axis=1), -1] = True
    others = (num_entries, count - 1)
    return Neighbors(rows_EK[~own_EK].reshape(others), score_EK[~own_EK].reshape(others))


def _alike(num_events_E: Int64s, spread_E: Floats) -> list[Rows]:
    """Split entries by age, then by spread, into parts of like number, none too small to tell."""
    splits = min(max(int(np.sqrt(len(spread_E) / ALIKE_MIN)), 1), ALIKE_SPLITS_MAX)
    by_age = np.array_split(np.lexsort((spread_E, num_events_E)), splits)
    return [
        part
        for of_age in by_age
        for part in np.array_split(of_age[np.argsort(spread_E[of_age], kind="stable")], splits)
    ]


def _gumbel(nearest_E: Floats, alike: list[Rows]) -> tuple[Floats, Floats]:
    """Return place and scale of the law of each entry's nearest, by its like."""
    mode_E, scale_E = np.empty(len(nearest_E)), np.empty(len(nearest_E))
    for part in alike:
        median, quartile = np.quantile(nearest_E[part], [0.5, 0.75])
        scale = max((quartile - median) / (np.log(MEDIAN) - np.log(QUARTILE)), SCALE_MIN)
        scale_E[part], mode_E[part] = scale, median + scale * np.log(MEDIAN)
    return mode_E, scale_E


def _chance(closeness: Floats, mode: Floats, scale: Floats) -> Floats:
    """Return how many strangers are expected to come so close."""
    exponent = np.clip((mode - closeness) / scale, -EXPONENT_MAX, EXPONENT_MAX)
    return np.asarray(np.exp(exponent))


def _mutual(rows_EK: Rows, chance_EK: Floats) -> tuple[Int64s, Int64s, Floats]:
    """Return the pairs that have each other, once, with the larger of their two chances."""
    source_EK = np.broadcast_to(np.arange(len(rows_EK))[:, None], rows_EK.shape)
    there = rows_EK >= 0
    surprise = 1.0 / chance_EK[there]
    shape = (len(rows_EK), len(rows_EK))
    one_way = sp.csr_matrix((surprise, (source_EK[there], rows_EK[there])), shape=shape)
    both = sp.triu(one_way.minimum(one_way.T), k=1).tocoo()
    return both.row.astype(np.int64), both.col.astype(np.int64), 1.0 / both.data
