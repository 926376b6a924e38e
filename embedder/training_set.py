"""What the networks train on, in memory, and slices of it as tensors."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from embedder.devices import to_device
from embedder.featurizer import EncodedEvents, Featurizer
from embedder.network import SliceEncoder
from embedder.profiles import Floats
from embedder.slices import Spans, in_pieces
from embedder.slots import SliceSlots
from store.sequences import Int64s

EVENTS_AT_ONCE, EVENTS_AT_ONCE_ON_CPU = 65_536, 16_384
"""More events would leave the cache of a CPU, where layers take half as long again then."""
SUPERVISED_MIN = 30


@dataclass(frozen=True)
class TrainingSet:
    """All that the loops need.

    Attributes:
        featurizer, events: The training users' encoded events.
        paired: Users with at least two events that are trained on.
        violators, others: Users whose labels supervise; `kind_N` is the kind of violation or -1.
        validation: Held-out users that can be halved.
        validation_labelled: Held-out labelled users; `kind_N` tells their class.
    """

    featurizer: Featurizer
    events: EncodedEvents
    paired: Int64s
    violators: Int64s
    others: Int64s
    kind_N: Int64s
    validation: Int64s
    validation_labelled: Int64s

    @property
    def supervised(self) -> bool:
        """Whether there are labels of both classes to learn from and to validate on."""
        told = self.kind_N[self.validation_labelled] >= 0
        few = min(len(self.violators), len(self.others)) < SUPERVISED_MIN
        return not few and 0 < told.sum() < len(told)


def events_at_once(device: torch.device) -> int:
    """Return how many events a network reads at a time where no gradient is kept."""
    return EVENTS_AT_ONCE_ON_CPU if device.type == "cpu" else EVENTS_AT_ONCE


def slice_inputs(
    featurizer: Featurizer, events: EncodedEvents, spans: Spans, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return slot ids, weights and slice sizes as tensors."""
    return tensors_of(SliceSlots.of(featurizer, events, spans), device)


def tensors_of(slices: SliceSlots, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return slot ids, weights and slice sizes as tensors."""
    ids, weights = slices.slots
    return to_device(ids, device), to_device(weights, device), to_device(slices.size_B, device)


def encode_spans(
    network: SliceEncoder,
    featurizer: Featurizer,
    events: EncodedEvents,
    spans: Spans,
    device: torch.device,
) -> Floats:
    """Return the unit vector of each slice, in pieces of bounded size; every slice has an event."""
    network.eval()
    vectors = np.empty((len(spans.first), network.dim), dtype=np.float32)
    for place, piece in in_pieces(spans, events_at_once=events_at_once(device)):
        vectors[place] = _read(network, SliceSlots.of(featurizer, events, piece), device)
    return vectors


def encode_slices(network: SliceEncoder, slices: SliceSlots, device: torch.device) -> Floats:
    """Return the unit vector of each slice, whose slots are at hand; every slice has an event."""
    network.eval()
    vectors = np.empty((len(slices.size_B), network.dim), dtype=np.float32)
    for place, piece in slices.pieces(events_at_once=events_at_once(device)):
        vectors[place] = _read(network, piece, device)
    return vectors


@torch.no_grad()
def _read(network: SliceEncoder, slices: SliceSlots, device: torch.device) -> Floats:
    vectors: Floats = network(*tensors_of(slices, device)).cpu().numpy()
    return vectors
