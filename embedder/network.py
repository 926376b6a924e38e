"""The learned part: a bag of slots per event, a backbone over the events, a unit vector per slice.

`TwinBackbone` looks at each event alone (Deep Sets, Zaheer et al. 2017) and is the order-free twin
of the sequence models, `GruBackbone` and `TransformerBackbone`, which read them in order; the
states are pooled by mean and maximum. Sequences longer than a chunk are read in chunks of equal
weight per event, so cost and memory grow linearly with the events.

Shape key: `E` events of all slices, `S` slots, `B` slices, `P` pieces of slices, `H` state width,
`D` block dimensions, `X` width of an event.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from embedder.config import BackboneName
from embedder.transformer import CausalTransformer

CHUNK_EVENTS, DROPOUT = 64, 0.2
# Chunks of like length are padded together; on a GPU each length is waited for, so there are few.
CHUNK_LENGTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, CHUNK_EVENTS)


class SlotBag(nn.Module):
    """Weighted sum of table rows per event."""

    def __init__(self, num_slots: int, width: int) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(num_slots, width, mode="sum")
        nn.init.normal_(self.table.weight, std=0.3)
        self.norm = nn.LayerNorm(width)

    def forward(self, ids_ES: Tensor, weights_ES: Tensor) -> Tensor:
        """Return one vector per event, E x width."""
        normed: Tensor = self.norm(self.table(ids_ES, per_sample_weights=weights_ES))
        return normed


class TwinBackbone(nn.Module):
    """Order-free: each event through a small network."""

    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        self.event = nn.Sequential(
            nn.Linear(width, state), nn.GELU(), nn.Linear(state, state), nn.GELU()
        )

    def forward(self, events_EX: Tensor, sizes_B: Tensor) -> Tensor:
        """Return the state of each event, E x H."""
        states: Tensor = self.event(events_EX)
        return states


class GruBackbone(nn.Module):
    """In order: a GRU over chunks of a slice."""

    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, state, batch_first=True)

    def forward(self, events_EX: Tensor, sizes_B: Tensor) -> Tensor:
        """Return the state after each event, E x H."""
        if torch.is_grad_enabled():  # the way back through packed chunks takes half as long again
            return chunked_states(lambda padded: self.gru(padded)[0], events_EX, sizes_B)
        return packed_states(self.gru, events_EX, sizes_B)


class TransformerBackbone(nn.Module):
    """In order: a causal transformer over chunks of a slice."""

    def __init__(self, width: int, state: int, layers: int) -> None:
        super().__init__()
        self.transformer = CausalTransformer(width, state, layers, longest=CHUNK_EVENTS)

    def forward(self, events_EX: Tensor, sizes_B: Tensor) -> Tensor:
        """Return the state after each event, E x H."""
        return chunked_states(self.transformer, events_EX, sizes_B)


class SliceEncoder(nn.Module):
    """Slots to one vector per slice: a bag of slots, a backbone, pooled states, a projection."""

    def __init__(
        self,
        backbone: BackboneName,
        *,
        num_slots: int,
        hidden: int,
        state: int,
        dim: int,
        layers: int = 1,
    ) -> None:
        super().__init__()
        self.shape = {
            "backbone": backbone,
            "num_slots": num_slots,
            "hidden": hidden,
            "state": state,
            "dim": dim,
        }
        if backbone == "transformer":
            self.shape["layers"] = layers
        self.backbone_name, self.dim = backbone, dim
        self.bag = SlotBag(num_slots, hidden)
        self.backbone = make_backbone(backbone, hidden, state, layers)
        self.mix = nn.Sequential(
            nn.LayerNorm(2 * state),
            nn.Dropout(DROPOUT),
            nn.Linear(2 * state, state),
            nn.GELU(),
            nn.Linear(state, dim),
        )

    def forward(self, ids_ES: Tensor, weights_ES: Tensor, sizes_B: Tensor) -> Tensor:
        """Return unit vectors of the slices, B x D, in float32 under autocast too."""
        states = self.states(ids_ES, weights_ES, sizes_B)
        pooled = torch.cat([segment_mean(states, sizes_B), segment_max(states, sizes_B)], dim=1)
        return unit(self.mix(pooled).float())

    def states(self, ids_ES: Tensor, weights_ES: Tensor, sizes_B: Tensor) -> Tensor:
        """Return the states after each event, E x H, float32."""
        states: Tensor = self.backbone(self.bag(ids_ES, weights_ES), sizes_B).float()
        return states


def make_backbone(name: BackboneName, width: int, state: int, layers: int) -> nn.Module:
    """Return a backbone with fresh weights; only a transformer has more than one layer."""
    match name:
        case "twin":
            return TwinBackbone(width, state)
        case "gru":
            return GruBackbone(width, state)
        case "transformer":
            return TransformerBackbone(width, state, layers)


def segment_mean(values_EX: Tensor, sizes_B: Tensor) -> Tensor:
    """Return the mean of each run of rows; zero for an empty run."""
    owner = owner_of_rows(sizes_B, len(values_EX))
    sums = values_EX.new_zeros(len(sizes_B), values_EX.shape[1]).index_add_(0, owner, values_EX)
    return sums / sizes_B.clamp(min=1).unsqueeze(1).to(sums.dtype)


def segment_max(values_EX: Tensor, sizes_B: Tensor) -> Tensor:
    """Return the greatest value of each run of rows and column; no run may be empty."""
    owner = owner_of_rows(sizes_B, len(values_EX))
    start = values_EX.new_full((len(sizes_B), values_EX.shape[1]), -torch.inf)
    return start.scatter_reduce(0, owner[:, None].expand_as(values_EX), values_EX, "amax")


def chunked_states(read: Callable[[Tensor], Tensor], events_EX: Tensor, sizes_B: Tensor) -> Tensor:
    """Return the state after each event, E x H, of a reader that begins anew with each chunk."""
    chunk_E, place_E, chunk_sizes = chunk_places(sizes_B)
    return padded_states(read, events_EX, chunk_E, place_E, chunk_sizes, lengths=CHUNK_LENGTHS)


def packed_states(gru: nn.GRU, events_EX: Tensor, sizes_B: Tensor) -> Tensor:
    """Return what `chunked_states` of a GRU returns, without padding; at least one event.

    Events are laid out by their place in the chunk: all first ones, then all second ones. Longer
    chunks stand before shorter ones, so that those which have a step are the first ones.
    """
    chunk_E, place_E, sizes_P = chunk_places(sizes_B)
    order_P = torch.argsort(sizes_P, descending=True, stable=True)
    rank_P = torch.empty_like(order_P).index_copy(
        0, order_P, torch.arange(len(order_P), device=order_P.device)
    )
    chunks_of_step = torch.bincount(place_E)
    begin_of_step = torch.cumsum(chunks_of_step, 0) - chunks_of_step
    packed_E = begin_of_step[place_E] + rank_P[chunk_E]
    packed_EX = torch.empty_like(events_EX).index_copy(0, packed_E, events_EX)
    states, _ = gru(PackedSequence(packed_EX, chunks_of_step.cpu()))
    states_EH: Tensor = states.data[packed_E]
    return states_EH


def padded_states(
    read: Callable[[Tensor], Tensor],
    events_EX: Tensor,
    piece_E: Tensor,
    place_E: Tensor,
    sizes_P: Tensor,
    *,
    lengths: Sequence[int],
) -> Tensor:
    """Return the state after each event, E x H; pieces of like length are padded together.

    Args:
        read: From events, P x length x X, to states, P x length x H; no state depends on later
            events, and so none on the padding.
        events_EX: The events, one piece after the other; at least one.
        piece_E, place_E: The piece of each event, and its place within.
        sizes_P: Events of each piece; none has more than the last of `lengths`.
        lengths: What pieces are padded to, ascending.
    """
    rows: list[Tensor] = []
    states: list[Tensor] = []
    shorter = 0
    for longest in lengths:
        inside_P = (sizes_P > shorter) & (sizes_P <= longest)
        number_P = torch.cumsum(inside_P, 0) - 1
        mine = torch.nonzero(inside_P[piece_E]).squeeze(1)
        shorter = longest
        if len(mine):
            row, place = number_P[piece_E[mine]], place_E[mine]
            padded = events_EX.new_zeros(int(number_P[-1]) + 1, longest, events_EX.shape[1])
            padded = padded.index_put((row, place), events_EX[mine])
            rows.append(mine)
            states.append(read(padded)[row, place])
    states_EH = torch.cat(states)
    return torch.empty_like(states_EH).index_copy(0, torch.cat(rows), states_EH)


def chunk_places(sizes_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the chunk of each event, its place within, and the sizes of the chunks."""
    device = sizes_B.device
    starts = torch.cumsum(sizes_B, 0) - sizes_B
    owner = torch.repeat_interleave(torch.arange(len(sizes_B), device=device), sizes_B)
    within = torch.arange(len(owner), device=device) - starts[owner]
    num_chunks = torch.div(sizes_B + CHUNK_EVENTS - 1, CHUNK_EVENTS, rounding_mode="floor")
    first_chunk = torch.cumsum(num_chunks, 0) - num_chunks
    chunk_E = first_chunk[owner] + torch.div(within, CHUNK_EVENTS, rounding_mode="floor")
    return chunk_E, within % CHUNK_EVENTS, torch.bincount(chunk_E)


def owner_of_rows(sizes_B: Tensor, num_rows: int) -> Tensor:
    """Return the run of each row; a GPU is not waited for, as the number of rows is known."""
    runs = torch.arange(len(sizes_B), device=sizes_B.device)
    return torch.repeat_interleave(runs, sizes_B, output_size=num_rows)


def unit(values_BD: Tensor) -> Tensor:
    """Scale rows to unit length."""
    return functional.normalize(values_BD, dim=1, eps=1e-6)
