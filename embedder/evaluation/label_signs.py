"""Signs: single values that one class has or lacks, and hardly anybody else of the same age.

Equal age: users are compared by their first K events, all of whom made K; and by their whole lives
within strata of similar length, the strata of both classes weighted alike. What people do adds up
as they go on; how a sample was drawn holds for the shortest life as for the longest.

Shape key: `E` events of a batch, `B` users, `S` strata, `V` values (codes), `P` pairs of both.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from embedder.evaluation.bootstrap import Estimate
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.field_values import FieldValues
from embedder.evaluation.intervals import Shares, standard_shares
from embedder.evaluation.leak_checks import percent
from embedder.evaluation.metrics import Flags, Floats, Int64s
from embedder.evaluation.sample import owners
from store.sequences import SequenceBatch

SHOWN_MIN = 0.5  # of a class that shows a sign
RANK_DIGITS = 9
BETRAYS_MAX, SUSPECT_MAX = 0.02, 0.05  # of the other class that shows it too
SIGNS_MAX = 32  # values of a column that are looked at closely


@dataclass(frozen=True)
class Sight:
    """Users of equal age, and the events by which they are compared.

    Attributes:
        first_events: Only so many first events of users who made them; None for whole lives.
        stratum_B: Stratum of each user; -1 for users who are not compared.
        is_seen_E: Events that count.
    """

    first_events: int | None
    stratum_B: Int64s
    is_seen_E: Flags

    @property
    def text(self) -> str:
        """How people call it."""
        if self.first_events is None:
            return "whole lives of equal length"
        return f"the first {self.first_events} events"


@dataclass(frozen=True)
class Pairs:
    """Which users have which codes of a column, each pair once, sorted.

    Attributes:
        user_P: Row of the user.
        code_P: Code of the value.
        num_codes: V.
    """

    user_P: Int64s
    code_P: Int64s
    num_codes: int

    def without(self, codes: Int64s) -> "Pairs":
        """Return the pairs of other codes."""
        kept = ~np.isin(self.code_P, codes)
        return Pairs(self.user_P[kept], self.code_P[kept], self.num_codes)


@dataclass(frozen=True)
class Sign:
    """A sign, and how much more often one class shows it than the other at equal age.

    Attributes:
        code: The value that it is about.
        value: How people call it, such as `= True`.
        is_absence: Whether the sign is never to have it.
        of_violators: Whether violators are the ones who show it.
        seen_in: How they were compared.
        shown: Share of the class that shows it.
        wrong: Share of the other class that shows it.
    """

    code: int
    value: str
    is_absence: bool
    of_violators: bool
    seen_in: str
    shown: Estimate
    wrong: Estimate

    @property
    def betrays(self) -> bool:
        """Whether surely half of a class shows it, and 2 % of the other as far as one can tell.

        Of few users one can hardly tell, so the share must surely be below 5 %.
        """
        shown, wrong = self.shown, self.wrong
        if shown.low is None or wrong.low is None or wrong.high is None:
            return False
        return shown.low >= SHOWN_MIN and wrong.low <= BETRAYS_MAX and wrong.high <= SUSPECT_MAX

    @property
    def is_suspect(self) -> bool:
        """Whether it is nearly so, or may be chance."""
        return self.shown.value >= SHOWN_MIN and self.wrong.value <= SUSPECT_MAX

    @property
    def rank(self) -> tuple[bool, bool, float, bool]:
        """Larger for the more telling of two; what is there, where its lack tells as much."""
        telling = round(self.shown.value - self.wrong.value, RANK_DIGITS)
        return self.betrays, self.is_suspect, telling, not self.is_absence

    @property
    def text(self) -> str:
        """What is seen, in words."""
        who, others = ("violators", "benign users")
        if not self.of_violators:
            who, others = others, who
        verb = "never" if self.is_absence else "ever"
        return (
            f"{verb} {self.value}: {percent(self.shown)} of {who}, {percent(self.wrong)} of "
            f"{others}, in {self.seen_in}"
        )


def sights(batch: SequenceBatch, config: EvaluationConfig) -> Iterator[Sight]:
    """Yield the ways in which users of equal age are compared."""
    user_E, size_B = owners(batch), batch.num_events
    position_E = np.arange(len(user_E)) - batch.offsets[:-1][user_E]
    for first_events in config.prefixes:
        reached_B = size_B >= first_events
        seen_E = reached_B[user_E] & (position_E < first_events)
        yield Sight(first_events, np.where(reached_B, 0, -1).astype(np.int64), seen_E)
    doublings_B = np.frexp(np.maximum(size_B, 1))[1].astype(np.int64) - 1
    stratum_B = np.where(size_B > 0, doublings_B, -1)
    yield Sight(None, stratum_B, np.ones(len(user_E), dtype=np.bool_))


def find_pairs(field: FieldValues, batch: SequenceBatch, sight: Sight) -> Pairs:
    """Return who has what among the events seen. Cost: one sort of them."""
    seen_O = sight.is_seen_E[field.event_O]
    user_O = owners(batch)[field.event_O[seen_O]]
    pair_P = np.unique(user_O * field.num_codes + field.code_O[seen_O])
    return Pairs(pair_P // field.num_codes, pair_P % field.num_codes, field.num_codes)


def find_signs(
    field: FieldValues, pairs: Pairs, is_violator_B: Flags, sight: Sight, *, confidence: float
) -> list[Sign]:
    """Return the signs that tell the classes apart best, best first.

    Only values that a quarter of a class has are looked at: half of a class must show a sign.
    """
    weight_S, sizes = _strata(sight.stratum_B, is_violator_B)
    if not weight_S.any():
        return []
    classes = (is_violator_B, ~is_violator_B)
    often_V = np.zeros(pairs.num_codes, dtype=np.bool_)
    for in_class_B, num_S in zip(classes, sizes, strict=True):
        num_V = np.bincount(pairs.code_P[in_class_B[pairs.user_P]], minlength=pairs.num_codes)
        often_V |= num_V >= SHOWN_MIN / 2 * num_S.sum()
    codes = np.flatnonzero(often_V)
    if not len(codes):
        return []
    shares = []
    for in_class_B, num_S in zip(classes, sizes, strict=True):
        num_SV = _count(pairs, codes, in_class_B & (sight.stratum_B >= 0), sight.stratum_B, num_S)
        shares.append(standard_shares(num_SV, num_S, weight_S, confidence=confidence))
    gap_V = np.abs(shares[0].value_V - shares[1].value_V)
    signs = [
        _sign(field, int(codes[place]), place, shares, sight, is_absence=is_absence)
        for place in np.argsort(-gap_V, kind="stable")[:SIGNS_MAX].tolist()
        for is_absence in (False, True)
    ]
    return sorted(signs, key=lambda sign: sign.rank, reverse=True)


def _strata(stratum_B: Int64s, is_violator_B: Flags) -> tuple[Floats, tuple[Floats, Floats]]:
    """Return the strata's weights, which are the same for both classes, and the classes' sizes.

    A stratum weighs as much as a comparison within it tells (Cochran, Mantel and Haenszel).
    """
    num_strata = int(stratum_B.max(initial=0)) + 1

    def size(chosen_B: Flags) -> Floats:
        kept = stratum_B[chosen_B & (stratum_B >= 0)]
        return np.bincount(kept, minlength=num_strata).astype(np.float64)

    violators_S, others_S = size(is_violator_B), size(~is_violator_B)
    weight_S = violators_S * others_S / np.maximum(violators_S + others_S, 1.0)
    return weight_S, (violators_S, others_S)


def _count(
    pairs: Pairs, codes: Int64s, chosen_B: Flags, stratum_B: Int64s, num_S: Floats
) -> Floats:
    """Return how many of the chosen users of each stratum have each of the codes."""
    column_V = np.full(pairs.num_codes, -1, dtype=np.int64)
    column_V[codes] = np.arange(len(codes))
    column_P = column_V[pairs.code_P]
    kept = np.flatnonzero(chosen_B[pairs.user_P] & (column_P >= 0))
    flat = stratum_B[pairs.user_P[kept]] * len(codes) + column_P[kept]
    counts = np.bincount(flat, minlength=len(num_S) * len(codes))
    return counts.reshape(len(num_S), len(codes)).astype(np.float64)


def _sign(
    field: FieldValues,
    code: int,
    place: int,
    shares: list[Shares],
    sight: Sight,
    *,
    is_absence: bool,
) -> Sign:
    """Return the sign of having a value, or of never having it, turned to whom it tells of."""
    violators, others = (share.at(place) for share in shares)
    if is_absence:
        violators, others = _complement(violators), _complement(others)
    of_violators = violators.value >= others.value
    shown, wrong = (violators, others) if of_violators else (others, violators)
    return Sign(code, field.text(code), is_absence, of_violators, sight.text, shown, wrong)


def _complement(share: Estimate) -> Estimate:
    assert share.low is not None
    assert share.high is not None
    return Estimate(1 - share.value, 1 - share.high, 1 - share.low)
