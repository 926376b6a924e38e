"""How many true neighbors an approximate index finds, and how far that can be trusted.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors, `D` dimensions.
"""

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from index.approximate import ApproximateIndex
from index.config import IndexConfig
from index.exact import ExactIndex
from index.vectors import Rows

SCORE_TOLERANCE = 1e-5
TUNING_QUERIES = 500
TUNING_K = 10


def sample_rows(num_rows: int, *, num: int, generator: np.random.Generator) -> Rows:
    """Draw rows without replacement, all where there are not more; ascending."""
    return np.sort(generator.choice(num_rows, min(num, num_rows), replace=False)).astype(np.int64)


def recall_per_query(
    exact: ExactIndex, approximate: ApproximateIndex, rows_Q: Rows, *, k: int
) -> npt.NDArray[np.float64]:
    """Return recall@k for stored users as queries, each without itself.

    A row counts as found when its true score reaches that of the exact k-th neighbor, within a
    tolerance: which of two equal users is returned does not matter.
    """
    query_QD = np.ascontiguousarray(exact.vectors_ND[rows_Q])
    true_QK = exact.search(query_QD, k=k + 1)
    near_QK = approximate.search(query_QD, k=k + 1)
    recall_Q = np.ones(len(rows_Q))
    for query, row in enumerate(rows_Q.tolist()):
        others = (true_QK.rows_QK[query] != row) & (true_QK.rows_QK[query] >= 0)
        true_score = true_QK.score_QK[query][others][:k]
        found = near_QK.rows_QK[query]
        found = found[(found != row) & (found >= 0)][:k]
        if len(true_score):
            reached = exact.score(query_QD[query], found) >= true_score[-1] - SCORE_TOLERANCE
            recall_Q[query] = reached.sum() / len(true_score)
    return recall_Q


def tune_effort(
    exact: ExactIndex, graph: ApproximateIndex, config: IndexConfig
) -> ApproximateIndex:
    """Return the graph with the narrowest beam that reaches the recall asked for.

    The beam starts at `ef_search` and doubles up to `ef_search_max`, which is taken where even it
    does not reach the target; the gate then decides. Its sample is another one than this.
    """
    generator = np.random.default_rng([config.seed, TUNING_QUERIES])
    rows_Q = sample_rows(exact.num_vectors, num=TUNING_QUERIES, generator=generator)
    beam = min(config.ef_search, config.ef_search_max)
    tuned = graph.with_effort(beam)
    while beam < config.ef_search_max:
        if recall_per_query(exact, tuned, rows_Q, k=TUNING_K).mean() >= config.recall_target:
            break
        beam = min(2 * beam, config.ef_search_max)
        tuned = graph.with_effort(beam)
    return tuned


def lower_bound(mean: float, *, num: int, population: int, confidence: float) -> float:
    """Return a one-sided Wilson bound of the mean of values in [0, 1].

    Values between 0 and 1 vary less than yes and no do, so the bound is a cautious one. A sample
    of the whole population has no sampling error: the usual correction for drawing without
    replacement is applied.

    Args:
        mean: Of the sample.
        num: Size of the sample, at least 1.
        population: What it was drawn from without replacement, at least `num`.
        confidence: Probability that the true mean is not below the bound.
    """
    if num >= population:
        return mean
    effective = num * (population - 1) / (population - num)
    z = NormalDist().inv_cdf(confidence)
    centre = mean + z * z / (2 * effective)
    spread = z * float(np.sqrt(mean * (1 - mean) / effective + (z / (2 * effective)) ** 2))
    return max(0.0, (centre - spread) / (1 + z * z / effective))
