"""What the networks train on, in memory, and slices of it as tensors."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from embedder.devices import to_device
from embedder.featurizer import EncodedEvents, Featurizer
from embedder.network import SliceEncoder
from embedder.profiles import Floats, profile_slots
from embedder.slices import Spans, in_pieces, span_rows
from store.sequences import Int64s

EVENTS_AT_ONCE = 65_536
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


def slice_inputs(
    featurizer: Featurizer, events: EncodedEvents, spans: Spans, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return slot ids, weights and slice sizes as tensors."""
    rows, owner = span_rows(spans)
    ids, weights = profile_slots(featurizer, events, rows, spans.first[owner])
    sizes = spans.last - spans.first
    return to_device(ids, device), to_device(weights, device), to_device(sizes, device)


@torch.no_grad()
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
    for place, piece in in_pieces(spans, events_at_once=EVENTS_AT_ONCE):
        inputs = slice_inputs(featurizer, events, piece, device)
        vectors[place] = network(*inputs).cpu().numpy()
    return vectors
