"""Boosted trees on summaries: fitted by scikit-learn, kept and evaluated as plain arrays.

What a tree asks is stored as arrays, so a model file holds no code and no pickle, and prediction is
a few gathers per level for all users and trees at once.

Shape key: `B` users, `F` numbers of a summary, `T` trees, `N` nodes of the largest tree.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier

TREES_MAX, RATE, LEAVES_MAX, DEPTH_MAX = 80, 0.12, 16, 6
LEAF_MIN, LEAF_SHARE, PENALTY, FEATURES_TRIED = 40, 0.02, 5.0, 0.3
USERS_AT_ONCE = 4096

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
LogOdds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trees:
    """An additive model of trees; leaves point to themselves.

    Attributes:
        feature_TN: Number asked for at each node.
        threshold_TN: Values up to it go left.
        left_TN, right_TN: Next nodes.
        missing_left_TN: Whether a missing value goes left.
        value_TN: What a leaf adds to the log odds.
        baseline: Log odds before the first tree, of length 1.
    """

    feature_TN: npt.NDArray[np.int32]
    threshold_TN: Floats
    left_TN: npt.NDArray[np.int32]
    right_TN: npt.NDArray[np.int32]
    missing_left_TN: Bools
    value_TN: Floats
    baseline: Floats

    def log_odds(self, summary_BF: Floats) -> LogOdds:
        """Return the log odds of each user."""
        pieces = [
            self._log_odds(summary_BF[first : first + USERS_AT_ONCE])
            for first in range(0, len(summary_BF), USERS_AT_ONCE)
        ]
        return np.concatenate(pieces) if pieces else np.zeros(0)

    def _log_odds(self, summary_BF: Floats) -> LogOdds:
        tree_T, row_B1 = np.arange(len(self.left_TN)), np.arange(len(summary_BF))[:, None]
        node_BT = np.zeros((len(summary_BF), len(tree_T)), dtype=np.int32)
        for _ in range(DEPTH_MAX):
            asked_BT = summary_BF[row_B1, self.feature_TN[tree_T, node_BT]]
            goes_left_BT = np.where(
                np.isnan(asked_BT),
                self.missing_left_TN[tree_T, node_BT],
                asked_BT <= self.threshold_TN[tree_T, node_BT],
            )
            left_BT, right_BT = self.left_TN[tree_T, node_BT], self.right_TN[tree_T, node_BT]
            node_BT = np.where(goes_left_BT, left_BT, right_BT)
        added_B: LogOdds = self.value_TN[tree_T, node_BT].sum(axis=1, dtype=np.float64)
        return added_B + float(self.baseline[0])

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by name."""
        return asdict(self)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Read what `tensors` gave."""
        return cls(**tensors)


def fit_trees(
    summary_BF: Floats,
    is_violator: Bools,
    weight_B: LogOdds,
    *,
    held_summary: Floats,
    held_is_violator: Bools,
    held_weight: LogOdds,
    seed: int,
) -> Trees:
    """Fit on some examples and stop where examples of other users are told best.

    Args:
        summary_BF: Summaries of the examples.
        is_violator: Class of each.
        weight_B: How much each counts.
        held_summary, held_is_violator, held_weight: Examples of held-out users.
        seed: Of the draws of features.
    """
    model, known_F = _grow(summary_BF, is_violator, weight_B, num_trees=TREES_MAX, seed=seed)
    sign = np.where(held_is_violator, -1.0, 1.0)
    losses = [
        float(np.average(np.logaddexp(0.0, sign * score.ravel()), weights=held_weight))
        for score in model.staged_decision_function(held_summary[:, known_F])
    ]
    return to_arrays(model, known_F, num_trees=int(np.argmin(losses)) + 1)


def refit_trees(
    summary_BF: Floats, is_violator: Bools, weight_B: LogOdds, *, num_trees: int, seed: int
) -> Trees:
    """Fit so many trees, as `fit_trees` found to be right, on all examples that may be learned."""
    model, known_F = _grow(summary_BF, is_violator, weight_B, num_trees=num_trees, seed=seed)
    return to_arrays(model, known_F, num_trees=num_trees)


def _grow(
    summary_BF: Floats, is_violator: Bools, weight_B: LogOdds, *, num_trees: int, seed: int
) -> tuple[HistGradientBoostingClassifier, npt.NDArray[np.int64]]:
    """Return the library's model and the numbers it was fitted on: those ever known."""
    known_F = np.flatnonzero(np.isfinite(summary_BF).any(axis=0))
    model = HistGradientBoostingClassifier(
        max_iter=num_trees,
        learning_rate=RATE,
        max_leaf_nodes=LEAVES_MAX,
        max_depth=DEPTH_MAX,
        min_samples_leaf=int(min(LEAF_MIN, max(2, LEAF_SHARE * len(summary_BF)))),
        l2_regularization=PENALTY,
        max_features=FEATURES_TRIED,
        early_stopping=False,
        random_state=seed,
    ).fit(summary_BF[:, known_F], is_violator, sample_weight=weight_B / weight_B.mean())
    return model, known_F


def to_arrays(
    model: HistGradientBoostingClassifier, known_F: npt.NDArray[np.int64], *, num_trees: int
) -> Trees:
    """Return the first trees of a fitted model; `known_F` are the numbers it was fitted on."""
    nodes = [stage[0].nodes for stage in model._predictors[:num_trees]]
    width = max(len(tree) for tree in nodes)

    def padded(name: str, kind: type) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = np.zeros((len(nodes), width), dtype=kind)
        for row, tree in zip(values, nodes, strict=True):
            row[: len(tree)] = tree[name]
        return values

    leaf = padded("is_leaf", np.bool_)
    itself = np.broadcast_to(np.arange(width, dtype=np.int32), leaf.shape)
    feature = known_F.astype(np.int32)[padded("feature_idx", np.int64)]
    threshold = padded("num_threshold", np.float64)
    return Trees(
        feature,
        at_most(threshold),
        np.where(leaf, itself, padded("left", np.int32)),
        np.where(leaf, itself, padded("right", np.int32)),
        padded("missing_go_to_left", np.bool_),
        np.where(leaf, padded("value", np.float32), np.float32(0.0)),
        np.asarray(model._baseline_prediction, dtype=np.float32).ravel()[:1],
    )


def at_most(threshold: LogOdds) -> Floats:
    """Return the largest float32 not above each threshold: float32 values compare as before."""
    rounded = threshold.astype(np.float32)
    above = rounded.astype(np.float64) > threshold
    return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded)
