"""The two things that are learned, each by a network of its own: only one of them is told labels.

*Behavior* learns without labels to recognise the same user in two slices. *Conduct* learns from
labelled prefixes what violators of a kind have in common. Both are watched on held-out users.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from embedder.config import TrainingPlan
from embedder.devices import mixed_precision, to_device
from embedder.losses import info_nce, matryoshka_info_nce, one_sided_contrast
from embedder.network import SliceEncoder
from embedder.profiles import Floats
from embedder.slices import Spans, draw_labelled, pair_spans, prefix_spans
from embedder.training_set import TrainingSet, encode_spans, slice_inputs
from store.sequences import Int64s

VALIDATION_PREFIXES = (3, 5, 10, 64)
CONDUCT_EVENTS, VIOLATOR_SCALE = 64, 4.0

Gains = npt.NDArray[np.float64]


class Objective(Protocol):
    """A task: its extra heads (not shipped), its loss on a batch, its gain per held-out query."""

    @property
    def heads(self) -> nn.Module:
        """Extra heads, trained along and not shipped."""

    def loss(self, network: SliceEncoder, rng: np.random.Generator) -> Tensor:
        """Return the loss of one batch."""

    def gains(self, network: SliceEncoder) -> Gains:
        """Return one figure per held-out query, higher is better."""


@dataclass(frozen=True)
class BehaviorObjective:
    """InfoNCE over slices of one user, at every cut of the vectors, with a learned temperature."""

    data: TrainingSet
    plan: TrainingPlan
    device: torch.device
    heads: nn.ModuleDict

    def loss(self, network: SliceEncoder, rng: np.random.Generator) -> Tensor:
        """Return the loss of pairs of slices of some users."""
        data, plan, losses = self.data, self.plan, self.plan.losses
        users = rng.choice(data.paired, min(plan.batch_users, len(data.paired)), replace=False)
        first, second = pair_spans(
            data.events.offsets,
            users,
            longest=plan.slice_events,
            apart_share=losses.apart_share,
            rng=rng,
        )
        both = Spans(
            np.concatenate([first.first, second.first]), np.concatenate([first.last, second.last])
        )
        inputs = slice_inputs(data.featurizer, data.events, both, self.device)
        with mixed_precision(self.device, wanted=plan.bfloat16):
            behavior = network(*inputs)
        temperature = self.heads["temperature"].weight[0, 0].exp().clamp(0.02, 0.5)  # type: ignore[index]  # a Linear
        contrast = matryoshka_info_nce if losses.matryoshka else info_nce
        return contrast(behavior[: len(users)], behavior[len(users) :], temperature=temperature)

    def gains(self, network: SliceEncoder) -> Gains:
        """Return the reciprocal rank of each held-out user's second half for its first."""
        data, users = self.data, self.data.validation
        offsets = data.events.offsets
        if len(users) < 2:
            return np.zeros(0)
        first, second = (
            encode_spans(network, data.featurizer, data.events, side, self.device)
            for side in halves_of(offsets, users)
        )
        return reciprocal_ranks(first, second)


@dataclass(frozen=True)
class ConductObjective:
    """On labelled prefixes: violators of a kind attract, others repel, and a head tells them."""

    data: TrainingSet
    plan: TrainingPlan
    device: torch.device
    heads: nn.ModuleDict

    def loss(self, network: SliceEncoder, rng: np.random.Generator) -> Tensor:
        """Return the loss of a batch of prefixes, half of them violators'."""
        data = self.data
        users = draw_labelled(data.violators, data.others, self.plan.labelled_users, rng=rng)
        prefixes = prefix_spans(data.events.offsets, users, longest=CONDUCT_EVENTS, rng=rng)
        inputs = slice_inputs(data.featurizer, data.events, prefixes, self.device)
        with mixed_precision(self.device, wanted=self.plan.bfloat16):
            conduct = network(*inputs)
        kind = to_device(data.kind_N[users], self.device)
        logit = self.heads["violator"](conduct).squeeze(1) * VIOLATOR_SCALE
        told = functional.binary_cross_entropy_with_logits(logit, (kind >= 0).to(logit.dtype))
        return told + self.plan.losses.contrast_weight * one_sided_contrast(conduct, kind)

    def gains(self, network: SliceEncoder) -> Gains:
        """Return each held-out user's negated log loss, the classes weighing the same.

        Of a user it is the mean over some prefixes, which are no more independent than equal.
        """
        data, users = self.data, self.data.validation_labelled
        offsets, is_violator = data.events.offsets, data.kind_N[self.data.validation_labelled] >= 0
        balance = np.where(is_violator, 0.5 / is_violator.mean(), 0.5 / (1 - is_violator.mean()))
        losses = []
        for length in VALIDATION_PREFIXES:
            spans = Spans(offsets[users], np.minimum(offsets[users] + length, offsets[users + 1]))
            conduct = torch.from_numpy(
                encode_spans(network, data.featurizer, data.events, spans, self.device)
            )
            with torch.no_grad():
                logit = self.heads["violator"](conduct.to(self.device)).squeeze(1) * VIOLATOR_SCALE
            losses.append(
                np.logaddexp(0.0, np.where(is_violator, -1.0, 1.0) * logit.cpu().numpy()) * balance
            )
        return np.asarray(-np.mean(losses, axis=0))


def behavior_objective(
    data: TrainingSet, plan: TrainingPlan, device: torch.device, *, dim: int
) -> BehaviorObjective:
    """Return the task with a fresh temperature."""
    heads = nn.ModuleDict({"temperature": nn.Linear(1, 1, bias=False)})
    nn.init.constant_(heads["temperature"].weight, -2.3)  # type: ignore[arg-type]  # a Linear has a weight
    return BehaviorObjective(data, plan, device, heads.to(device))


def conduct_objective(
    data: TrainingSet, plan: TrainingPlan, device: torch.device, *, dim: int
) -> ConductObjective:
    """Return the task with a fresh head."""
    return ConductObjective(
        data, plan, device, nn.ModuleDict({"violator": nn.Linear(dim, 1)}).to(device)
    )


def halves_of(offsets: Int64s, users: Int64s) -> tuple[Spans, Spans]:
    """Return the first and the second half of some users' events."""
    middle = offsets[users] + np.diff(offsets)[users] // 2
    return Spans(offsets[users], middle), Spans(middle, offsets[users + 1])


def reciprocal_ranks(first_QD: Floats, second_QD: Floats) -> Gains:
    """Return one over the rank of row i of the second side for row i of the first."""
    similarity = first_QD @ second_QD.T
    return np.asarray(1.0 / (1 + (similarity > np.diagonal(similarity)[:, None]).sum(axis=1)))
