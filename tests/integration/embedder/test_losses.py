"""Every part of what the networks learn from reaches their weights, and only theirs."""

import numpy as np
import pytest
import torch

from embedder.config import EmbedderConfig, LossConfig, TrainingPlan
from embedder.devices import deterministic
from embedder.featurizer import ALWAYS, fit_featurizer
from embedder.objectives import behavior_objective, conduct_objective
from embedder.training import Learner, training_set
from embedder.training_set import TrainingSet
from tests.integration.embedder.small_models import CONFIG, PLAN, gathered_of
from tests.unit.embedder.people import SCHEMA, make_people

DIM = 24  # one more than the first leading dimensions that must work alone
BEHAVIOR: list[dict[str, float]] = [
    {"matryoshka": False},
    {"apart_share": 0},
]


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    people = make_people(200, 12)
    label = (np.arange(people.num_users) % 2).astype(np.int64)
    rng, config = np.random.default_rng(0), EmbedderConfig(**CONFIG.model_dump())
    featurizer = fit_featurizer(people, SCHEMA, config.featurizer, left_out=[])
    events = featurizer.encode(people, counted_before_us=ALWAYS)
    return training_set(gathered_of(people, label), featurizer, events, rng)


def trained(
    data: TrainingSet, role: str, losses: dict[str, float] | None = None
) -> dict[str, torch.Tensor]:
    """Return the weights after three steps."""
    changed = {"losses": LossConfig(**(losses or {})), "steps": 3}
    plan = TrainingPlan(**(PLAN.model_dump() | changed))
    learner = Learner(data, 0, torch.device("cpu"), lambda what, done, total: None)
    make = behavior_objective if role == "behavior" else conduct_objective
    with deterministic(1):
        return learner.fit(role, "twin", make, plan, DIM).network.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("losses", BEHAVIOR, ids=lambda losses: next(iter(losses)))
def test_behavior_learns_from_each_part(data: TrainingSet, losses: dict[str, float]) -> None:
    assert not same(trained(data, "behavior"), trained(data, "behavior", losses))


def test_conduct_learns_from_the_contrast_between_labels_and_behavior_does_not(
    data: TrainingSet,
) -> None:
    for role, equal in (("conduct", False), ("behavior", True)):
        assert same(trained(data, role), trained(data, role, {"contrast_weight": 0})) is equal
