"""Boosted trees on summaries: fitted by scikit-learn, kept and evaluated as plain arrays.

What a tree asks is stored as arrays, so a model file holds no code and no pickle, and prediction is
a few gathers per level for all users and trees at once.

Trees are grown on bins of the numbers. The library finds the same ones, but where examples have
weights it sorts them anew for each edge of a bin, which takes eight tenths of a fit.

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
BINS = 255
BINNED_BY = 200_000
"""Examples that edges of bins are found by; of more, so many are drawn by their weight."""
FINITE_MAX = 1e300

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
    model, bins = _grow(summary_BF, is_violator, weight_B, num_trees=TREES_MAX, seed=seed)
    sign = np.where(held_is_violator, -1.0, 1.0)
    losses = [
        float(np.average(np.logaddexp(0.0, sign * score.ravel()), weights=held_weight))
        for score in model.staged_decision_function(bins.of(held_summary))
    ]
    return to_arrays(model, bins, num_trees=int(np.argmin(losses)) + 1)


def refit_trees(
    summary_BF: Floats, is_violator: Bools, weight_B: LogOdds, *, num_trees: int, seed: int
) -> Trees:
    """Fit so many trees, as `fit_trees` found to be right, on all examples that may be learned."""
    model, bins = _grow(summary_BF, is_violator, weight_B, num_trees=num_trees, seed=seed)
    return to_arrays(model, bins, num_trees=num_trees)


@dataclass(frozen=True)
class Bins:
    """Where the numbers of a summary are cut into at most 255 bins of about equal weight.

    Attributes:
        known_F: The numbers that are ever known.
        edges: Of each of them, ascending: values up to one are in the bin before it.
    """

    known_F: npt.NDArray[np.int64]
    edges: tuple[LogOdds, ...]

    @classmethod
    def learned(cls, summary_BF: Floats, weight_B: LogOdds, *, seed: int) -> Self:
        """Find the edges for examples of these weights."""
        known_F = np.flatnonzero(np.isfinite(summary_BF).any(axis=0))
        if len(summary_BF) > BINNED_BY:
            generator = np.random.default_rng(seed)
            share_B = weight_B / weight_B.sum()
            summary_BF = summary_BF[generator.choice(len(summary_BF), BINNED_BY, p=share_B)]
            weight_B = np.ones(BINNED_BY)
        return cls(known_F, tuple(_edges(summary_BF[:, one], weight_B) for one in known_F))

    def of(self, summary_BF: Floats) -> LogOdds:
        """Return the number of each value's bin, NaN where it is missing."""
        bin_BF = np.full((len(summary_BF), len(self.known_F)), np.nan)
        for place, (number, edges) in enumerate(zip(self.known_F, self.edges, strict=True)):
            value_B = summary_BF[:, number].astype(np.float64)
            is_known = ~np.isnan(value_B)
            bin_BF[is_known, place] = np.searchsorted(edges, value_B[is_known])
        return bin_BF

    def threshold(self, place: int, between: float) -> float:
        """Return up to which value of a known number bins are below one between two.

        Between bins 20 and 22 it is 21, which goes with 20: nobody is in it.
        """
        if not np.isfinite(between):  # all that isn't missing
            return between
        return float(self.edges[place][int(between)])


def _edges(value_B: Floats, weight_B: LogOdds) -> LogOdds:
    """Return the edges of bins of one number: quantiles by weight, or between all its values.

    Where a quantile is reached just by a value, it is halfway to the next.
    """
    is_counted = ~np.isnan(value_B) & (weight_B > 0)
    order = np.argsort(value_B[is_counted])
    value = value_B[is_counted][order].astype(np.float64)
    distinct = np.unique(value)
    if len(distinct) <= BINS:
        return np.minimum((distinct[1:] + distinct[:-1]) / 2, FINITE_MAX)
    weight = np.cumsum(weight_B[is_counted][order])
    reached = np.linspace(0, 100, BINS + 1)[1:-1] / 100 * weight[-1]
    last = len(value) - 1
    place = np.minimum(np.searchsorted(weight, reached), last)
    is_just_reached = weight[place] - reached <= np.finfo(np.float64).eps
    halfway = (value[place] + value[np.minimum(place + 1, last)]) / 2
    edges: LogOdds = np.unique(np.where(is_just_reached, halfway, value[place]))
    return np.minimum(edges, FINITE_MAX)


def _grow(
    summary_BF: Floats, is_violator: Bools, weight_B: LogOdds, *, num_trees: int, seed: int
) -> tuple[HistGradientBoostingClassifier, Bins]:
    """Return the library's model and the bins that it was fitted on."""
    bins = Bins.learned(summary_BF, weight_B, seed=seed)
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
    ).fit(bins.of(summary_BF), is_violator, sample_weight=weight_B / weight_B.mean())
    return model, bins


def to_arrays(model: HistGradientBoostingClassifier, bins: Bins, *, num_trees: int) -> Trees:
    """Return the first trees of a model that was fitted on bins, asking for the values in them."""
    nodes = [stage[0].nodes for stage in model._predictors[:num_trees]]
    width = max(len(tree) for tree in nodes)

    def padded(name: str, kind: type) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = np.zeros((len(nodes), width), dtype=kind)
        for row, tree in zip(values, nodes, strict=True):
            row[: len(tree)] = tree[name]
        return values

    leaf = padded("is_leaf", np.bool_)
    itself = np.broadcast_to(np.arange(width, dtype=np.int32), leaf.shape)
    threshold = padded("num_threshold", np.float64)
    for row, tree in zip(threshold, nodes, strict=True):
        for node in np.flatnonzero(tree["is_leaf"] == 0):
            row[node] = bins.threshold(int(tree["feature_idx"][node]), float(row[node]))
    return Trees(
        bins.known_F.astype(np.int32)[padded("feature_idx", np.int64)],
        at_most(threshold),
        np.where(leaf, itself, padded("left", np.int32)),
        np.where(leaf, itself, padded("right", np.int32)),
        padded("missing_go_to_left", np.bool_),
        np.where(leaf, padded("value", np.float32), np.float32(0.0)),
        np.asarray(model._baseline_prediction, dtype=np.float32).ravel()[:1],
    )


def at_most(threshold: LogOdds) -> Floats:
    """Return the largest float32 not above each threshold: float32 values compare as before."""
    most = float(np.finfo(np.float32).max)
    threshold = np.where(np.isinf(threshold), threshold, np.clip(threshold, -most, most))
    rounded = threshold.astype(np.float32)
    above = rounded.astype(np.float64) > threshold
    return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded)
