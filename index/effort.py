"""How much a search spends, by how many neighbors it is for."""

from dataclasses import dataclass

SHALLOW, DEEP = 10, 100
"""Neighbors at which an index is tuned."""


@dataclass(frozen=True)
class Effort:
    """Beam width of a graph, or lists to probe.

    One effort for all depths would be that of the deepest: the hundredth neighbor takes several
    times what the tenth does, and most searches are for few.

    Attributes:
        at_10: For ten neighbors and fewer.
        at_100: For a hundred; no less than for ten.
    """

    at_10: int
    at_100: int

    @classmethod
    def same(cls, effort: int) -> "Effort":
        """Spend the same at every depth."""
        return cls(effort, effort)

    def at(self, k: int) -> int:
        """Return the effort for k neighbors, by the straight line through the two known."""
        if k <= SHALLOW:
            return self.at_10
        return self.at_10 - (self.at_10 - self.at_100) * (k - SHALLOW) // (DEEP - SHALLOW)
