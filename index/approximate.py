"""Approximate search: an index of distinct vectors, and their users in the answers.

Identical vectors are one entry of the index and are spread to their rows in the answer: thousands
of equal bots would otherwise fill each other's links and cut a graph apart.

Shape key: `N` stored vectors, `E` entries (distinct ones), `Q` queries, `K` neighbors,
`D` dimensions.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from index.distinct import Entries
from index.errors import BuildCorrupt
from index.vectors import Floats, Neighbors, Rows, Vectors, ties_by_row

LocalKind = Literal["hnsw", "ivf_flat", "ivf_sq8", "ivf_rabitq", "symqg"]
ApproximateKind = LocalKind | Literal["milvus"]
IndexKind = Literal["exact"] | ApproximateKind


class EntryIndex(Protocol):
    """Finds entries; an instance is never changed, so threads may share it."""

    @property
    def kind(self) -> ApproximateKind:
        """What it is called in manifests and answers."""
        ...

    @property
    def num_entries(self) -> int:
        """E."""
        ...

    @property
    def dim(self) -> int:
        """D of the queries."""
        ...

    @property
    def effort(self) -> int:
        """What a search spends where it names nothing: the beam of a graph, lists to probe."""
        ...

    @property
    def refine(self) -> int:
        """Candidates scored again, exactly, for each neighbor; 1 where scores are exact anyway."""
        ...

    def with_effort(self, effort: int) -> "EntryIndex":
        """Return the same index, searched with another effort."""
        ...

    def search_entries(self, query_QD: Vectors, *, k: int, effort: int | None = None) -> Neighbors:
        """Return about the k best entries for each query, best first, with their scores.

        Raises:
            DimensionMismatch: If D is not the dimension of this index.
        """
        ...

    def save(self, directory: Path) -> None:
        """Write what `load` of the same class reads.

        Raises:
            OSError: If the disk does not take it.
        """
        ...


@dataclass(frozen=True)
class ApproximateIndex:
    """An approximate index of rows."""

    entries: Entries
    inner: EntryIndex

    def __post_init__(self) -> None:
        if self.inner.num_entries != self.entries.num_entries:
            raise BuildCorrupt(
                f"the index holds {self.inner.num_entries} entries instead of "
                f"{self.entries.num_entries}"
            )

    @property
    def num_vectors(self) -> int:
        """N."""
        return len(self.entries.entry_N)

    @property
    def dim(self) -> int:
        """D of the queries."""
        return self.inner.dim

    def with_effort(self, effort: int) -> "ApproximateIndex":
        """Return the same index, searched with another effort."""
        return ApproximateIndex(self.entries, self.inner.with_effort(effort))

    def search(self, query_QD: Vectors, *, k: int, effort: int | None = None) -> Neighbors:
        """Return about the k rows with the largest (corrected) inner product for each query."""
        if self.num_vectors == 0 or len(query_QD) == 0:
            return Neighbors.none(len(query_QD), k)
        found = self.inner.search_entries(query_QD, k=k, effort=effort)
        if self.entries.num_entries == self.num_vectors:  # then entry e is row e
            return ties_by_row(found)
        return self._spread(found.rows_QK, found.score_QK)

    def _spread(self, entry_QK: Rows, score_QK: Floats) -> Neighbors:
        """Replace entries by their rows, and order equal scores by row."""
        entries, count = self.entries, np.count_nonzero  # a third of the time of `any`
        if not count(entry_QK < 0) and not count(entries.is_shared_E.take(entry_QK)):
            rows_QK = entries.first_rows_E.take(entry_QK)  # mostly so, and quick
        else:
            start_QK = entries.offsets_E.take(entry_QK)
            size_QK = np.where(entry_QK < 0, 0, entries.offsets_E.take(entry_QK + 1) - start_QK)
            rows_QK, score_QK = self._unfold(start_QK, size_QK, score_QK)
        return ties_by_row(Neighbors(rows_QK, score_QK))

    def _unfold(self, start_QK: Rows, size_QK: Rows, score_QK: Floats) -> tuple[Rows, Floats]:
        """Return the first k rows of the entries of each query, one entry after the other."""
        num_queries, k = size_QK.shape
        if num_queries == 1 and size_QK[0, 0] >= k:  # whoever looks like a crowd of equals
            start = start_QK[0, 0]
            rows_K = self.entries.rows_N[start : start + k].copy()
            return rows_K[None], np.repeat(score_QK[:, :1], k, axis=1)
        before_QK = np.cumsum(size_QK, axis=1) - size_QK
        taken = np.clip(k - before_QK, 0, size_QK).ravel()
        within = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
        place = np.repeat((before_QK + np.arange(num_queries)[:, None] * k).ravel(), taken) + within
        rows = np.full(num_queries * k, -1, dtype=np.int64)
        score = np.full(num_queries * k, -np.inf, dtype=np.float32)
        rows[place] = self.entries.rows_N[np.repeat(start_QK.ravel(), taken) + within]
        score[place] = np.repeat(score_QK.ravel(), taken)
        return rows.reshape(num_queries, k), score.reshape(num_queries, k)
