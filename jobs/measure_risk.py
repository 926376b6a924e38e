"""Early risk on one workspace: who learns, who is tested, and what the floors say of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.detection import LIKELY
from embedder.evaluation.early_risk import (
    UNKNOWN,
    TimeSplit,
    measure_early_risk,
    risk_name,
    risk_title,
    split_by_time,
    why_no_split,
)
from embedder.evaluation.floors import BoostedTrees, Tokenizer, TokenRegression
from embedder.evaluation.methods import ENCODER, TFIDF, Encoder
from embedder.evaluation.metrics import Flags, Floats, Int64s
from embedder.evaluation.policy_precision import PolicyPrecision, measure_policies
from embedder.evaluation.reliability import seconds_between_events
from embedder.evaluation.results import TaskResult, not_measurable
from embedder.evaluation.sample import draw_rows, rows_of
from index.answers import BandRule
from index.errors import TooFewLabels
from jobs.measure import Trial
from jobs.people import People, read_sequences
from store.sequences import SequenceBatch

TREES = "boosted_trees"
INSUFFICIENT = "insufficient_data"
UNLABELLED_TEXT = (
    "{num:,} users of the time have no label yet and are left out; where violators are labelled "
    "sooner than others, their share here is larger than in life, and all probabilities look small"
)
DAYS_TEXT = "first seen within {days:g} days of the end and may yet be caught"


@dataclass(frozen=True)
class Students:
    """Users whose labels were known at the cut, with their events before it.

    Attributes:
        batch: Their sequences.
        is_positive: Whether they are violators, in the same order.
    """

    batch: SequenceBatch
    is_positive: Flags


class Assessment(Protocol):
    """What a risk model says of some users."""

    @property
    def probability(self) -> npt.ArrayLike: ...

    @property
    def band(self) -> Sequence[str]: ...

    @property
    def band_rule(self) -> Sequence[BandRule]: ...


class Assesses(Protocol):
    """What an evaluation needs of a risk model; `index.risk.model.RiskModel` is one."""

    def assess(
        self,
        query_QD: npt.NDArray[np.float32],
        num_events_Q: Int64s,
        *,
        own_ids: Sequence[str | None],
        silence_us_Q: Int64s | None = None,
    ) -> Assessment: ...

    def nearest_policies(
        self,
        query_QD: npt.NDArray[np.float32],
        num_events_Q: Int64s,
        *,
        own_ids: Sequence[str | None],
    ) -> Sequence[str | None]: ...


Floor = Callable[[Students, SequenceBatch], Floats]


def measure_risk(
    trial: Trial, at_cut: People, risk: Assesses | TooFewLabels, *, with_trees: bool
) -> list[TaskResult]:
    """Judge users first seen after the cut by their first events, beside the floors.

    Args:
        trial: Users as known today, and the encoder.
        at_cut: Users as known at the cut: all that the floors and the risk model learn from.
        risk: Fitted at the cut, or why it could not be.
        with_trees: Whether the slower floor is measured too.
    """
    config = trial.config
    split = draw_test_users(trial)
    reason = why_not_measurable(split, at_cut, risk, config)
    prefixes: tuple[int | None, ...] = (*config.prefixes, None)
    if reason is not None or isinstance(risk, TooFewLabels):
        return [
            not_measurable(risk_name(prefix), risk_title(prefix), str(reason), split.counts())
            for prefix in prefixes
        ]
    students = _students(trial, at_cut)
    tested = trial.read(split.test)
    assert tested is not None, "test users have events"
    assert np.array_equal(rows_of(tested, trial.people.ids(split.test)), np.arange(len(split.test)))
    floors = _floors(Tokenizer.fit(students.batch, trial.embedder.schema), config, with_trees)
    return [
        _measure_prefix(prefix, trial, split, students, tested, risk, floors) for prefix in prefixes
    ]


def draw_test_users(trial: Trial) -> TimeSplit:
    """Draw the labelled users first seen after the cut."""
    return split_by_time(
        trial.people.first_us_N,
        trial.people.label_N,
        cut_us=trial.cut_us,
        end_us=int(trial.people.last_us_N.max(initial=trial.cut_us)),
        config=trial.config,
        rng=trial.random(3),
    )


def why_not_measurable(
    split: TimeSplit, at_cut: People, risk: Assesses | TooFewLabels, config: EvaluationConfig
) -> str | None:
    """Return why risk can't be measured, or None where it can."""
    reason = why_no_split(split, config) or _why_no_students(at_cut, config)
    return str(risk) if reason is None and isinstance(risk, TooFewLabels) else reason


def _why_no_students(at_cut: People, config: EvaluationConfig) -> str | None:
    positives = int(at_cut.is_violator_N.sum())
    negatives = int((at_cut.label_N == 0).sum())
    if min(positives, negatives) >= config.min_positives:
        return None
    return (
        f"only {positives} violators and {negatives} benign users were known before the cut; "
        f"{config.min_positives} of each are needed to learn from"
    )


def _students(trial: Trial, at_cut: People) -> Students:
    labelled = np.flatnonzero(at_cut.label_N != UNKNOWN)
    rows = draw_rows(labelled, size_max=trial.config.max_users, rng=trial.random(4))
    batch = read_sequences(
        trial.lake,
        at_cut,
        rows,
        columns=trial.columns,
        max_events=trial.config.max_events,
    )
    assert batch is not None, "labelled users have events"
    return Students(batch, at_cut.is_violator_N[rows])


def _floors(tokenizer: Tokenizer, config: EvaluationConfig, with_trees: bool) -> dict[str, Floor]:
    def tokens(students: Students, tested: SequenceBatch) -> Floats:
        model = TokenRegression(tokenizer, seed=config.seed)
        return model.fit([students.batch], [students.is_positive]).probabilities(tested)

    def trees(students: Students, tested: SequenceBatch) -> Floats:
        model = BoostedTrees(tokenizer, seed=config.seed)
        return model.fit([students.batch], [students.is_positive]).probabilities(tested)

    return {TREES: trees, TFIDF: tokens} if with_trees else {TFIDF: tokens}


def _measure_prefix(
    prefix: int | None,
    trial: Trial,
    split: TimeSplit,
    students: Students,
    tested: SequenceBatch,
    risk: Assesses,
    floors: Mapping[str, Floor],
) -> TaskResult:
    """Let everyone see the same first events, of those who learn and of those who are judged."""
    if prefix is not None:
        students = Students(students.batch.head(prefix), students.is_positive)
        tested = tested.head(prefix)
    judged = judge(trial.embedder, risk, tested)
    given = {ENCODER: judged.probability}
    for name, floor in floors.items():
        given[name] = floor(students, tested)
    days = trial.config.maturity_days
    notes: tuple[str, ...] = (
        f"{split.num_young_benign:,} benign test users were {DAYS_TEXT.format(days=days)}",
    )
    if split.num_unlabelled:
        notes += (UNLABELLED_TEXT.format(num=split.num_unlabelled),)
    return measure_early_risk(
        prefix,
        split,
        given,
        judged.answered,
        config=trial.config,
        seconds_between=seconds_between_events(tested),
        by_policy=judged.policies(split.is_positive_test, confidence=trial.config.confidence),
        notes=notes,
    )


@dataclass(frozen=True)
class Judged:
    """What a risk model said of users.

    Attributes:
        probability: Of each, as if it had stopped.
        answered: Who got an answer at all.
        is_likely: Whose band is `likely` right after the last event seen, as the service would
            have said then: it is told how long users have been silent.
        policy: The policy whose violators each is most like, None for none.
        rule: What `likely` promises to each.
    """

    probability: Floats
    answered: Flags
    is_likely: Flags
    policy: Sequence[str | None]
    rule: Sequence[BandRule]

    def policies(self, is_positive: Flags, *, confidence: float) -> tuple[PolicyPrecision, ...]:
        """Return what `likely` meant among those who got an answer, policy by policy."""
        rows = np.flatnonzero(self.answered)
        return measure_policies(
            [self.policy[row] for row in rows.tolist()],
            np.array([self.rule[row].precision for row in rows.tolist()]),
            [self.rule[row].fitted_on for row in rows.tolist()],
            self.is_likely[rows],
            is_positive[rows],
            confidence=confidence,
        )


def judge(embedder: Encoder, risk: Assesses, batch: SequenceBatch) -> Judged:
    """Judge users by all events of a batch."""
    query_QD, own_ids = embedder.embed(batch), list(batch.user_ids)
    assessment = risk.assess(query_QD, batch.num_events, own_ids=own_ids)
    nothing_us_Q = np.zeros(batch.num_users, dtype=np.int64)
    at_once = risk.assess(query_QD, batch.num_events, own_ids=own_ids, silence_us_Q=nothing_us_Q)
    band = np.array(at_once.band)
    return Judged(
        np.asarray(assessment.probability, dtype=np.float64),
        band != INSUFFICIENT,
        band == LIKELY,
        risk.nearest_policies(query_QD, batch.num_events, own_ids=own_ids),
        at_once.band_rule,
    )
