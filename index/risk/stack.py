"""The stack: one L2 logistic regression over neighbor features and the vector itself.

Neighbor features enter alone and times the age, since a vote after three events is worth another
amount than after fifty. The vector enters with a smaller scale, so that it only speaks where the
labels are many enough to hear it; its scale and the penalty are chosen on held-out users.

Shape key: `Q` examples, `F` neighbor features, `X` inputs of the regression, `D` vector dimensions.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from sklearn.linear_model import LogisticRegression

from index.risk.calibration import Bools
from index.risk.gallery import Floats
from index.vectors import Vectors
from store.sequences import Int64s

PENALTIES = (0.003, 0.03, 0.3)
VECTOR_SCALES = (0.0, 0.3, 1.0)
AGE_KNOTS = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 35.0, 50.0, 100.0, 300.0])


@dataclass(frozen=True)
class Stack:
    """A fitted regression: standardisation of the features and coefficients of the inputs."""

    mean_F: Floats
    deviation_F: Floats
    vector_scale: float
    coefficient_X: Floats
    intercept: float

    def score(self, features_QF: Floats, query_QD: Vectors) -> Floats:
        """Return the uncalibrated log odds."""
        inputs = stack_inputs(
            features_QF, query_QD, self.mean_F, self.deviation_F, vector_scale=self.vector_scale
        )
        return np.asarray(inputs @ self.coefficient_X + self.intercept)


def stack_inputs(
    features_QF: Floats,
    query_QD: Vectors,
    mean_F: Floats,
    deviation_F: Floats,
    *,
    vector_scale: float,
) -> Floats:
    """Return the inputs, Q x (F + F - 1 + ages + D); the last feature is the age."""
    standard = np.clip((features_QF - mean_F) / deviation_F, -6.0, 6.0)
    by_age = standard[:, :-1] * standard[:, -1:]
    age = age_basis(features_QF[:, -1])
    scaled = query_QD.astype(np.float64) * (vector_scale * np.sqrt(query_QD.shape[1]))
    return np.concatenate([standard, by_age, age, scaled], axis=1)


def age_basis(log_num_events_Q: Floats) -> Floats:
    """Return hat functions of the age: how many survive to it tells the classes apart too."""
    knots = np.log(AGE_KNOTS)
    place = np.interp(log_num_events_Q, knots, np.arange(len(knots)))
    return np.asarray(np.maximum(1.0 - np.abs(place[:, None] - np.arange(len(knots))), 0.0))


def fit_stack(
    features_QF: Floats,
    query_QD: Vectors,
    is_violator: Bools,
    weight_Q: Floats,
    *,
    vector_scale: float,
    penalty: float,
) -> Stack:
    """Fit the regression with given settings."""
    mean, deviation = features_QF.mean(0), np.maximum(features_QF.std(0), 1e-6)
    inputs = stack_inputs(features_QF, query_QD, mean, deviation, vector_scale=vector_scale)
    used = inputs.shape[1] if vector_scale > 0 else inputs.shape[1] - query_QD.shape[1]
    model = LogisticRegression(C=penalty, solver="newton-cholesky", max_iter=50)
    model.fit(inputs[:, :used], is_violator, sample_weight=weight_Q / weight_Q.mean())
    coefficient = np.zeros(inputs.shape[1])
    coefficient[:used] = model.coef_[0]
    return Stack(mean, deviation, vector_scale, coefficient, float(model.intercept_[0]))


def out_of_fold(
    features_QF: Floats,
    query_QD: Vectors,
    is_violator: Bools,
    user_Q: Int64s,
    weight_Q: Floats,
    *,
    folds: int,
    rng: np.random.Generator,
) -> tuple[Stack, Floats]:
    """Return the stack fitted on all, and each example's score by one that never saw its user.

    Penalty and scale are those with the least log loss on the first fold's users.
    """
    users, place = np.unique(user_Q, return_inverse=True)
    fold_Q = rng.permutation(np.arange(len(users)) % folds)[place]

    def fitted(chosen: Bools, scale: float, penalty: float) -> Stack:
        return fit_stack(
            features_QF[chosen],
            query_QD[chosen],
            is_violator[chosen],
            weight_Q[chosen],
            vector_scale=scale,
            penalty=penalty,
        )

    held = fold_Q == 0
    losses = {}
    for scale, penalty in product(VECTOR_SCALES, PENALTIES):
        score = fitted(~held, scale, penalty).score(features_QF[held], query_QD[held])
        losses[scale, penalty] = log_loss(score, is_violator[held], weight_Q[held])
    scale, penalty = min(losses, key=lambda setting: losses[setting])
    scores = np.empty(len(user_Q))
    for fold in range(folds):
        held = fold_Q == fold
        stack = fitted(~held, scale, penalty)
        scores[held] = stack.score(features_QF[held], query_QD[held])
    return fitted(np.ones(len(user_Q), dtype=bool), scale, penalty), scores


def log_loss(score: Floats, is_violator: Bools, weight_Q: Floats) -> float:
    """Return the weighted mean log loss of log odds."""
    losses = np.logaddexp(0.0, np.where(is_violator, -score, score))
    return float(np.average(losses, weights=weight_Q))
