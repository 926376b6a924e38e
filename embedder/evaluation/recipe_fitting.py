"""Trains the recipes of `embedder.evaluation.recipes` and reads users with them.

Beside them, our own networks with the weights they are drawn with: what the fields alone tell.

Shape key: `B` users or slices, `E` events of all of them, `H` state width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from embedder.config import BackboneName, TrainingPlan
from embedder.devices import deterministic, pick_device
from embedder.embedder import bounded_runs
from embedder.evaluation.metrics import Floats
from embedder.evaluation.recipes import (
    EVENTS_AT_ONCE,
    LONGEST,
    Coles,
    LastState,
    NextEvent,
    Recipe,
    RecipeData,
    Supervised,
    next_targets,
)
from embedder.featurizer import ALWAYS, NEVER
from embedder.network import SliceEncoder
from embedder.profiles import Floats as Vectors
from embedder.slices import Spans, in_pieces
from embedder.training_set import encode_spans, slice_inputs
from store.sequences import SequenceBatch

RecipeName = Literal["coles", "next_event", "supervised"]

RATE, RATE_TOP, WEIGHT_DECAY, CLIP = 2e-3, 4e-3, 1e-2, 1.0


@dataclass(frozen=True)
class FittedRecipe:
    """A trained network, and its head where it was told labels.

    Attributes:
        prior_log_odds: Of violators among the learned users, whom batches had half and half.
    """

    data: RecipeData
    network: LastState
    head: nn.Module
    prior_log_odds: float
    device: torch.device

    def vectors(self, batch: SequenceBatch, *, counted: bool = False) -> Vectors:
        """Return the unit vectors of users by their latest events; `counted` if learned from."""
        return self._read(batch, lambda unit_BH, states_BH: unit_BH, counted=counted)

    def probabilities(self, batch: SequenceBatch) -> Floats:
        """Return what the head says of users."""

        def told(unit_BH: Tensor, states_BH: Tensor) -> Tensor:
            return torch.sigmoid(self.head(states_BH) + self.prior_log_odds)

        return self._read(batch, told, counted=False)[:, 0].astype(np.float64)

    @torch.no_grad()
    def _read(
        self,
        batch: SequenceBatch,
        say: Callable[[Tensor, Tensor], Tensor],
        *,
        counted: bool,
    ) -> Vectors:
        self.network.eval()
        counted_before_us = ALWAYS if counted else NEVER
        parts = []
        for rows in bounded_runs(np.minimum(batch.num_events, LONGEST)):
            piece = batch.take(rows, start=np.maximum(batch.num_events[rows] - LONGEST, 0))
            featurizer = self.data.featurizer
            events = featurizer.encode(piece, counted_before_us=counted_before_us)
            spans = Spans(piece.offsets[:-1], piece.offsets[1:])
            for _, some in in_pieces(spans, events_at_once=EVENTS_AT_ONCE):
                inputs = slice_inputs(featurizer, events, some, self.device)
                unit_BH, states_EH = self.network(*inputs)
                ends = torch.cumsum(inputs[2], 0) - 1
                parts.append(say(unit_BH, states_EH[ends]).cpu().numpy())
        return np.concatenate(parts)


def fit_recipe(
    name: RecipeName, data: RecipeData, plan: TrainingPlan, *, seed: int, threads: int
) -> FittedRecipe:
    """Train a recipe for as many steps, of as many slices, as our behavior network has at most."""
    device = pick_device("auto")
    with deterministic(threads):
        torch.manual_seed(seed)
        network = LastState(data.featurizer.num_slots, plan.hidden, plan.state).to(device)
        recipe = make_recipe(name, data, plan, device)
        train_recipe(recipe, network, plan, rng=np.random.default_rng([seed, 43]))
    share = len(data.violators) / max(len(data.violators) + len(data.others), 1)
    prior = float(np.log(share / (1 - share))) if 0 < share < 1 else 0.0
    return FittedRecipe(data, network, recipe.heads.eval(), prior, device)


def make_recipe(
    name: RecipeName, data: RecipeData, plan: TrainingPlan, device: torch.device
) -> Recipe:
    """Return the task with fresh heads."""
    if name == "coles":
        return Coles(data, plan, device, nn.Identity())
    if name == "next_event":
        classes = sum(size for _, size in next_targets(data.featurizer))
        return NextEvent(data, plan, device, nn.Linear(plan.state, classes).to(device))
    return Supervised(data, plan, device, nn.Linear(plan.state, 1).to(device))


def train_recipe(
    recipe: Recipe, network: LastState, plan: TrainingPlan, *, rng: np.random.Generator
) -> None:
    """Train, and keep the weights of the best look at the held-out users."""
    both = nn.ModuleList([network, recipe.heads])
    weights = list(both.parameters())
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=RATE_TOP, total_steps=plan.steps, pct_start=0.15
    )
    best, kept, waited = -np.inf, {}, 0
    for step in range(1, plan.steps + 1):
        both.train()
        loss = recipe.loss(network, rng)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
        schedule.step()
        if step % plan.evaluate_every == 0 or step == plan.steps:
            both.eval()
            gain = recipe.gain(network)
            waited = 0 if gain > best else waited + 1
            if gain > best:
                best = gain
                kept = {name: value.clone() for name, value in both.state_dict().items()}
            if waited >= plan.patience:
                break
    both.load_state_dict(kept)
    both.eval()


def untrained_vectors(
    backbone: BackboneName, data: RecipeData, plan: TrainingPlan, *, dim: int, seed: int
) -> Callable[[SequenceBatch, bool], Vectors]:
    """Return our own network as it is drawn; it takes users, and whether they were learned from."""
    torch.manual_seed(seed)
    network = SliceEncoder(
        backbone,
        num_slots=data.featurizer.num_slots,
        hidden=plan.hidden,
        state=plan.state,
        dim=dim,
        layers=plan.layers,
    )

    def vectors(batch: SequenceBatch, counted: bool) -> Vectors:
        events = data.featurizer.encode(batch, counted_before_us=ALWAYS if counted else NEVER)
        spans = Spans(batch.offsets[:-1], batch.offsets[1:])
        return encode_spans(network, data.featurizer, events, spans, torch.device("cpu"))

    return vectors
