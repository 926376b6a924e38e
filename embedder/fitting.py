"""Fits one network for one objective: the loop, its validation and early stopping."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from embedder.config import BackboneName, TrainingPlan
from embedder.network import SliceEncoder
from embedder.objectives import Gains, Objective

RATE, WEIGHT_DECAY = 2e-3, 1e-2

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FittedNetwork:
    """A network and its heads as of its best look at the held-out users, and that look's gains."""

    network: SliceEncoder
    heads: nn.Module
    gains_Q: Gains
    steps: int
    looks: tuple[Gains, ...] = ()

    @property
    def backbone(self) -> BackboneName:
        """Its name."""
        return self.network.backbone_name

    @property
    def score(self) -> float:
        """Mean gain; 0 where nothing could be measured."""
        return float(self.gains_Q.mean()) if len(self.gains_Q) else 0.0


def fit_network(
    backbone: BackboneName,
    objective: Objective,
    plan: TrainingPlan,
    *,
    num_slots: int,
    dim: int,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None],
    lost: Callable[[int, Gains], bool] = lambda look, gains: False,
) -> FittedNetwork:
    """Train one network; same inputs, seed and thread count give the same weights.

    `lost` is asked at every look at the held-out users, with its number and gains, whether to give
    up.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 17])
    network = SliceEncoder(
        backbone,
        num_slots=num_slots,
        hidden=plan.hidden,
        state=plan.state,
        dim=dim,
        layers=plan.layers,
    ).to(device)
    weights = [*network.parameters(), *objective.heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=plan.rate_top, total_steps=plan.steps, pct_start=0.15
    )
    best: tuple[Gains, dict[str, Tensor], dict[str, Tensor]] | None = None
    waited = step = 0
    looks: list[Gains] = []
    for step in range(1, plan.steps + 1):
        network.train()
        loss = objective.loss(network, rng)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        progress(step, plan.steps)
        if step % plan.evaluate_every == 0 or step == plan.steps:
            gains = objective.gains(network)
            looks.append(gains)
            better = best is None or not len(gains) or gains.mean() > best[0].mean()
            waited = 0 if better else waited + 1
            if better:
                best = gains, snapshot(network), snapshot(objective.heads)
            if waited >= plan.patience or lost(len(looks) - 1, gains):
                break
    assert best is not None
    network.load_state_dict(best[1])
    objective.heads.load_state_dict(best[2])
    return FittedNetwork(network.eval(), objective.heads.eval(), best[0], step, tuple(looks))


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the weights of a module."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
