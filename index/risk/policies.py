"""Bands by policy: where a policy has its own precision, `likely` begins where that is proven.

The policy of a user is the one that most of the known violators most like it, at equal age, were
labelled for. The user's own label has no part in it. It decides which threshold applies, nothing
else: the probability stays what it is.

Shape key: `Q` queries, `R` references, `G` references of a gallery, `V` known violators of it,
`K` neighbors, `P` policies, `L` looks at held-out users.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.answers import BandRule
from index.products import products
from index.risk.calibration import CONFIDENCE, Bands, Bools, likely_from, precision_in_sample
from index.risk.gallery import Floats, References, age_of
from index.risk.stack import StackExamples
from index.vectors import Vectors
from store.labels import VIOLATOR, LabelView
from store.sequences import Int64s

NEAREST = 10
QUERIES_AT_ONCE = 512

FittedOn = Literal["policy", "everyone"]


@dataclass(frozen=True)
class PolicyBand:
    """From where on a user of one policy is likely.

    Attributes:
        policy: The policy.
        precision: What `likely` must prove, at its lower bound.
        likely: Log odds from which it does; None where no threshold did: nobody is likely.
        fitted_on: The held-out users of this policy, or everyone where they are too few.
        num_users, num_violators: Held-out users of this policy, and violators among them.
        note: What to know, for people; empty where all is well.
    """

    policy: str
    precision: float
    likely: float | None
    fitted_on: FittedOn
    num_users: int
    num_violators: int
    note: str

    def sentence(self) -> str:
        """Return what became of it, for people."""
        users = f"{self.num_users:,} held-out users like its violators"
        return self.note or f"likely is proven to {self.precision:g} on {users}"

    def rule(self) -> BandRule:
        """Return what an answer says of it."""
        return BandRule(self.policy, self.precision, self.likely, self.fitted_on)


@dataclass(frozen=True)
class PolicyVoters:
    """References with what each known violator among them was labelled for, null for nothing."""

    references: References
    policy_R: pa.Array

    def nearest(self, query_QD: Vectors, num_events_Q: Int64s, own_Q: Int64s) -> list[str | None]:
        """Return the policy that the nearest known violators of equal age have most weight for.

        Weights are Gaussian, as of the neighbors' vote; violators without a policy vote for none.
        Ties go to the policy that is first in the alphabet.

        Args:
            query_QD: Unit vectors.
            num_events_Q: Age of each query; decides the gallery.
            own_Q: The reference that each query is, or -1: it does not vote for itself.
        """
        names, code_R = self._codes()
        code_Q = np.empty(len(query_QD), dtype=np.int64)
        age_Q = age_of(num_events_Q, self.references.ages)
        for age in np.unique(age_Q):
            queries = np.flatnonzero(age_Q == age)
            for start in range(0, len(queries), QUERIES_AT_ONCE):
                some = queries[start : start + QUERIES_AT_ONCE]
                votes_QP = self._votes(int(age), code_R, len(names), query_QD[some], own_Q[some])
                code_Q[some] = np.where(votes_QP.any(axis=1), votes_QP.argmax(axis=1), -1)
        return [names[code] for code in code_Q.tolist()]

    def _codes(self) -> tuple[list[str | None], Int64s]:
        """Return the policies in order, none at the end, and the place of each reference's."""
        names = sorted(pc.unique(self.policy_R.drop_null()).to_pylist())
        place = pc.index_in(self.policy_R, value_set=pa.array(names, pa.string()), skip_nulls=True)
        code_R = pc.fill_null(place, len(names)).to_numpy(zero_copy_only=False)
        return [*names, None], code_R.astype(np.int64)

    def _votes(
        self, age: int, code_R: Int64s, num_codes: int, query_QD: Vectors, own_Q: Int64s
    ) -> Floats:
        """Return the weight that each policy has among the nearest violators of one gallery."""
        rows_G = self.references.rows[age]
        violators = np.flatnonzero(self.references.is_violator_R[rows_G])
        rows_V = rows_G[violators]
        similarity_QV = products(query_QD, self.references.vectors[age])[:, violators]
        similarity_QV[own_Q[:, None] == rows_V] = -np.inf
        count = min(NEAREST, len(violators))
        near_QK = np.argpartition(-similarity_QV, count - 1, axis=1)[:, :count]
        similarity_QK = np.take_along_axis(similarity_QV, near_QK, axis=1).astype(np.float64)
        distance_QK = np.sqrt(np.maximum(2.0 - 2.0 * similarity_QK, 0.0))
        farthest_Q = np.where(np.isfinite(distance_QK), distance_QK, 0.0).max(axis=1)
        weight_QK = np.exp(-0.5 * (distance_QK / np.maximum(farthest_Q, 1e-3)[:, None]) ** 2)
        votes_QP: Floats = np.zeros((len(query_QD), num_codes))
        query_Q1 = np.arange(len(query_QD))[:, None]
        np.add.at(votes_QP, (query_Q1, code_R[rows_V[near_QK]]), weight_QK)
        return votes_QP


@dataclass(frozen=True)
class PolicyBands:
    """The bands of the policies that have their own.

    Attributes:
        policy_R: Policy of each reference of the model, null for none.
        bands: By policy.
    """

    policy_R: pa.Array
    bands: Mapping[str, PolicyBand]

    @classmethod
    def none(cls, num_references: int) -> "PolicyBands":
        """Return the bands of a model without any of their own."""
        return cls(pa.nulls(num_references, pa.string()), {})

    def of(
        self, references: References, query_QD: Vectors, num_events_Q: Int64s, own_Q: Int64s
    ) -> list[PolicyBand | None]:
        """Return the band that holds for each query; None for the band of everyone."""
        if not self.bands:
            return [None] * len(query_QD)
        policies = self.nearest(references, query_QD, num_events_Q, own_Q)
        return [None if policy is None else self.bands.get(policy) for policy in policies]

    def nearest(
        self, references: References, query_QD: Vectors, num_events_Q: Int64s, own_Q: Int64s
    ) -> list[str | None]:
        """Return the policy of each query, as `PolicyVoters` do, bands of its own or not."""
        if self.policy_R.null_count == len(self.policy_R):
            return [None] * len(query_QD)
        return PolicyVoters(references, self.policy_R).nearest(query_QD, num_events_Q, own_Q)

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the JSON form of the bands."""
        return [asdict(band) for band in self.bands.values()]

    @classmethod
    def from_dict(cls, policy_R: pa.Array, bands: Sequence[dict[str, Any]]) -> "PolicyBands":
        """Read what `to_dict` wrote."""
        return cls(policy_R, {band["policy"]: PolicyBand(**band) for band in bands})


def policies_of(view: LabelView, user_ids: pa.Array) -> pa.Array:
    """Return what each user was labelled a violator for, null for none."""
    violators = view.table.filter(pc.equal(view.table["label"], VIOLATOR))
    place = pc.index_in(user_ids, value_set=violators["user_id"].combine_chunks())
    return violators["policy"].combine_chunks().take(place)


def fit_policy_bands(
    demanded: Mapping[str, float],
    voters: PolicyVoters,
    looks: StackExamples,
    num_events_L: Int64s,
    log_odds_L: Floats,
    *,
    thinning: float,
) -> dict[str, PolicyBand]:
    """Choose a threshold for each policy that demands a precision of its own.

    Args:
        demanded: Policy to precision.
        voters: References without the users that are looked at.
        looks: At held-out users; a violator is one of whatever policy.
        num_events_L: Events seen at each look.
        log_odds_L: Calibrated.
        thinning: How many times more of the others than of the violators are not looked at.
    """
    if not demanded:
        return {}
    policies = voters.nearest(looks.query_QD, num_events_L, np.full(len(log_odds_L), -1))
    policy_L = np.array(["" if policy is None else policy for policy in policies], dtype=object)
    return {
        policy: _policy_band(
            policy,
            precision,
            policy_L == policy,
            log_odds_L,
            looks.is_violator,
            looks.user_Q,
            thinning,
        )
        for policy, precision in sorted(demanded.items())
    }


def num_users_needed(precision: float) -> int:
    """Return the fewest users who can prove a precision: all of them violators."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(precision))


def name_bands(everyone: Bands, own: Sequence[PolicyBand | None], log_odds: Floats) -> list[str]:
    """Return the band of each query, by its policy's threshold where it has one."""
    likely_Q = [everyone.likely if band is None else band.likely for band in own]
    return everyone.name(log_odds, [np.inf if likely is None else likely for likely in likely_Q])


def _policy_band(
    policy: str,
    precision: float,
    mine: Bools,
    log_odds: Floats,
    is_violator: Bools,
    user: Int64s,
    thinning: float,
) -> PolicyBand:
    in_sample = precision_in_sample(precision, thinning)
    num_users = len(np.unique(user[mine]))
    num_violators = len(np.unique(user[mine & is_violator]))
    needed = num_users_needed(in_sample)
    if num_users < needed:
        everyone = likely_from(log_odds, is_violator, user, precision=in_sample)
        note = (
            f"only {num_users} held-out users are like violators of {policy!r}, {needed} are "
            f"needed to prove {precision:g}: the threshold is that of everyone"
        )
        return PolicyBand(policy, precision, everyone, "everyone", num_users, num_violators, note)
    likely = likely_from(log_odds[mine], is_violator[mine], user[mine], precision=in_sample)
    note = "" if likely is not None else f"no threshold proves {precision:g}: nobody is likely"
    return PolicyBand(policy, precision, likely, "policy", num_users, num_violators, note)
