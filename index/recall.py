"""How many true neighbors an approximate index finds, and how far that can be trusted.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors, `D` dimensions.
"""

from statistics import NormalDist

import numpy as np
from scipy.special import betaincinv

from index.vectors import Rows

SCORE_TOLERANCE = 1e-5


def sample_rows(num_rows: int, *, num: int, generator: np.random.Generator) -> Rows:
    """Draw rows without replacement, all where there are not more; ascending."""
    return np.sort(generator.choice(num_rows, min(num, num_rows), replace=False)).astype(np.int64)


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


def share_upper_bound(num_found: int, *, num: int, population: int, confidence: float) -> float:
    """Return the one-sided upper bound of a share (Clopper and Pearson, Biometrika 1934).

    With none found it is about 3 / num at 95 %, so a sample of 3,000 can prove one in 1,000.

    Args:
        num_found: In the sample.
        num: Size of the sample, at least 1.
        population: What it was drawn from; a sample of all of it has no error.
        confidence: Probability that the true share is not above the bound.
    """
    if num >= population:
        return num_found / num
    if num_found == num:
        return 1.0
    return float(betaincinv(num_found + 1, num - num_found, confidence))
