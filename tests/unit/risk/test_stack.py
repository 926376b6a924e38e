import numpy as np
import pytest

from index.risk.stack import (
    AGE_KNOTS,
    Stack,
    age_basis,
    fit_stack,
    log_loss,
    out_of_fold,
    stack_inputs,
)
from index.vectors import Vectors
from tests.unit.risk.reference_users import random_unit


def examples(
    count: int, seed: int, *, vector_tells: bool = False
) -> tuple[np.ndarray, Vectors, np.ndarray]:
    """Return features (two and the age), vectors and labels; one or the other tells the label."""
    rng = np.random.default_rng(seed)
    vectors = random_unit(rng, count, 6)
    features = np.column_stack(
        [rng.normal(size=count), rng.normal(size=count), np.log(rng.integers(1, 60, count))]
    )
    telling = 6 * vectors[:, 0] if vector_tells else 1.5 * features[:, 0]
    return features, vectors, rng.random(count) < 1 / (1 + np.exp(-telling))


def test_ages_are_spread_over_the_knots_around_them() -> None:
    basis = age_basis(np.log(np.array([1.0, 3.0, 12.0, 300.0, 10_000.0])))
    assert basis.sum(axis=1) == pytest.approx(1.0)
    assert basis[0].argmax() == 0
    assert basis[1].argmax() == AGE_KNOTS.tolist().index(3.0)
    assert (basis[2] > 0).sum() == 2
    assert basis[3:].argmax(axis=1).tolist() == [len(AGE_KNOTS) - 1] * 2


def test_inputs_are_bounded_and_the_vector_is_scaled() -> None:
    features = np.array([[1e9, 0.0, np.log(3.0)]])
    vector = random_unit(np.random.default_rng(0), 1, 6)
    inputs = stack_inputs(features, vector, np.zeros(3), np.ones(3), vector_scale=0.3)
    assert inputs.shape == (1, 3 + 2 + len(AGE_KNOTS) + 6)
    assert np.abs(inputs).max() <= 6.0 * 6.0
    assert inputs[0, -6:] == pytest.approx(vector[0] * 0.3 * np.sqrt(6), abs=1e-6)


def test_scores_are_log_odds_of_the_label() -> None:
    features, vectors, is_violator = examples(4000, 1)
    stack = fit_stack(features, vectors, is_violator, np.ones(4000), vector_scale=0.0, penalty=0.3)
    score = stack.score(features, vectors)
    assert np.corrcoef(score, features[:, 0])[0, 1] > 0.97
    assert log_loss(score, is_violator, np.ones(4000)) < log_loss(
        np.zeros(4000), is_violator, np.ones(4000)
    )
    blind = stack.score(features, -vectors)
    assert blind == pytest.approx(score)


def test_the_log_loss_is_the_weighted_textbook_one() -> None:
    score, label = np.array([0.0, 2.0, -1.0]), np.array([True, True, False])
    losses = [np.log(2), np.log1p(np.exp(-2)), np.log1p(np.exp(-1))]
    assert log_loss(score, label, np.array([1.0, 3.0, 0.0])) == pytest.approx(
        (losses[0] + 3 * losses[1]) / 4
    )


@pytest.mark.parametrize("vector_tells", [False, True])
def test_the_vector_speaks_where_it_helps(vector_tells: bool) -> None:
    features, vectors, is_violator = examples(1500, 2, vector_tells=vector_tells)
    user = np.arange(1500) // 3
    stack, score = out_of_fold(
        features,
        vectors,
        is_violator,
        user,
        np.ones(1500),
        folds=5,
        rng=np.random.default_rng(0),
    )
    assert (stack.vector_scale > 0) or not vector_tells
    assert log_loss(score, is_violator, np.ones(1500)) < 0.62
    assert np.isfinite(score).all()


def test_out_of_fold_scores_never_saw_the_user() -> None:
    """Labels without any reason behind them can only be learned by heart."""
    rng = np.random.default_rng(3)
    features = np.column_stack([rng.normal(size=(300, 2)), np.zeros(300)])
    features = np.repeat(features, 4, axis=0)
    vectors = np.repeat(random_unit(rng, 300, 40), 4, axis=0)
    label, user = np.repeat(rng.random(300) < 0.5, 4), np.repeat(np.arange(300), 4)
    stack, score = out_of_fold(
        features, vectors, label, user, np.ones(1200), folds=5, rng=np.random.default_rng(1)
    )
    by_heart = fit_stack(features, vectors, label, np.ones(1200), vector_scale=1.0, penalty=0.3)
    assert ((by_heart.score(features, vectors) > 0) == label).mean() > 0.6
    assert abs(((score > 0) == label).mean() - 0.5) < 0.12
    assert isinstance(stack, Stack)


def test_folds_are_the_same_for_the_same_generator() -> None:
    features, vectors, is_violator = examples(300, 4)
    first, second = (
        out_of_fold(
            features,
            vectors,
            is_violator,
            np.arange(300),
            np.ones(300),
            folds=5,
            rng=np.random.default_rng(7),
        )[1]
        for _ in range(2)
    )
    assert (first == second).all()
