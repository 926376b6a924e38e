"""A build whose vectors are searched elsewhere than in its mapped files.

Shape key: `Q` queries, `K` neighbors, `D` dimensions.
"""

from typing import Protocol

from index.answers import NeighborRequest, SearchMode
from index.slices import Slice
from index.vectors import Neighbors, Vectors


class RemoteSearch(Protocol):
    """Answers the searches of a build that not everyone passes, but those that must be exact."""

    def find(
        self, query_QD: Vectors, request: NeighborRequest, part: Slice | None, *, k: int
    ) -> tuple[Neighbors, SearchMode]:
        """Return about the k best entries for each query, and how they were found.

        Args:
            query_QD: Unit vectors.
            request: Its filter, view and effort.
            part: The users whom the filter lets through; None without a filter.
            k: Entries per query, each with a user who passes.
        """
        ...
