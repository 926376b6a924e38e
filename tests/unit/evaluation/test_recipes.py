"""Losses of the recipes against slow formulas, and their networks against PyTorch's own."""

import numpy as np
import pytest
import torch

from embedder.config import FeaturizerConfig, TrainingPlan
from embedder.evaluation.recipe_fitting import RecipeName, fit_recipe, untrained_vectors
from embedder.evaluation.recipes import (
    HARDEST,
    LONGEST,
    MARGIN,
    LastState,
    RecipeData,
    hard_contrast,
    prepare,
    random_spans,
)
from store.sequences import SequenceBatch
from tests.unit.embedder.people import SCHEMA, make_people

PLAN = TrainingPlan(
    steps=4,
    batch_users=16,
    labelled_users=16,
    slice_events=8,
    evaluate_every=2,
    patience=2,
    hidden=8,
    state=6,
)
PEOPLE = make_people(60, 1, mean_events=9)
LABEL = np.arange(60) % 3 - 1


@pytest.fixture(scope="module")
def data() -> RecipeData:
    return prepare(PEOPLE, SCHEMA, LABEL, FeaturizerConfig(hash_buckets=64), seed=0)


def test_contrast_is_what_the_slow_formula_gives() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(20, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    owner = np.repeat(np.arange(5), 4)
    terms = []
    for row in range(20):
        distance = np.linalg.norm(vectors - vectors[row], axis=1)
        terms += [
            distance[other] ** 2
            for other in range(20)
            if other != row and owner[other] == owner[row]
        ]
        nearest = np.sort(distance[owner != owner[row]])[:HARDEST]
        terms += [max(MARGIN - each, 0.0) ** 2 for each in nearest]
    loss = hard_contrast(torch.from_numpy(vectors), torch.from_numpy(owner))
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-4)


def test_the_last_state_is_that_of_a_gru_read_to_the_end() -> None:
    torch.manual_seed(0)
    network = LastState(10, 4, 3).eval()
    sizes = torch.tensor([1, 5, 2, 17])
    ids, weights = torch.randint(0, 10, (25, 2)), torch.rand(25, 2)
    with torch.no_grad():
        vectors, states = network(ids, weights, sizes)
        events = network.bag(ids, weights)
        first = 0
        for row, size in enumerate(sizes.tolist()):
            slow, _ = network.gru(events[first : first + size][None])
            assert torch.allclose(states[first : first + size], slow[0], atol=1e-6)
            last = slow[0, -1] / slow[0, -1].norm()
            assert torch.allclose(vectors[row], last, atol=1e-6)
            first += size


def test_random_slices_stay_within_their_users() -> None:
    offsets = np.array([0, 1, 10, 300], dtype=np.int64)
    users = np.repeat(np.arange(3), 500)
    spans = random_spans(offsets, users, longest=20, rng=np.random.default_rng(0))
    length = spans.last - spans.first
    assert (spans.first >= offsets[users]).all()
    assert (spans.last <= offsets[users + 1]).all()
    assert (length[users == 0] == 1).all()
    assert set(length[users == 1]) == set(range(2, 10))
    assert length.max() == 20


@pytest.mark.parametrize("name", ["coles", "next_event", "supervised"])
def test_a_recipe_learns_the_same_twice_and_reads_anybody(
    name: RecipeName, data: RecipeData
) -> None:
    first, second = (fit_recipe(name, data, PLAN, seed=3, threads=1) for _ in range(2))
    rows = first.vectors(PEOPLE)
    assert rows.shape == (60, PLAN.state)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.array_equal(rows, second.vectors(PEOPLE))
    some = PEOPLE.take(np.array([4, 2], dtype=np.int64))
    assert np.allclose(first.vectors(some), rows[[4, 2]], atol=1e-5)
    if name == "supervised":
        probability = first.probabilities(PEOPLE)
        assert ((probability > 0) & (probability < 1)).all()


def test_only_the_latest_events_of_a_long_user_are_read(data: RecipeData) -> None:
    long = make_people(2, 5, mean_events=3 * LONGEST)
    fitted = fit_recipe("next_event", data, PLAN, seed=0, threads=1)
    rows = np.arange(2, dtype=np.int64)
    latest: SequenceBatch = long.take(rows, start=long.num_events - LONGEST)
    assert np.allclose(fitted.vectors(long), fitted.vectors(latest), atol=1e-5)


def test_untrained_networks_are_drawn_by_their_seed(data: RecipeData) -> None:
    rows = [
        untrained_vectors("twin", data, PLAN, dim=8, seed=seed)(PEOPLE, False) for seed in (0, 0, 1)
    ]
    assert np.array_equal(rows[0], rows[1])
    assert not np.allclose(rows[0], rows[2])
