"""How far beyond the nearest list others are probed: few for most queries, very many for some.

Most users lie amid their list, with hardly any neighbors in others; those between lists need many.
Let c be the centroid nearest to a query q, and x a neighbor at the distance r. If x is in the list
of another centroid b, it is nearer to that, so |q - b|^2 - |q - c|^2 <= 2 r |b - c|: lists farther
than this hold no such neighbor. Hardly any x lies just in the direction of b, so much less is
enough; how much, is learned from the queries that tune. It grows with |q - c|^2, which is large
where neighbors are far; of its mean a share is added, for queries that happen to lie on a centroid.
SPANN (Chen et al., NeurIPS 2021) probes lists up to a multiple of the distance to c.

Shape key: `Q` queries, `P` lists to probe.
"""

from collections.abc import Sequence

import numpy as np

from index.approximate import ApproximateIndex
from index.choice import Reach
from index.config import IndexConfig
from index.exact import ExactIndex
from index.ivf import InvertedFile
from index.questions import Questions
from index.tuning import Quality, quality_if_reached

REACHES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
"""Shares of the squared distance to the nearest centroid, and of its mean, that are tried."""
SPARE_EFFORT = 1.5
"""Times as many lists as needed without: few queries probe them, and those find more."""
WORTH = 0.7
"""Of the lists probed without; where more are left, it costs about what it saves."""


def with_least_reach(
    exact: ExactIndex,
    index: ApproximateIndex,
    asked: Sequence[Questions],
    config: IndexConfig,
    *,
    near_share: float | None = None,
) -> tuple[ApproximateIndex, Quality] | None:
    """Return lists of which the fewest are probed that still reach the target.

    With a share that is near, queries farther from any list than that share of the last that are
    asked probe as many lists as without a reach: most come from where no vector is stored, and
    from there the nearest lists are not where the neighbors are.

    Args:
        exact: Holds the vectors.
        index: An inverted file that reaches the target for all that is asked.
        asked: Queries with their answers, to each of which the target applies; the last are of
            users in the lists, and beside them. Users among them should be newcomers, for points
            beside them lie amid their lists.
        config: The target.
        near_share: None where all queries come from where vectors are stored.

    Returns:
        The lists, and what they find for the last of what is asked; None where it doesn't pay.
    """
    lists = index.inner
    assert isinstance(lists, InvertedFile)
    spare = SPARE_EFFORT if near_share is None else 1.0
    wider = lists.with_effort(min(int(spare * lists.effort), lists.effort_max))
    nearest_Q = wider.centroid_distances(asked[-1].query_QD)[:, 0]
    mean_nearest = float(nearest_Q.mean())
    far = None if near_share is None else float(np.quantile(nearest_Q, near_share))
    tried = [
        reach
        for reach in (Reach.of(share, mean_nearest, far=far) for share in REACHES)
        if _mean_probed(wider, asked, reach) <= WORTH * lists.effort
    ]
    low, high = 0, len(tried)
    best: tuple[ApproximateIndex, Quality] | None = None
    while low < high:
        middle = (low + high) // 2
        pruned = ApproximateIndex(index.entries, wider.with_reach(tried[middle]))
        quality = _quality_for_all(exact, pruned, asked, config)
        if quality is None:
            low = middle + 1
        else:
            best, high = (pruned, quality), middle
    return best


def _mean_probed(lists: InvertedFile, asked: Sequence[Questions], reach: Reach) -> float:
    """Return how many lists are scanned, in the mean over whatever is asked."""
    probed = [lists.num_probed(questions.query_QD, reach) for questions in asked]
    return float(np.concatenate(probed).mean())


def _quality_for_all(
    exact: ExactIndex, index: ApproximateIndex, asked: Sequence[Questions], config: IndexConfig
) -> Quality | None:
    """Return what is found for the last of what is asked; None where any misses the target."""
    quality = None
    for questions in asked:
        quality = quality_if_reached(exact, index, questions, config)
        if quality is None:
            return None
    return quality
