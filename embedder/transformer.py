"""A causal transformer over short pieces of a sequence, in torch's own attention.

Pre-norm blocks (Xiong et al. 2020) with rotary positions (Su et al. 2021): attention knows how many
events lie between two, never where in a piece or in time they are.

Shape key: `P` pieces, `T` places, `X` width of an event, `H` state width, `A` heads, `C` width of a
head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

HEAD_WIDTH, WIDENING, DROPOUT = 32, 2, 0.1
ROTARY_BASE = 100.0  # the slowest pair turns once in hundreds of events
EVENTS_AT_ONCE = 32_768


class CausalTransformer(nn.Module):
    """From events to states, of which none depends on later events.

    Memory beside the result is bounded by `EVENTS_AT_ONCE` where no gradient is kept.
    """

    def __init__(self, width: int, state: int, layers: int, *, longest: int) -> None:
        """Draw weights.

        Args:
            width: X.
            state: H, a multiple of twice the number of heads: of one below 64, else of H // 32.
            layers: Blocks of attention and perceptron.
            longest: Most places of a piece.

        Raises:
            ValueError: If the state can't be divided among heads of even width.
        """
        super().__init__()
        heads = max(state // HEAD_WIDTH, 1)
        if state % (2 * heads):
            raise ValueError(f"{heads} heads of even width can't share a state of {state}")
        self.enter = nn.Linear(width, state)
        self.blocks = nn.ModuleList(Block(state, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(state)
        cosine, sine = rotations(longest, state // heads)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, padded_PTX: Tensor) -> Tensor:
        """Return the state after each event, P x T x H."""
        pieces = torch.split(padded_PTX, max(EVENTS_AT_ONCE // padded_PTX.shape[1], 1))
        return torch.cat([self._read(piece) for piece in pieces])

    def _read(self, padded_PTX: Tensor) -> Tensor:
        places = padded_PTX.shape[1]
        turn = self.get_buffer("cosine")[:places], self.get_buffer("sine")[:places]
        states: Tensor = self.enter(padded_PTX)
        for block in self.blocks:
            states = block(states, *turn)
        normed: Tensor = self.norm(states)
        return normed


class Block(nn.Module):
    """Attention to earlier events, then a perceptron on each; both are added to the state."""

    def __init__(self, state: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_perceptron = nn.LayerNorm(state), nn.LayerNorm(state)
        self.project = nn.Linear(state, 3 * state)
        self.join = nn.Linear(state, state)
        self.perceptron = nn.Sequential(
            nn.Linear(state, WIDENING * state), nn.GELU(), nn.Linear(WIDENING * state, state)
        )
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, states_PTH: Tensor, cosine_TC: Tensor, sine_TC: Tensor) -> Tensor:
        """Return the new states, P x T x H."""
        attended = self.attend(self.before_attention(states_PTH), cosine_TC, sine_TC)
        states_PTH = states_PTH + self.dropout(self.join(attended))
        told = self.perceptron(self.before_perceptron(states_PTH))
        added: Tensor = states_PTH + self.dropout(told)
        return added

    def attend(self, normed_PTH: Tensor, cosine_TC: Tensor, sine_TC: Tensor) -> Tensor:
        """Return what each event takes from itself and earlier ones, P x T x H."""
        by_head = self.project(normed_PTH).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query_PATC, key_PATC, value_PATC = by_head
        taken_PATC = functional.scaled_dot_product_attention(
            rotate(query_PATC, cosine_TC, sine_TC).to(value_PATC.dtype),
            rotate(key_PATC, cosine_TC, sine_TC).to(value_PATC.dtype),
            value_PATC,
            is_causal=True,
        )
        return taken_PATC.transpose(1, 2).flatten(2)


def rotations(places: int, width: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of each place's angles, T x C; both halves of C turn alike."""
    speed = ROTARY_BASE ** -(torch.arange(width // 2) / (width // 2))
    angle = torch.arange(places)[:, None] * speed.repeat(2)
    return angle.cos(), angle.sin()


def rotate(values_PATC: Tensor, cosine_TC: Tensor, sine_TC: Tensor) -> Tensor:
    """Turn pairs of dimensions by their place's angles, so that products tell distances."""
    first, second = values_PATC.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return values_PATC * cosine_TC + turned * sine_TC
