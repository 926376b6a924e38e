"""The stack: one L2 logistic regression over neighbor features and the vector itself.

Two features already are log odds: the neighbors' vote and the encoder's opinion. The age, alone and
times them, what else the neighbors tell, and the vector itself enter each with a scale of its own
that may be zero: they only speak where held-out users show that they help.

Shape key: `Q` examples, `F` neighbor features, `X` inputs of the regression, `D` vector dimensions,
`A` knots of the age.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from index.risk.calibration import Bools
from index.risk.gallery import Floats
from index.risk.neighbors import FEATURES
from index.vectors import Vectors
from store.sequences import Int64s

AGE_KNOTS = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 35.0, 50.0, 100.0, 300.0])
VOTES = [FEATURES.index(name) for name in ("knn_log_odds", "opinion_log_odds")]
NEARNESS = [place for place in range(len(FEATURES) - 1) if place not in VOTES]
STANDARD_MAX = 6.0
ERRORS, QUIET_TO_LOUD, PENALTIES = 2.0, (0.3, 1.0), (0.03, 0.3, 3.0)


@dataclass(frozen=True)
class Scales:
    """How loud the parts of the input are, and the inverse penalty."""

    penalty: float
    age: float = 0.0
    nearness: float = 0.0
    vector: float = 0.0


@dataclass(frozen=True)
class Stack:
    """A fitted regression: standardisation of the features, scales and coefficients."""

    mean_F: Floats
    deviation_F: Floats
    scales: Scales
    coefficient_X: Floats
    intercept: float

    def score(self, features_QF: Floats, query_QD: Vectors) -> Floats:
        """Return the uncalibrated log odds."""
        inputs = stack_inputs(features_QF, query_QD, self.mean_F, self.deviation_F, self.scales)
        return np.asarray(inputs @ self.coefficient_X + self.intercept)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "mean": self.mean_F.tolist(),
            "deviation": self.deviation_F.tolist(),
            "scales": asdict(self.scales),
            "coefficient": self.coefficient_X.tolist(),
            "intercept": self.intercept,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Stack":
        """Read what `to_dict` wrote."""
        return cls(
            np.array(values["mean"]),
            np.array(values["deviation"]),
            Scales(**values["scales"]),
            np.array(values["coefficient"]),
            values["intercept"],
        )


def stack_inputs(
    features_QF: Floats, query_QD: Vectors, mean_F: Floats, deviation_F: Floats, scales: Scales
) -> Floats:
    """Return the inputs: votes, and of the rest what has a say."""
    bounded = np.clip((features_QF - mean_F) / deviation_F, -STANDARD_MAX, STANDARD_MAX)
    parts = [bounded[:, VOTES]]
    if scales.age > 0:
        age_QA = age_basis(features_QF[:, -1])
        by_age = bounded[:, VOTES] * bounded[:, -1:]
        parts += [age_QA * scales.age, by_age * scales.age]
    if scales.nearness > 0:
        parts.append(bounded[:, NEARNESS] * scales.nearness)
    if scales.vector > 0:
        parts.append(query_QD.astype(np.float64) * (scales.vector * np.sqrt(query_QD.shape[1])))
    return np.concatenate(parts, axis=1)


def age_basis(log_num_events_Q: Floats) -> Floats:
    """Return hat functions of the age: how many survive to it tells the classes apart too."""
    knots = np.log(AGE_KNOTS)
    place = np.interp(log_num_events_Q, knots, np.arange(len(knots)))
    return np.asarray(np.maximum(1.0 - np.abs(place[:, None] - np.arange(len(knots))), 0.0))


@dataclass(frozen=True)
class StackExamples:
    """What a stack is fitted on: Q looks at users, each with a weight."""

    features_QF: Floats
    query_QD: Vectors
    is_violator: Bools
    user_Q: Int64s
    weight_Q: Floats
    since_Q: Int64s

    def and_also(self, others: "StackExamples") -> "StackExamples":
        """Return these examples and others, whose users are numbered alike."""
        return StackExamples(
            *(
                np.concatenate([mine, theirs])
                for mine, theirs in zip(vars(self).values(), vars(others).values(), strict=True)
            )
        )

    def some(self, chosen: Bools) -> "StackExamples":
        """Return some of the examples."""
        return StackExamples(
            self.features_QF[chosen],
            self.query_QD[chosen],
            self.is_violator[chosen],
            self.user_Q[chosen],
            self.weight_Q[chosen],
            self.since_Q[chosen],
        )


def fit_stack(examples: StackExamples, scales: Scales) -> Stack:
    """Fit the regression with given scales."""
    features = examples.features_QF
    mean, deviation = features.mean(0), np.maximum(features.std(0), 1e-6)
    inputs = stack_inputs(features, examples.query_QD, mean, deviation, scales)
    model = LogisticRegression(C=scales.penalty, solver="newton-cholesky", max_iter=50)
    weight = examples.weight_Q / examples.weight_Q.mean()
    model.fit(inputs, examples.is_violator, sample_weight=weight)
    return Stack(mean, deviation, scales, model.coef_[0], float(model.intercept_[0]))


def out_of_fold(examples: StackExamples, *, folds: int) -> tuple[Stack, Floats]:
    """Return the stack fitted on all, and each example's score by one that never saw its user.

    What is silent stays silent unless it helps by more than chance: of the settings tried, the
    quietest is taken whose loss is within two standard errors over users of the least, after the
    one-error rule of Breiman et al. 1984; two, because those to come differ from those at hand.
    The penalty is that of the least loss.
    """
    _, first, place = np.unique(examples.user_Q, return_index=True, return_inverse=True)
    fold_Q = folds_by_time(examples.since_Q[first], examples.is_violator[first], folds)[place]

    def scored(scales: Scales) -> Trial:
        scores = np.empty(len(fold_Q))
        for fold in range(folds):
            held = fold_Q == fold
            stack = fit_stack(examples.some(~held), scales)
            scores[held] = stack.score(examples.features_QF[held], examples.query_QD[held])
        loss_Q = log_losses(scores, examples.is_violator) * examples.weight_Q
        return Trial(scales, scores, np.bincount(place, loss_Q).astype(np.float64))

    def least(age: float) -> Trial:
        return min((scored(Scales(penalty, age)) for penalty in PENALTIES), key=Trial.total)

    chosen = quietest([least(age) for age in (0.0, *QUIET_TO_LOUD)])
    for part in ("nearness", "vector"):
        louder = [scored(replace(chosen.scales, **{part: scale})) for scale in QUIET_TO_LOUD]
        chosen = quietest([chosen, *louder])
    return fit_stack(examples, chosen.scales), chosen.scores


def folds_by_time(since_U: Int64s, is_violator_U: Bools, folds: int) -> Int64s:
    """Return the fold of each user: runs in time of each class, so that no part lacks a class.

    Users of one time are judged by those of others, as newcomers will be.
    """
    fold_U = np.empty(len(since_U), dtype=np.int64)
    for kind in (False, True):
        mine = np.flatnonzero(is_violator_U == kind)
        in_time = mine[np.argsort(since_U[mine], kind="stable")]
        fold_U[in_time] = np.arange(len(mine)) * folds // max(len(mine), 1)
    return fold_U


@dataclass(frozen=True)
class Trial:
    """What came of a setting: out-of-fold scores, and the loss of each user."""

    scales: Scales
    scores: Floats
    loss_U: Floats

    def total(self) -> float:
        """Return the loss of all users."""
        return float(self.loss_U.sum())


def quietest(trials: Sequence[Trial]) -> Trial:
    """Return the first of the trials, quietest first, that is within some errors of the best."""
    best = min(trials, key=Trial.total)
    for trial in trials:
        worse_U = trial.loss_U - best.loss_U
        if worse_U.sum() <= ERRORS * worse_U.std() * np.sqrt(len(worse_U)):
            return trial
    return best


def log_losses(score: Floats, is_violator: Bools) -> Floats:
    """Return the log loss of each score, a log odds."""
    return np.asarray(np.logaddexp(0.0, np.where(is_violator, -score, score)))
