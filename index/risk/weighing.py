"""What the blocks of a vector count for risk.

A search asks who acts alike, of which labels tell little, so the blocks that were learned from
labels hardly count there. Risk asks what became of those who act alike, and there they count. A
block of weight w is stored at length sqrt(w); at sqrt(v / w) times that it counts v.

Shape key: `Q` vectors, `D` dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embedder.composite import LABEL_BLOCKS, Block
from embedder.opinion import OPINION
from index.vectors import Vectors

Span = tuple[int, int, float]


@dataclass(frozen=True)
class Weighing:
    """Lengthens blocks of unit vectors and shortens others; what comes out are unit vectors.

    Attributes:
        spans: Start, stop and factor of each block; without any, vectors stay as they are.
    """

    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, blocks: Sequence[Block], *, label_share: float) -> "Weighing":
        """Give the blocks that were learned from labels a share; others stand as they stood."""
        told = sum(block.weight for block in blocks if block.name in LABEL_BLOCKS)
        left = sum(block.weight for block in blocks if block.name not in LABEL_BLOCKS)
        if min(told, left) <= 0:
            return cls()
        learned, other = np.sqrt(label_share / told), np.sqrt((1 - label_share) / left)
        return cls(
            tuple(
                (block.start, block.stop, float(learned if block.name in LABEL_BLOCKS else other))
                for block in blocks
            )
        )

    def weigh(self, vectors_QD: Vectors) -> Vectors:
        """Return the vectors as they count for risk, Q x D."""
        if not self.spans:
            return vectors_QD
        weighed: Vectors = vectors_QD * self._factor_D
        return weighed

    @cached_property
    def _factor_D(self) -> Vectors:
        factor_D = np.empty(self.spans[-1][1], dtype=np.float32)
        for start, stop, factor in self.spans:
            factor_D[start:stop] = factor
        return factor_D


def place_of_opinion(blocks: Sequence[Block]) -> tuple[int, int]:
    """Return where in a vector the opinion stands, from and to; (0, 0) for nowhere."""
    for block in blocks:
        if block.name == OPINION:
            return block.start, block.stop
    return 0, 0
