"""Approximate indexes of slices: inverted files of their own, proven by queries from anywhere.

A filter that lets through whole groups of users leaves whole parts of the space empty. An index of
everyone looks for neighbors there in vain; lists of those who pass lie where they are. Most queries
come from users who do not pass, though, some from far away, and those need many more lists. So the
lists to probe are tuned until both kinds of queries reach the target of the build, failures
counted: those of users anywhere, and those of users who pass. Where they don't, or where that takes
as long as a scan, there is no index, and the slice is scanned. Else queries near to a list probe
only what is within reach (`index/reach.py`), where that is proven too; the others probe all.

Shape key: `N` users, `M` entries of a slice, `Q` queries, `D` dimensions.
"""

from dataclasses import dataclass, replace

import numpy as np

from index.approximate import ApproximateIndex
from index.config import IndexConfig
from index.costs import SearchCosts
from index.distinct import Entries
from index.exact import ExactIndex
from index.ivf import REFINE_WIDER, InvertedFile, lists_bytes
from index.questions import DEPTHS, ExactSearch, Questions, answered, ask_beside
from index.reach import with_least_reach
from index.recall import sample_rows
from index.stages import FileKind
from index.tuning import TIMED_QUERIES, microseconds, quality_if_reached, reaches, tune
from index.vectors import Rows

KINDS: tuple[FileKind, ...] = ("ivf_flat", "ivf_sq8", "ivf_rabitq")
"""Quickest first: of 128 dimensions they take some 525, 140 and 35 bytes an entry."""
K_MAX = max(DEPTHS)
NEAR_SHARE = 0.95
"""Of users who pass: queries as near to a list as they are need as few lists as they do."""


@dataclass(frozen=True)
class FittingKind:
    """A kind of index that fits into memory, and what it takes."""

    kind: FileKind
    size_bytes: int


@dataclass(frozen=True)
class SliceIndexes:
    """Makes indexes of slices.

    Attributes:
        everyone: Exact view of all users.
        entries: Which of them share a vector.
        costs: What searches of everyone cost.
        config: The target, and how to tune for it; one thread makes an index, whatever it says.
    """

    everyone: ExactIndex
    entries: Entries
    costs: SearchCosts
    config: IndexConfig

    def pays_for(self, num_entries: int) -> bool:
        """Tell whether a slice is large enough that a scan costs more than a search of everyone."""
        return num_entries > self.costs.scanned_up_to

    def kind_within(self, num_entries: int, max_bytes: float) -> FittingKind | None:
        """Return the quickest kind that fits, and None if none does."""
        width = self.everyone.dim + int(self.everyone.penalty_N is not None)
        for kind in KINDS:
            size_bytes = lists_bytes(kind, num_entries, width)
            if size_bytes <= max_bytes:
                return FittingKind(kind, size_bytes)
        return None

    def make(self, rows_M: Rows, search: ExactSearch, kind: FileKind) -> InvertedFile | None:
        """Return a proven index of some rows, or None; takes seconds or more.

        Entry m of it is row rows_M[m]. With the same arguments it is the same, except where it is
        about as slow as the scan.

        Args:
            rows_M: One row of each entry, ascending.
            search: Searches these rows exactly, and returns rows of the build.
            kind: How vectors are kept.
        """
        entries = self.entries.only(rows_M)
        asked = (self._asked_anywhere(search), self._asked_within(rows_M, search))
        about_Q = np.concatenate([questions.stored_rows for questions in asked])
        lists = InvertedFile.build(
            self.everyone.vectors_ND,
            entries,
            self.config.model_copy(update={"build_threads": 1, "search_threads": 1}),
            kind=kind,
            penalty_N=self.everyone.penalty_N,
            untrained=about_Q[entries.entry_N[about_Q] >= 0],
        ).packed()
        index = self._tuned(ApproximateIndex(entries, lists), asked)
        if index is None and lists.refine > 1:
            wider = lists.with_refine(REFINE_WIDER * lists.refine)
            index = self._tuned(ApproximateIndex(entries, wider), asked)
        if index is None:
            return None
        pruned = with_least_reach(self.everyone, index, asked, self.config, near_share=NEAR_SHARE)
        index = index if pruned is None else pruned[0]
        if not self._is_quicker(index, asked[0]):
            return None
        assert isinstance(index.inner, InvertedFile)
        return replace(index.inner, num_threads=self.everyone.num_threads)

    def _tuned(
        self, index: ApproximateIndex, asked: tuple[Questions, ...]
    ) -> ApproximateIndex | None:
        """Return the index at the effort that all questions need, None if it is too much.

        More effort than was proven may even harm where codes are coarse, so it is proven again.
        """
        assert isinstance(index.inner, InvertedFile)
        most, efforts = index.inner.effort_max, []
        for questions in asked:
            index, quality = tune(self.everyone, index, questions, self.config, effort_max=most)
            if not reaches(quality, self.config):
                return None
            efforts.append(index.inner.effort)
        effort = index.inner.effort
        for questions, proven in zip(asked, efforts, strict=True):
            if (
                proven != effort
                and quality_if_reached(self.everyone, index, questions, self.config) is None
            ):
                return None
        return index

    def _is_quicker(self, index: ApproximateIndex, questions: Questions) -> bool:
        timed = questions.part(TIMED_QUERIES).query_QD
        return microseconds(index, timed) < self.costs.exact(index.inner.num_entries)

    def _asked_within(self, rows_M: Rows, search: ExactSearch) -> Questions:
        """Ask for users who pass and points beside them."""
        generator = self._generator(1)
        num = -(-self.config.tuning_queries // 2)
        drawn = sample_rows(len(rows_M), num=num, generator=generator)
        within = ask_beside(
            self.everyone, rows_M[drawn], search, 2 * len(rows_M), generator=generator
        )
        return replace(within, are_newcomers=True)

    def _asked_anywhere(self, search: ExactSearch) -> Questions:
        """Ask for users, whoever they are: most have no part in the index, as newcomers have not.

        Points beside them would only be easier to find the way from.
        """
        num_users = self.everyone.num_vectors
        rows_Q = sample_rows(
            num_users, num=self.config.tuning_queries, generator=self._generator(0)
        )
        query_QD = np.ascontiguousarray(self.everyone.vectors_ND[rows_Q])
        return answered(query_QD, rows_Q, search(query_QD, k=K_MAX + 1), num_users)

    def _generator(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, self.config.tuning_queries, number])
