"""The violator rates of rings, as far as others than the user asked about tell.

Shape key: `N` users, `R` rings, `Q` users asked about.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from store.sequences import Int64s

NO_RING = -1
LOWER_TAIL = 0.05
RATE_MIN, PRIOR_VOTES, STRENGTH_MIN, STRENGTH_MAX = 1e-4, 2.0, 0.5, 100.0
RINGS_MIN, VARIANCE_MIN = 10, 1e-4
WHOLE = 1 << 20
"""Fractions are rounded to whole numbers of a 2^20th, whose sums leave no remainder."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Asked:
    """Q users asked about.

    Attributes:
        ring_Q: The ring that each question is about, -1 for none.
        is_member_Q: Whether the user is counted in that ring.
        is_violator_Q: Whether the user is counted as a violator.
    """

    ring_Q: Int64s
    is_member_Q: Bools
    is_violator_Q: Bools

    @classmethod
    def by_strangers(cls, ring_Q: Int64s) -> "Asked":
        """Ask about rings, for nobody who is counted."""
        nobody = np.zeros(len(ring_Q), dtype=bool)
        return cls(ring_Q, nobody, nobody)

    def rows(self, rows: Int64s) -> "Asked":
        """Return some of the questions."""
        return Asked(self.ring_Q[rows], self.is_member_Q[rows], self.is_violator_Q[rows])

    def elsewhere(self, ring_Q: Int64s) -> "Asked":
        """Ask about these rings for those who are in none."""
        ring_Q = np.where(self.ring_Q == NO_RING, ring_Q, self.ring_Q)
        return Asked(ring_Q, self.is_member_Q, self.is_violator_Q)


@dataclass(frozen=True)
class RingRates:
    """Counts of users and known violators, per ring and in all, and what follows from them.

    The rate of a ring is told by the lower 5 % quantile of a posterior whose Beta prior is fitted
    to the rates of all rings by moments (empirical Bayes); where rings are few, it is a weak one at
    the rate of all users. Whoever is asked about is first taken out of the ring, of the moments and
    of the violators. All sums are of whole numbers, so that this leaves no trace of the own label,
    not even in the last bit.

    Attributes:
        users_R, violators_R: Of each ring.
        num_users, num_violators: Of all users, in rings or not.
    """

    users_R: Int64s
    violators_R: Int64s
    num_users: int
    num_violators: int

    @classmethod
    def count(cls, ring_N: Int64s, is_violator_N: Bools, *, num_rings: int) -> "RingRates":
        """Count users; `ring_N` is -1 for those in no ring."""
        inside = ring_N != NO_RING
        users_R = np.bincount(ring_N[inside], minlength=num_rings)
        violators_R = np.bincount(ring_N[inside & is_violator_N], minlength=num_rings)
        return cls(users_R, violators_R, len(ring_N), int(np.count_nonzero(is_violator_N)))

    def rate_lower(self, asked: Asked) -> Floats:
        """Return the lower bound of the violator rate of rings; without a ring, of the prior."""
        return _lower(self._prior(asked), self.others(asked))

    def excess_log_odds(self, asked: Asked) -> Floats:
        """Return how far the lower bound is above that of no ring, which gives 0, in log odds."""
        prior_Q, others_Q = self._prior(asked), self.others(asked)
        nobody_Q = np.zeros_like(asked.ring_Q)
        return _log_odds(_lower(prior_Q, others_Q)) - _log_odds(
            _lower(prior_Q, (nobody_Q, nobody_Q))
        )

    def others(self, asked: Asked) -> tuple[Int64s, Int64s]:
        """Return how many others, and violators among them, the ring of each question has."""
        users_Q, violators_Q = self._counts(asked)
        out_Q = asked.is_member_Q.astype(np.int64)
        return users_Q - out_Q, violators_Q - out_Q * asked.is_violator_Q

    def _counts(self, asked: Asked) -> tuple[Int64s, Int64s]:
        """Return users and violators of the ring of each question, the user asked about too."""
        if len(self.users_R) == 0:
            return np.zeros_like(asked.ring_Q), np.zeros_like(asked.ring_Q)
        inside, at = asked.ring_Q != NO_RING, np.maximum(asked.ring_Q, 0)
        return np.where(inside, self.users_R[at], 0), np.where(inside, self.violators_R[at], 0)

    def _prior(self, asked: Asked) -> tuple[Floats, Floats]:
        """Return the Beta prior of the rings' rates, for each question without its user."""
        with_user, without = _terms(*self._counts(asked)), _terms(*self.others(asked))
        rings, users, violators, sizes, rates, squares = (
            total - before + after
            for total, before, after in zip(self._totals, with_user, without, strict=True)
        )
        base_Q = (self.num_violators - asked.is_violator_Q) / max(self.num_users, 1)
        told_Q = (rings >= RINGS_MIN) & (violators > 0)
        num_Q = np.maximum(rings, 1)
        mean_Q = np.where(told_Q, violators / np.maximum(users, 1), base_Q)
        mean_Q = np.clip(mean_Q, RATE_MIN, 1.0 - RATE_MIN)
        variance = squares / (num_Q * WHOLE**2) - (rates / (num_Q * WHOLE)) ** 2
        within = mean_Q * (1.0 - mean_Q) * sizes / (num_Q * WHOLE)
        between = np.maximum(variance - within, VARIANCE_MIN)
        strength = np.clip(mean_Q * (1.0 - mean_Q) / between - 1.0, STRENGTH_MIN, STRENGTH_MAX)
        strength_Q = np.where(told_Q, strength, PRIOR_VOTES)
        return mean_Q * strength_Q, (1.0 - mean_Q) * strength_Q

    @cached_property
    def _totals(self) -> tuple[int, ...]:
        return tuple(int(term.sum()) for term in _terms(self.users_R, self.violators_R))


def _lower(prior_Q: tuple[Floats, Floats], others_Q: tuple[Int64s, Int64s]) -> Floats:
    """Return the lower quantile of the posterior."""
    users_Q, violators_Q = others_Q
    a_Q, b_Q = prior_Q[0] + violators_Q, prior_Q[1] + users_Q - violators_Q
    return np.asarray(betaincinv(a_Q, b_Q, LOWER_TAIL), dtype=np.float64)


def _log_odds(rate_Q: Floats) -> Floats:
    """Return log odds that are never infinite."""
    bounded_Q = np.clip(rate_Q, RATE_MIN, 1.0 - RATE_MIN)
    return np.asarray(np.log(bounded_Q) - np.log1p(-bounded_Q))


def _terms(users: Int64s, violators: Int64s) -> tuple[Int64s, ...]:
    """Return what the moments are sums of: rings, users, violators, 1 / users, rate, its square."""
    there = (users > 0).astype(np.int64)
    size = np.maximum(users, 1)
    rate = violators * WHOLE // size
    return there, users, violators, there * (WHOLE // size), rate, rate * rate
