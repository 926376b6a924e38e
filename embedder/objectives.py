"""The two things that are learned, each by a network of its own: only one of them is told labels.

*Behavior* learns without labels to recognise the same user in two slices. *Conduct* learns from
labelled prefixes what violators of a kind have in common. Both are watched on held-out users.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from embedder.config import TrainingPlan
from embedder.devices import mixed_precision, to_device
from embedder.featurizer import Featurizer
from embedder.losses import info_nce, matryoshka_info_nce, one_sided_contrast, spread
from embedder.network import SliceEncoder
from embedder.profiles import Floats
from embedder.slices import Spans, draw_labelled, draw_users, pair_spans, prefix_spans
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

    def loss(self, network: SliceEncoder, step: int, rng: np.random.Generator) -> Tensor:
        """Return the loss of one batch."""

    def gains(self, network: SliceEncoder) -> Gains:
        """Return one figure per held-out query, higher is better."""


@dataclass(frozen=True)
class BehaviorObjective:
    """InfoNCE over slices of one user, with statistics, spread and (in order) next-event heads."""

    data: TrainingSet
    plan: TrainingPlan
    device: torch.device
    heads: nn.ModuleDict

    def loss(self, network: SliceEncoder, step: int, rng: np.random.Generator) -> Tensor:
        """Return the loss of pairs of slices; a share of the batches is of look-alikes."""
        data, plan, losses = self.data, self.plan, self.plan.losses
        hard = is_hard(step, losses.hard_share)
        users = draw_users(data.paired, data.profile_ND, plan.batch_users, hard=hard, rng=rng)
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
            behavior, states = network(*inputs)
        temperature = self.heads["temperature"].weight[0, 0].exp().clamp(0.02, 0.5)  # type: ignore[index]  # a Linear
        contrast = matryoshka_info_nce if losses.matryoshka else info_nce
        loss = contrast(behavior[: len(users)], behavior[len(users) :], temperature=temperature)
        wanted = to_device(data.statistics_ND[np.concatenate([users, users])], self.device)
        told = functional.cosine_similarity(self.heads["statistics"](behavior), wanted).mean()
        loss = (
            loss + losses.statistics_weight * (1 - told) + losses.spread_weight * spread(behavior)
        )
        if network.reads_order and losses.next_event_weight:
            ahead = next_event_loss(self.heads["next"], data.featurizer, inputs, states)
            loss = loss + losses.next_event_weight * ahead
        return loss

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

    def loss(self, network: SliceEncoder, step: int, rng: np.random.Generator) -> Tensor:
        """Return the loss of a batch of prefixes, half of them violators'."""
        data = self.data
        users = draw_labelled(data.violators, data.others, self.plan.labelled_users, rng=rng)
        prefixes = prefix_spans(data.events.offsets, users, longest=CONDUCT_EVENTS, rng=rng)
        inputs = slice_inputs(data.featurizer, data.events, prefixes, self.device)
        with mixed_precision(self.device, wanted=self.plan.bfloat16):
            conduct, _ = network(*inputs)
        kind = to_device(data.kind_N[users], self.device)
        logit = self.heads["violator"](conduct).squeeze(1) * VIOLATOR_SCALE
        told = functional.binary_cross_entropy_with_logits(logit, (kind >= 0).to(logit.dtype))
        return told + self.plan.losses.contrast_weight * one_sided_contrast(conduct, kind)

    def gains(self, network: SliceEncoder) -> Gains:
        """Return the negated log loss of each held-out prefix, the classes weighing the same."""
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
        return -np.concatenate(losses)


def behavior_objective(
    data: TrainingSet, plan: TrainingPlan, device: torch.device, *, dim: int
) -> BehaviorObjective:
    """Return the task with fresh heads."""
    heads = nn.ModuleDict(
        {
            "statistics": nn.Linear(dim, data.statistics_ND.shape[1]),
            "next": nn.Linear(plan.state, sum(size for _, size in next_targets(data.featurizer))),
            "temperature": nn.Linear(1, 1, bias=False),
        }
    )
    nn.init.constant_(heads["temperature"].weight, -2.3)  # type: ignore[arg-type]  # a Linear has a weight
    return BehaviorObjective(data, plan, device, heads.to(device))


def conduct_objective(
    data: TrainingSet, plan: TrainingPlan, device: torch.device, *, dim: int
) -> ConductObjective:
    """Return the task with a fresh head."""
    return ConductObjective(
        data, plan, device, nn.ModuleDict({"violator": nn.Linear(dim, 1)}).to(device)
    )


def is_hard(step: int, share: float) -> bool:
    """Return whether a step's batch is of look-alikes; they are spread evenly over the steps."""
    return math.floor(step * share) > math.floor((step - 1) * share)


def halves_of(offsets: Int64s, users: Int64s) -> tuple[Spans, Spans]:
    """Return the first and the second half of some users' events."""
    middle = offsets[users] + np.diff(offsets)[users] // 2
    return Spans(offsets[users], middle), Spans(middle, offsets[users + 1])


def reciprocal_ranks(first_QD: Floats, second_QD: Floats) -> Gains:
    """Return one over the rank of row i of the second side for row i of the first."""
    similarity = first_QD @ second_QD.T
    return np.asarray(1.0 / (1 + (similarity > np.diagonal(similarity)[:, None]).sum(axis=1)))


def next_targets(featurizer: Featurizer) -> list[tuple[str, int]]:
    """Return what is predicted of the next event, and the number of classes of each."""
    sizes = {field.name: field.stop - field.start for field in featurizer.layout}
    return [(name, sizes[name]) for name in ("event_type", "relation", "gap") if name in sizes]


def next_event_loss(
    head: nn.Module,
    featurizer: Featurizer,
    inputs: tuple[Tensor, Tensor, Tensor],
    states_EH: Tensor,
) -> Tensor:
    """Return the cross-entropy of the next event's type, relation to known targets and gap."""
    ids_ES, _, sizes_B = inputs
    known = torch.ones(len(states_EH), dtype=torch.bool, device=states_EH.device)
    known[torch.cumsum(sizes_B, 0) - 1] = False
    before = torch.nonzero(known).squeeze(1)
    if len(before) == 0:
        return states_EH.sum() * 0.0
    logits = head(states_EH[before])
    ranges = {field.name: field for field in featurizer.layout}
    total, at = states_EH.new_zeros(()), 0
    for name, size in next_targets(featurizer):
        upcoming = ids_ES[before + 1]
        inside = (upcoming >= ranges[name].start) & (upcoming < ranges[name].stop)
        place = inside.to(torch.int64).argmax(1)
        wanted = upcoming.gather(1, place[:, None]).squeeze(1) - ranges[name].start
        total = total + functional.cross_entropy(
            logits[:, at : at + size], wanted.clamp(0, size - 1).long()
        )
        at += size
    return total
