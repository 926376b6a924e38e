"""What `likely` turned out to mean on later users, policy by policy, beside what was promised.

The policy of a user is the one that the nearest known violators were labelled for; benign users
have one too. A violator counts whatever the policy: the promise is "is a violator".

Shape key: `N` users, `P` policies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from embedder.evaluation.bootstrap import Estimate
from embedder.evaluation.metrics import Flags, Floats
from embedder.evaluation.reliability import exact_share

Verdict = Literal["kept", "open", "broken", "nobody"]


@dataclass(frozen=True)
class PolicyPrecision:
    """The precision of `likely` among the users of one policy.

    Attributes:
        policy: The policy; None for those without one, and for all users.
        is_total: Whether all users are counted, of whatever policy: no name of a policy says so.
        promised: The precision that `likely` had to prove on held-out users, at its lower bound;
            for everyone the least that was promised to anybody.
        fitted_on: On whom its threshold was proven: `policy` or `everyone`.
        num_users, num_positives: Test users of this policy, and violators among them.
        num_likely, num_likely_positives: Those who are likely, and violators among them.
        precision: Share of violators among the likely with its exact interval; None where nobody
            is likely.
    """

    policy: str | None
    is_total: bool
    promised: float
    fitted_on: str
    num_users: int
    num_positives: int
    num_likely: int
    num_likely_positives: int
    precision: Estimate | None

    @property
    def verdict(self) -> Verdict:
        """Say whether the promise was kept, as far as so many likely users can tell."""
        if self.precision is None:
            return "nobody"
        assert self.precision.low is not None
        assert self.precision.high is not None
        if self.precision.low >= self.promised:
            return "kept"
        return "broken" if self.precision.high < self.promised else "open"

    def to_dict(self) -> dict[str, object]:
        """Return a JSON form."""
        precision = None if self.precision is None else self.precision.to_dict()
        return {**vars(self), "precision": precision, "verdict": self.verdict}


def measure_policies(
    policies: Sequence[str | None],
    promised_N: Floats,
    fitted_on: Sequence[str],
    is_likely_N: Flags,
    is_positive_N: Flags,
    *,
    confidence: float,
) -> tuple[PolicyPrecision, ...]:
    """Count the likely of everyone, and of each policy where there is one.

    Args:
        policies: Of each user; None for none.
        promised_N: Precision that was promised for each user's policy.
        fitted_on: On whom its threshold was proven; the same for all users of a policy.
        is_likely_N: Whether the band of each user is `likely`.
        is_positive_N: Whether each is a violator.
        confidence: Coverage of the intervals.

    Returns:
        Everyone first, then the policies in order, last the users without one.
    """
    names = np.array(["" if policy is None else policy for policy in policies], dtype=object)
    proven_on = np.array(list(fitted_on), dtype=object)

    def count(policy: str | None, mine: Flags, *, is_total: bool = False) -> PolicyPrecision:
        rows = np.flatnonzero(mine)
        likely = mine & is_likely_N
        num_likely, hits = int(likely.sum()), int((likely & is_positive_N).sum())
        return PolicyPrecision(
            policy,
            is_total,
            float(promised_N[rows].min()),
            "everyone" if is_total else str(proven_on[rows[0]]),
            len(rows),
            int(is_positive_N[rows].sum()),
            num_likely,
            hits,
            exact_share(hits, num_likely, confidence=confidence) if num_likely else None,
        )

    if not len(names):
        return ()
    counted = [count(None, np.ones(len(names), dtype=np.bool_), is_total=True)]
    known = sorted({name for name in names.tolist() if name})
    if known:
        counted += [count(name, names == name) for name in known]
        without = names == ""
        counted += [count(None, without)] if without.any() else []
    return tuple(counted)
