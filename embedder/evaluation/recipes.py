"""Published ways to learn a vector of a user, on our fields and budget: peers of our encoder.

- CoLES (Babaev et al., SIGMOD 2022): several random slices of a user are close, those of others are
  not: contrastive loss with a margin on the hardest negatives; the vector is a GRU's last state.
- Next event: a GRU foretells what comes next, as a language model does; its last state.
- Supervised: a GRU told the labels of prefixes, end to end.

All read the fields that our featurizer makes, so that what differs is what is learned of them.

Shape key: `E` events of all slices, `B` slices, `S` slots, `H` state width.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from embedder.audit import audit_fields
from embedder.config import FeaturizerConfig, TrainingPlan
from embedder.evaluation.metrics import Flags, Int64s
from embedder.featurizer import ALWAYS, EncodedEvents, Featurizer, fit_featurizer
from embedder.network import SlotBag, padded_states, unit
from embedder.objectives import halves_of, reciprocal_ranks
from embedder.profiles import Floats as Vectors
from embedder.slices import Spans, draw_labelled, in_pieces, prefix_spans
from embedder.training_set import slice_inputs
from store.schema import EventSchema
from store.sequences import SequenceBatch

VALIDATION_SHARE, VALIDATION_MAX, HALVES_MIN = 0.1, 2_000, 4
LONGEST, EVENTS_AT_ONCE = 256, 65_536
LENGTHS = (2, 4, 8, 16, 32, 64, 128, LONGEST)  # slices of like length are padded together
SLICES_PER_USER, MARGIN, HARDEST = 5, 0.5, 5
LABELLED_EVENTS = 64


@dataclass(frozen=True)
class RecipeData:
    """What a recipe learns from.

    Attributes:
        featurizer, events: The learned users' encoded events.
        paired: Users with two events at least, less those held out.
        halved: Held-out users who can be halved.
        violators, others: Labelled users, less those held out.
        labelled: Held-out labelled users; `is_violator_N` tells their class.
        is_violator_N: Whether a label says so.
    """

    featurizer: Featurizer
    events: EncodedEvents
    paired: Int64s
    halved: Int64s
    violators: Int64s
    others: Int64s
    labelled: Int64s
    is_violator_N: Flags


def prepare(
    batch: SequenceBatch,
    schema: EventSchema,
    label_N: Int64s,
    config: FeaturizerConfig,
    *,
    seed: int,
) -> RecipeData:
    """Encode the learned users; a tenth of them is held out to choose when to stop.

    Args:
        batch: The learned users.
        schema: Roles of their columns.
        label_N: 1, 0, or -1 where nothing is known.
        config: Of the fields.
        seed: Of the draw.
    """
    audit = audit_fields(batch, schema, config)
    left_out = [finding.name for finding in audit if finding.left_out]
    featurizer = fit_featurizer(batch, schema, config, left_out=left_out)
    events = featurizer.encode(batch, counted_before_us=ALWAYS)
    rng = np.random.default_rng([seed, 41])
    held = rng.random(batch.num_users) < VALIDATION_SHARE
    size = batch.num_events
    return RecipeData(
        featurizer,
        events,
        np.flatnonzero(~held & (size >= 2)),
        np.flatnonzero(held & (size >= HALVES_MIN))[:VALIDATION_MAX],
        np.flatnonzero(~held & (label_N == 1)),
        np.flatnonzero(~held & (label_N == 0)),
        np.flatnonzero(held & (label_N >= 0))[:VALIDATION_MAX],
        label_N == 1,
    )


class LastState(nn.Module):
    """A bag of slots, a GRU, and its last state as a unit vector."""

    def __init__(self, num_slots: int, hidden: int, state: int) -> None:
        super().__init__()
        self.dim = state
        self.bag = SlotBag(num_slots, hidden)
        self.gru = nn.GRU(hidden, state, batch_first=True)

    def forward(self, ids_ES: Tensor, weights_ES: Tensor, sizes_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the unit vectors of the slices, B x H, and the states after each event, E x H."""
        events_EX = self.bag(ids_ES, weights_ES)
        ends_B = torch.cumsum(sizes_B, 0)
        slice_E = torch.repeat_interleave(torch.arange(len(sizes_B)).to(ends_B), sizes_B)
        place_E = torch.arange(len(slice_E)).to(ends_B) - (ends_B - sizes_B)[slice_E]
        states_EH = padded_states(
            lambda padded: self.gru(padded)[0],
            events_EX,
            slice_E,
            place_E,
            sizes_B,
            lengths=LENGTHS,
        )
        return unit(states_EH[ends_B - 1]), states_EH


class Recipe(Protocol):
    """A task: its heads, its loss on a batch, and how good it is on held-out users."""

    @property
    def heads(self) -> nn.Module:
        """What is trained along."""

    def loss(self, network: LastState, rng: np.random.Generator) -> Tensor:
        """Return the loss of one batch."""

    def gain(self, network: LastState) -> float:
        """Return a figure of held-out users, higher is better."""


@dataclass(frozen=True)
class Coles:
    """Contrastive learning of event sequences: slices of a user attract each other."""

    data: RecipeData
    plan: TrainingPlan
    device: torch.device
    heads: nn.Module

    def loss(self, network: LastState, rng: np.random.Generator) -> Tensor:
        """Return the contrastive loss of several slices of each of some users."""
        data = self.data
        count = max(2 * self.plan.batch_users // SLICES_PER_USER, 2)
        users = rng.choice(data.paired, min(count, len(data.paired)), replace=False)
        owner = np.repeat(np.arange(len(users)), SLICES_PER_USER)
        spans = random_spans(
            data.events.offsets, users[owner], longest=self.plan.slice_events, rng=rng
        )
        vectors, _ = network(*slice_inputs(data.featurizer, data.events, spans, self.device))
        return hard_contrast(vectors, torch.from_numpy(owner).to(self.device))

    def gain(self, network: LastState) -> float:
        """Return the mean reciprocal rank of held-out users' second halves for their first."""
        data, offsets = self.data, self.data.events.offsets
        users = data.halved
        if len(users) < 2:
            return 0.0
        first, second = (
            encode(network, data, side, self.device) for side in halves_of(offsets, users)
        )
        return float(reciprocal_ranks(first, second).mean())


@dataclass(frozen=True)
class NextEvent:
    """A GRU that foretells the next event's type, relation to known targets and gap."""

    data: RecipeData
    plan: TrainingPlan
    device: torch.device
    heads: nn.Module

    def loss(self, network: LastState, rng: np.random.Generator) -> Tensor:
        """Return the cross-entropy over slices of some users."""
        data = self.data
        count = min(2 * self.plan.batch_users, len(data.paired))
        users = rng.choice(data.paired, count, replace=False)
        return self._ahead(network, users, rng)

    def gain(self, network: LastState) -> float:
        """Return the negated loss on held-out users."""
        if len(self.data.halved) < 2:
            return 0.0
        with torch.no_grad():
            ahead = self._ahead(network, self.data.halved, np.random.default_rng(0))
        return -float(ahead)

    def _ahead(self, network: LastState, users: Int64s, rng: np.random.Generator) -> Tensor:
        data = self.data
        spans = random_spans(data.events.offsets, users, longest=self.plan.slice_events, rng=rng)
        inputs = slice_inputs(data.featurizer, data.events, spans, self.device)
        _, states = network(*inputs)
        return next_event_loss(self.heads, data.featurizer, inputs, states)


@dataclass(frozen=True)
class Supervised:
    """A GRU told the labels: binary cross-entropy on prefixes, half of them violators'."""

    data: RecipeData
    plan: TrainingPlan
    device: torch.device
    heads: nn.Module

    def loss(self, network: LastState, rng: np.random.Generator) -> Tensor:
        """Return the loss of a batch of prefixes."""
        data = self.data
        users = draw_labelled(data.violators, data.others, 2 * self.plan.labelled_users, rng=rng)
        return self._told(network, users, rng)

    def gain(self, network: LastState) -> float:
        """Return the negated loss on held-out labelled users."""
        with torch.no_grad():
            told = self._told(network, self.data.labelled, np.random.default_rng(0))
        return -float(told)

    def _told(self, network: LastState, users: Int64s, rng: np.random.Generator) -> Tensor:
        data = self.data
        spans = prefix_spans(data.events.offsets, users, longest=LABELLED_EVENTS, rng=rng)
        _, states = network(*slice_inputs(data.featurizer, data.events, spans, self.device))
        ends = torch.from_numpy(np.cumsum(spans.last - spans.first) - 1).to(self.device)
        wanted = torch.from_numpy(data.is_violator_N[users]).to(states)
        logit = self.heads(states[ends]).squeeze(1)
        return functional.binary_cross_entropy_with_logits(logit, wanted)


def random_spans(
    offsets: Int64s, users: Int64s, *, longest: int, rng: np.random.Generator
) -> Spans:
    """Return a slice of each user: a random length of two at least, anywhere."""
    size = np.diff(offsets)[users]
    most = np.minimum(size, longest)
    least = np.minimum(most, 2)
    length = least + (rng.random(len(users)) * (most - least + 1)).astype(np.int64)
    first = offsets[users] + (rng.random(len(users)) * (size - length + 1)).astype(np.int64)
    return Spans(first, first + length)


def hard_contrast(vectors_BH: Tensor, owner_B: Tensor) -> Tensor:
    """Return the contrastive loss (Hadsell et al. 2006) with the hardest negatives of each slice.

    Squared distance of slices of one owner, squared shortfall from the margin of the nearest slices
    of others; distances of unit vectors are at most 2.
    """
    distance = torch.sqrt((2 - 2 * vectors_BH @ vectors_BH.T).clamp(min=1e-6))
    same = owner_B[:, None] == owner_B[None, :]
    itself = torch.eye(len(owner_B), dtype=torch.bool, device=owner_B.device)
    attract = distance[same & ~itself].pow(2)
    others = distance.masked_fill(same, 4.0)
    nearest = torch.topk(others, min(HARDEST, len(owner_B) - 1), dim=1, largest=False).values
    repel = functional.relu(MARGIN - nearest).pow(2)
    return (attract.sum() + repel.sum()) / (attract.numel() + repel.numel())


@torch.no_grad()
def encode(network: LastState, data: RecipeData, spans: Spans, device: torch.device) -> Vectors:
    """Return the unit vectors of slices, each by its latest events."""
    cut = Spans(np.maximum(spans.first, spans.last - LONGEST), spans.last)
    vectors = np.empty((len(cut.first), network.dim), dtype=np.float32)
    for place, piece in in_pieces(cut, events_at_once=EVENTS_AT_ONCE):
        inputs = slice_inputs(data.featurizer, data.events, piece, device)
        vectors[place] = network(*inputs)[0].cpu().numpy()
    return vectors


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
