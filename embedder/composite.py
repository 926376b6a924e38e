"""The composite vector: blocks of unit length, weighted so that one inner product serves all uses.

`v = normalize(sqrt(w_b) behavior | sqrt(w_c) conduct | sqrt(w_t) target | ...)`, so the similarity
of two users is the sum of `w * cosine` over the blocks, and each block's share explains it.

Shape key: `B` users, `D` dimensions of the composite vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from embedder.opinion import OPINION
from embedder.profiles import Floats
from store.sequences import Int64s

LABEL_BLOCKS = ("conduct", OPINION)
"""The blocks that are learned from labels."""


@dataclass(frozen=True)
class Block:
    """A slice of the composite vector; `weight` is its share of a user's similarity to itself."""

    name: str
    start: int
    stop: int
    weight: float


@dataclass(frozen=True)
class Composer:
    """Joins blocks into one vector.

    Attributes:
        blocks: Order, place and weight of the blocks.
        means: Population mean of each block's unit vectors: what a user without events looks like.
        shrink_events: Pseudo-events of the population mixed into every user.
        purposes: Purpose to block to weight, where a query may be weighted otherwise.
    """

    blocks: tuple[Block, ...]
    means: Mapping[str, Floats]
    shrink_events: float
    purposes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """D."""
        return self.blocks[-1].stop

    def compose(self, raw: Mapping[str, Floats], num_events_B: Int64s) -> Floats:
        """Return composite unit vectors, B x D, from the blocks' raw vectors.

        A user with n events keeps n / (n + shrink_events) of its own direction; the rest is the
        population's. A block in which a user has nothing at all is the population's alone. The
        opinion is not drawn: it was learned at every age, so it knows how little it has seen.
        """
        drawn_B1 = (num_events_B / (num_events_B + self.shrink_events))[:, None].astype(np.float32)
        whole_B1 = (num_events_B > 0)[:, None].astype(np.float32)
        vectors = np.empty((len(num_events_B), self.dim), dtype=np.float32)
        for block in self.blocks:
            unit = unit_rows(raw[block.name])
            own_B1 = whole_B1 if block.name == OPINION else drawn_B1
            drawn = own_B1 * unit + (1 - own_B1) * self.means[block.name]
            vectors[:, block.start : block.stop] = unit_rows(drawn) * np.float32(
                np.sqrt(block.weight)
            )
        return unit_rows(vectors)


def lay_out(dims: Mapping[str, int], weights: Mapping[str, float]) -> tuple[Block, ...]:
    """Return the blocks one after the other; blocks without dimensions or weight are left out."""
    blocks: list[Block] = []
    total = sum(weights[name] for name, dim in dims.items() if dim > 0)
    for name, dim in dims.items():
        if dim > 0 and weights[name] > 0:
            start = blocks[-1].stop if blocks else 0
            blocks.append(Block(name, start, start + dim, weights[name] / total))
    return tuple(blocks)


def mean_units(raw: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the mean of each block's unit vectors."""
    return {name: unit_rows(values).mean(axis=0) for name, values in raw.items()}


def unit_rows(values: Floats) -> Floats:
    """Scale rows to unit length; a zero row stays zero."""
    scaled: Floats = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    return scaled.astype(np.float32, copy=False)


def channel_similarities(
    first_BD: Floats, second_BD: Floats, blocks: Sequence[Block]
) -> dict[str, Floats]:
    """Return each block's share of the similarity of matching rows; they sum to the similarity."""
    return {
        block.name: np.einsum(
            "bd,bd->b",
            first_BD[:, block.start : block.stop],
            second_BD[:, block.start : block.stop],
        )
        for block in blocks
    }
