"""Why a build is searched as it is: plain values for its manifest."""

import numpy as np
from pydantic import BaseModel, Field

from index.approximate import ApproximateKind
from index.vectors import Floats


class Reach(BaseModel, frozen=True, extra="forbid"):
    """Up to which squared distance of their centroids lists are probed.

    Attributes:
        ratio: Times that of the nearest centroid.
        gap: Added to it.
        far: Where the nearest centroid is farther, squared, no list is beyond reach; None for
            never.
    """

    ratio: float = Field(ge=1)
    gap: float = Field(ge=0)
    far: float | None = Field(default=None, ge=0, exclude_if=lambda far: far is None)

    @classmethod
    def of(cls, share: float, mean: float, *, far: float | None = None) -> "Reach":
        """Return the reach beyond the nearest by a share of its squared distance and their mean."""
        return cls(ratio=1 + share, gap=share * mean, far=far)

    def limits(self, nearest_Q: Floats) -> Floats:
        """Return the squared distances up to which queries probe, of those of their nearest."""
        limits_Q: Floats = nearest_Q * np.float32(self.ratio) + np.float32(self.gap)
        if self.far is not None:
            limits_Q[nearest_Q > np.float32(self.far)] = np.inf
        return limits_Q


class Candidate(BaseModel, frozen=True, extra="forbid"):
    """An index that was built and tuned, and what it showed.

    Attributes:
        effort: Beam width or lists probed.
        effort_at_10: Beam width for ten neighbors; None for `effort`.
        refine: Candidates scored again for each neighbor, 1 for none.
        reach: Up to which distance lists are probed; None for all of `effort`.
        recall_at_10: Mean over the queries; `..._bound` is its lower bound, `..._100` likewise.
        num_poor: Queries with a recall below .5 among `num_queries`.
        poor_share_bound: Upper bound of the share of such queries.
        microseconds: Median time of one query, one thread.
        build_seconds: Time to build, without tuning, which took `tuning_seconds`.
        reached: True when both bounds are within the target.
    """

    kind: ApproximateKind
    effort: int
    effort_at_10: int | None = None
    refine: int
    reach: Reach | None = None
    recall_at_10: float
    recall_at_10_bound: float
    recall_at_100: float
    recall_at_100_bound: float
    num_queries: int
    num_poor: int
    poor_share_bound: float
    microseconds: float
    build_seconds: float
    tuning_seconds: float
    reached: bool


class Choice(BaseModel, frozen=True, extra="forbid"):
    """Why a build is searched as it is.

    Attributes:
        reason: In a sentence.
        exact_milliseconds: Median time of one exact query; None where it wasn't measured.
        candidates: The indexes that were built and tuned, in this order.
    """

    reason: str
    exact_milliseconds: float | None = None
    candidates: tuple[Candidate, ...] = ()
