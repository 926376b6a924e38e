"""A build whose vectors are searched elsewhere than in its mapped files.

Shape key: `Q` queries, `K` neighbors, `D` dimensions.
"""

from typing import Protocol

from index.answers import NeighborRequest, SearchMode
from index.tombstones import Tombstones
from index.vectors import Neighbors, Vectors


class RemoteSearch(Protocol):
    """Answers every search of a build but those that ask for an exact one."""

    def find(
        self, query_QD: Vectors, request: NeighborRequest, tombstones: Tombstones, *, k: int
    ) -> tuple[Neighbors, SearchMode]:
        """Return about the k best rows for each query, and how they were found.

        Hidden rows may be among them where nothing is filtered; the caller takes them out.
        """
        ...
