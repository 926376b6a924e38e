"""How far beyond the nearest list others are probed: few for most queries, very many for some.

Most users lie amid their list, with hardly any neighbors in others; those between lists need many.
Let c be the centroid nearest to a query q, and x a neighbor at the distance r. If x is in the list
of another centroid b, it is nearer to that, so |q - b|^2 - |q - c|^2 <= 2 r |b - c|: lists farther
than this hold no such neighbor. Hardly any x lies just in the direction of b, so much less is
enough; how much, is learned from the queries that tune. It grows with |q - c|^2, which is large
where neighbors are far; of its mean a share is added, for queries that happen to lie on a centroid.
SPANN (Chen et al., NeurIPS 2021) probes lists up to a multiple of the distance to c.

Shape key: `Q` queries, `P` lists to probe, `L` lists, `C` true neighbors.
"""

import numpy as np

from index.approximate import ApproximateIndex
from index.choice import Reach
from index.config import IndexConfig
from index.exact import ExactIndex
from index.ivf import InvertedFile
from index.questions import DEPTHS, Questions
from index.tuning import Quality, quality_if_reached

REACHES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
"""Shares of the squared distance to the nearest centroid, and of its mean, that are tried."""
SPARE_EFFORT = 1.5
"""Times as many lists as needed without: few queries probe them, and those find more."""
WORTH = 0.7
"""Of the lists probed without; where more are left, it costs about what it saves."""


def share_in_lists(index: ApproximateIndex, questions: Questions, *, probes: int) -> float:
    """Return which share of the true neighbors lies in the lists nearest to their query.

    No search of these lists alone has a higher recall, but for ties, at the depth where it is
    lower. It costs a comparison with the centroids, and no scan.

    Args:
        index: An inverted file.
        questions: Queries with their answers.
        probes: Nearest lists.
    """
    lists = index.inner
    assert isinstance(lists, InvertedFile)
    is_near_QL = lists.is_among_nearest(questions.query_QD, probes)
    entry_QC = index.entries.entry_N[questions.near_QC]
    is_held_QC = np.take_along_axis(is_near_QL, lists.list_of_entries()[entry_QC], axis=1)
    is_true_QC = questions.near_QC >= 0
    place_QC = np.cumsum(is_true_QC, axis=1)
    shares = []
    for k in DEPTHS:
        counted = is_true_QC & (place_QC <= k)
        shares.append((is_held_QC & counted).sum() / max(counted.sum(), 1))
    return float(min(shares))


def with_least_reach(
    exact: ExactIndex,
    index: ApproximateIndex,
    quality: Quality,
    questions: Questions,
    config: IndexConfig,
) -> tuple[ApproximateIndex, Quality]:
    """Return lists of which the fewest are probed that still reach the target, if that pays.

    Args:
        exact: Holds the vectors.
        index: An inverted file that reaches the target.
        quality: What it shows.
        questions: Queries with their answers; users among them should be newcomers, for points
            beside them lie amid their lists.
        config: The target.
    """
    lists = index.inner
    assert isinstance(lists, InvertedFile)
    wider = lists.with_effort(min(int(SPARE_EFFORT * lists.effort), lists.effort_max))
    distance_QP = wider.centroid_distances(questions.query_QD)
    nearest_Q1 = distance_QP[:, :1]
    enough = WORTH * lists.effort * len(nearest_Q1)
    tried = [
        reach
        for reach in (Reach.of(share, float(nearest_Q1.mean())) for share in REACHES)
        if np.count_nonzero(distance_QP <= reach.limits(nearest_Q1)) <= enough
    ]
    low, high = 0, len(tried)
    best = index, quality
    while low < high:
        middle = (low + high) // 2
        pruned = ApproximateIndex(index.entries, wider.with_reach(tried[middle]))
        found = quality_if_reached(exact, pruned, questions, config)
        if found is None:
            low = middle + 1
        else:
            best, high = (pruned, found), middle
    return best
