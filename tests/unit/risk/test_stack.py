import numpy as np
import pytest

from index.risk.neighbors import FEATURES
from index.risk.stack import (
    AGE_KNOTS,
    NEARNESS,
    VOTES,
    Scales,
    Stack,
    StackExamples,
    age_basis,
    fit_stack,
    folds_by_time,
    log_losses,
    out_of_fold,
    stack_inputs,
)
from tests.unit.risk.reference_users import random_unit


def examples(
    count: int, seed: int, *, vector_tells: bool = False, looks_per_user: int = 1
) -> StackExamples:
    """Return looks of which the neighbors' vote, or the vector, tells the label."""
    rng = np.random.default_rng(seed)
    vectors = random_unit(rng, count, 6)
    features = rng.normal(size=(count, len(FEATURES)))
    features[:, -1] = np.log(rng.integers(1, 60, count))
    telling = 6 * vectors[:, 0] if vector_tells else 1.5 * features[:, VOTES[0]]
    is_violator = rng.random(count) < 1 / (1 + np.exp(-telling))
    user = np.arange(count) // looks_per_user
    return StackExamples(features, vectors, is_violator, user, np.ones(count), user)


def mean_loss(score: np.ndarray, is_violator: np.ndarray) -> float:
    return float(log_losses(score, is_violator).mean())


def test_ages_are_spread_over_the_knots_around_them() -> None:
    basis = age_basis(np.log(np.array([1.0, 3.0, 12.0, 300.0, 10_000.0])))
    assert basis.sum(axis=1) == pytest.approx(1.0)
    assert basis[0].argmax() == 0
    assert basis[1].argmax() == AGE_KNOTS.tolist().index(3.0)
    assert (basis[2] > 0).sum() == 2
    assert basis[3:].argmax(axis=1).tolist() == [len(AGE_KNOTS) - 1] * 2


def test_inputs_are_bounded_and_silent_parts_are_left_out() -> None:
    features = np.zeros((1, len(FEATURES)))
    features[0, :2] = 1e9
    features[0, -1] = np.log(3.0)
    vector = random_unit(np.random.default_rng(0), 1, 6)
    nothing, one = np.zeros(len(FEATURES)), np.ones(len(FEATURES))

    def inputs(scales: Scales) -> np.ndarray:
        return stack_inputs(features, vector, nothing, one, scales)

    assert inputs(Scales(1.0)).shape == (1, len(VOTES))
    aged = inputs(Scales(1.0, age=0.3))
    assert aged.shape == (1, 2 * len(VOTES) + len(AGE_KNOTS))
    full = inputs(Scales(1.0, age=1.0, nearness=1.0, vector=0.3))
    assert full.shape == (1, 2 * len(VOTES) + len(AGE_KNOTS) + len(NEARNESS) + 6)
    assert np.abs(full).max() <= 6.0 * 6.0
    assert full[0, -6:] == pytest.approx(vector[0] * 0.3 * np.sqrt(6), abs=1e-6)


def test_scores_are_log_odds_of_the_label() -> None:
    looks = examples(4000, 1)
    stack = fit_stack(looks, Scales(0.3))
    score = stack.score(looks.features_QF, looks.query_QD)
    assert np.corrcoef(score, looks.features_QF[:, VOTES[0]])[0, 1] > 0.97
    assert mean_loss(score, looks.is_violator) < mean_loss(np.zeros(4000), looks.is_violator)
    assert stack.score(looks.features_QF, -looks.query_QD) == pytest.approx(score)


def test_the_log_loss_is_the_textbook_one() -> None:
    losses = log_losses(np.array([0.0, 2.0, -1.0]), np.array([True, True, False]))
    expected = [np.log(2), np.log1p(np.exp(-2)), np.log1p(np.exp(-1))]
    assert losses == pytest.approx(expected)


@pytest.mark.parametrize("vector_tells", [False, True])
def test_the_vector_speaks_only_where_it_helps(vector_tells: bool) -> None:
    looks = examples(1500, 2, vector_tells=vector_tells, looks_per_user=3)
    stack, score = out_of_fold(looks, folds=5)
    assert (stack.scales.vector > 0) == vector_tells
    assert stack.scales.nearness == 0.0
    assert mean_loss(score, looks.is_violator) < 0.62
    assert np.isfinite(score).all()


def test_out_of_fold_scores_never_saw_the_user() -> None:
    """Labels without any reason behind them can only be learned by heart."""
    rng = np.random.default_rng(3)
    features = np.repeat(rng.normal(size=(300, len(FEATURES))), 4, axis=0)
    vectors = np.repeat(random_unit(rng, 300, 40), 4, axis=0)
    label, user = np.repeat(rng.random(300) < 0.5, 4), np.repeat(np.arange(300), 4)
    looks = StackExamples(features, vectors, label, user, np.ones(1200), user)
    stack, score = out_of_fold(looks, folds=5)
    by_heart = fit_stack(looks, Scales(0.3, vector=1.0))
    assert ((by_heart.score(features, vectors) > 0) == label).mean() > 0.6
    assert abs(((score > 0) == label).mean() - 0.5) < 0.12
    assert isinstance(stack, Stack)


def test_folds_are_runs_in_time_and_never_lack_a_class() -> None:
    since, is_violator = np.arange(100)[::-1], np.arange(100) < 20
    fold = folds_by_time(since, is_violator, 5)
    for kind in (False, True):
        mine = np.flatnonzero(is_violator == kind)
        assert (np.diff(fold[mine[np.argsort(since[mine])]]) >= 0).all()
        assert np.bincount(fold[mine]).tolist() == [len(mine) // 5] * 5


def test_the_same_examples_give_the_same_stack() -> None:
    first, second = (out_of_fold(examples(300, 4), folds=5) for _ in range(2))
    assert (first[1] == second[1]).all()
    assert (first[0].coefficient_X == second[0].coefficient_X).all()
