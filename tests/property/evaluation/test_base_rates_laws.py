import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.evaluation.base_rates import precision_at, reweighted, with_unseen
from embedder.evaluation.metrics import (
    make_ladder,
    precision_and_recall,
    recall_at_false_positive_rate,
)

RATES = st.floats(1e-4, 0.9)
SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(2, 60), st.integers(2, 60), RATES, st.integers(2, 20))
def test_reweighted_precision_is_bayes_rule(
    seed: int, num_positives: int, num_negatives: int, base_rate: float, num_scores: int
) -> None:
    """Weights on the benign users and the closed form say the same, in every resample."""
    rng = np.random.default_rng(seed)
    is_positive = np.arange(num_positives + num_negatives) < num_positives
    score = rng.integers(0, num_scores, len(is_positive)).astype(np.float64)
    weight = rng.integers(0, 3, (4, len(is_positive))).astype(np.float64)
    weight[:, 0] = weight[:, -1] = 1.0
    ladder = make_ladder(score, is_positive, weight)
    precision, recall = precision_and_recall(reweighted(ladder, base_rate))
    alarm = np.cumsum(ladder.negative_RG, axis=1) / ladder.negative_RG.sum(axis=1, keepdims=True)
    closed = precision_at(base_rate, recall, alarm)
    assert precision == pytest.approx(np.nan_to_num(closed), abs=1e-9)
    assert precision[:, -1] == pytest.approx(base_rate), "everybody over it: the base rate"
    assert (recall == precision_and_recall(ladder)[1]).all()


@given(SEEDS, st.integers(2, 60), st.integers(2, 60), RATES, st.floats(0, 5))
def test_unseen_users_never_raise_a_precision(
    seed: int, num_positives: int, num_negatives: int, base_rate: float, unseen: float
) -> None:
    rng = np.random.default_rng(seed)
    is_positive = np.arange(num_positives + num_negatives) < num_positives
    ladder = make_ladder(rng.random(len(is_positive)), is_positive, np.ones((1, len(is_positive))))
    more = with_unseen(ladder, np.array([unseen]))
    precision, recall = precision_and_recall(reweighted(ladder, base_rate))
    doubted, same = precision_and_recall(reweighted(more, base_rate))
    assert (doubted[:, 1:] <= precision + 1e-9).all()
    assert same[:, 1:] == pytest.approx(recall)


@given(SEEDS, st.integers(1, 50), st.integers(1, 50), st.floats(0, 1), st.floats(0, 1))
def test_who_may_let_more_benign_users_through_finds_no_less(
    seed: int, num_positives: int, num_negatives: int, first: float, second: float
) -> None:
    rng = np.random.default_rng(seed)
    is_positive = np.arange(num_positives + num_negatives) < num_positives
    ladder = make_ladder(rng.random(len(is_positive)), is_positive, np.ones((1, len(is_positive))))
    few, many = (
        recall_at_false_positive_rate(ladder, rate_max=rate)[0] for rate in sorted((first, second))
    )
    assert few <= many
