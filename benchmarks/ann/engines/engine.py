"""What a measured library is to the worker: it builds into a folder, loads from it, and searches.

Vectors have length one, so that inner product, cosine and Euclidean distance rank alike and each
engine takes the metric that its library is best at. An engine of the peers' environment imports
NumPy and its library alone.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors, `D` dimensions, `F` filters, `M` rows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Params = Mapping[str, Any]

ROWS_AT_ONCE = 10_000


class Unsupported(Exception):
    """The library can't do this; the message says why, and takes the figures' place."""


class Engine(Protocol):
    """A library with one index.

    Ids are the rows of the vectors that were built from; -1 where fewer than K were found. One that
    starts processes has an attribute `has_servers`, which makes their memory count.
    """

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        """Index the vectors and leave all that `load` needs in the folder, which is empty.

        Args:
            vectors_ND: Unit rows, mapped from a file.
            flags_NF: Which rows each filter lets through.
            folder: Where the index is kept.
            params: Build parameters of the method.
            threads: How many threads the build may use.
        """
        ...

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        """Make ready to search what `build` left."""
        ...

    def tune(self, effort: Params) -> None:
        """Set the parameters of the searches that follow."""
        ...

    def search(self, query_QD: Vectors, k: int) -> Ids:
        """Return the ids of about the k nearest of each query, best first, Q by k."""
        ...

    def close(self) -> None:
        """End what was started; called once, also after a failure."""
        ...


@runtime_checkable
class FilteringEngine(Protocol):
    """An engine that can search among the rows that a filter lets through."""

    def search_filtered(self, query_QD: Vectors, k: int, filter_number: int) -> Ids:
        """Return the nearest rows among those that pass the filter of this column of the flags."""
        ...


@runtime_checkable
class UpdatingEngine(Protocol):
    """An engine that can change what it has loaded."""

    def remove(self, ids_M: Ids) -> None:
        """Forget these rows: no later search returns them."""
        ...

    def add(self, ids_M: Ids, vectors_MD: Vectors) -> None:
        """Add vectors under new ids: the next search finds them."""
        ...


@runtime_checkable
class SessionEngine(Protocol):
    """An engine of which each searching thread needs a session of its own."""

    def session(self) -> Engine:
        """Return what another thread searches with; it shares the index."""
        ...


@runtime_checkable
class RoundTripEngine(Protocol):
    """An engine behind a connection, which costs something whatever is asked."""

    def round_trip(self, query_QD: Vectors, k: int) -> Ids:
        """Send each query and receive k ids, as a search does, without searching; Q by k."""
        ...


def padded(ids: npt.ArrayLike, k: int) -> Ids:
    """Return the ids of one query as a row of length k."""
    row = np.full(k, -1, dtype=np.int64)
    found = np.asarray(ids, dtype=np.int64)[:k]
    row[: len(found)] = found
    return row


def filter_name(number: int) -> str:
    """Return the column of a filter, for engines that keep named attributes."""
    return f"f{number}"
