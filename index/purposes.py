"""Ways to compare users: as their vectors are, or with other weights of the blocks.

A block of weight w is stored at length sqrt(w). Where a purpose gives it the weight v, the query's
block is multiplied by v / w, and its inner product with any stored vector is the sum of v * cosine
over the blocks: the same vectors serve, nothing is stored twice but the hub correction, which is of
the purpose's own similarities.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors, `D` dimensions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from index.approximate import ApproximateIndex
from index.errors import NotAVector
from index.exact import ExactIndex
from index.vectors import Floats, Vectors

SHORTEST = 1e-6  # of a query under a purpose: less is nothing but rounding


class Block(Protocol):
    """A slice of the vectors and its share of a user's similarity to itself."""

    @property
    def name(self) -> str: ...

    @property
    def start(self) -> int: ...

    @property
    def stop(self) -> int: ...

    @property
    def weight(self) -> float: ...


@dataclass(frozen=True)
class View:
    """One way to compare users.

    Attributes:
        everyone: Exact index of all users.
        violators: Exact index of known violators.
        approximate: Approximate index of all users; None in small builds, and under a purpose.
        scale_D: By what a product in each dimension is multiplied; None where vectors are compared
            as they are.
    """

    everyone: ExactIndex
    violators: ExactIndex
    approximate: ApproximateIndex | None
    scale_D: Floats | None = None

    def weigh(self, query_QD: Vectors) -> Vectors:
        """Return what to search for, so that inner products with the gallery are cosines.

        The gallery's vectors have all their blocks at the length of their weights, as composed
        vectors have; a query need not.

        Raises:
            NotAVector: If a query has nothing in the blocks that count.
        """
        if self.scale_D is None:
            return query_QD
        length_Q = self._lengths(query_QD)
        if (length_Q < SHORTEST).any():
            raise NotAVector(
                "the query vector has nothing in the blocks that count for this purpose",
                pointer="vector",
                item=int(np.argmax(length_Q < SHORTEST)),
            )
        weighed: Vectors = (query_QD * self.scale_D / length_Q[:, None]).astype(np.float32)
        return weighed

    def products(self, query_D: Vectors, vectors_KD: Vectors) -> npt.NDArray[np.float64]:
        """Return each dimension's part in the cosines of a query, K by D, float64."""
        product_KD = vectors_KD.astype(np.float64) * query_D
        if self.scale_D is None:
            return product_KD
        length_K = self._lengths(vectors_KD) * self._lengths(query_D[None])
        return product_KD * self.scale_D / np.maximum(length_K, SHORTEST)[:, None]

    def _lengths(self, vectors_MD: Vectors) -> npt.NDArray[np.float64]:
        assert self.scale_D is not None
        length_M = np.einsum(
            "md,md,d->m", *(vectors_MD, vectors_MD, self.scale_D), dtype=np.float64
        )
        return np.asarray(np.sqrt(length_M))


def scale_of(blocks: Sequence[Block], weights: Mapping[str, float]) -> Floats:
    """Return the weight of a purpose over that of the vector, for each dimension, float32."""
    total = sum(weights.values())
    scale_D = np.zeros(blocks[-1].stop, dtype=np.float32)
    for block in blocks:
        scale_D[block.start : block.stop] = weights.get(block.name, 0.0) / total / block.weight
    return scale_D
