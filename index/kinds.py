"""Every kind of index in this process: how it is built, read back, and how far it is widened.

Shape key: `N` stored vectors, `E` entries.
"""

from pathlib import Path
from typing import assert_never

import numpy as np

from index.approximate import ApproximateIndex, EntryIndex, LocalKind
from index.choice import Reach
from index.config import IndexConfig
from index.distinct import Entries
from index.exact import ExactIndex
from index.hnsw import HnswIndex
from index.ivf import InvertedFile
from index.refine import ExactScores
from index.symqg import SymqgIndex, graph_class
from index.vectors import Rows

PROBED_SHARE_MAX = 0.25
"""Of plain lists and bytes; all of the bits take less to read than a tenth of the vectors."""
PROBED_ALWAYS = 64


def check_available(config: IndexConfig) -> None:
    """Tell now, not after users were embedded, that the kind of index named can't be had here.

    Raises:
        KindUnavailable: If its library is not installed, or can't run on this processor.
    """
    if config.kind == "symqg":
        graph_class()


def build_index(
    kind: LocalKind,
    exact: ExactIndex,
    entries: Entries,
    config: IndexConfig,
    *,
    untrained: Rows | None = None,
) -> ApproximateIndex:
    """Build an index over the vectors of an exact one, with its hub correction.

    Rows that are `untrained` are in it, and as hard to find the way from as newcomers, where it
    learns anything of vectors.
    """
    match kind:
        case "hnsw":
            graph = HnswIndex.build(exact.vectors_ND, entries, config, penalty_N=exact.penalty_N)
            return ApproximateIndex(entries, graph)
        case "ivf_flat" | "ivf_sq8" | "ivf_rabitq":
            lists = InvertedFile.build(
                exact.vectors_ND,
                entries,
                config,
                kind=kind,
                penalty_N=exact.penalty_N,
                untrained=untrained,
            )
            return ApproximateIndex(entries, lists)
        case "symqg":
            linked = SymqgIndex.build(exact.vectors_ND, entries, config, penalty_N=exact.penalty_N)
            return ApproximateIndex(entries, linked)
        case _:
            assert_never(kind)


def load_index(
    kind: LocalKind,
    directory: Path,
    exact: ExactIndex,
    entries: Entries,
    *,
    effort: int,
    refine: int,
    num_threads: int,
    reach: Reach | None = None,
    effort_at_10: int | None = None,
) -> ApproximateIndex:
    """Map the index that a build of this kind saved.

    Raises:
        BuildCorrupt: If its files can't be read or don't fit the vectors.
        KindUnavailable: If its library is not installed, or can't run on this processor.
    """
    inner: EntryIndex
    match kind:
        case "hnsw":
            inner = HnswIndex.load(
                directory,
                dim=exact.dim,
                penalty_N=exact.penalty_N,
                effort=effort,
                effort_at_10=effort_at_10,
                num_threads=num_threads,
            )
        case "ivf_flat" | "ivf_sq8" | "ivf_rabitq":
            rows_E = np.ascontiguousarray(entries.first_rows_E)
            inner = InvertedFile.load(
                directory,
                ExactScores(exact.vectors_ND, rows_E, exact.penalty_N),
                kind=kind,
                effort=effort,
                refine=refine,
                reach=reach,
                num_threads=num_threads,
            )
        case "symqg":
            rows_E = np.ascontiguousarray(entries.first_rows_E)
            inner = SymqgIndex.load(
                directory,
                ExactScores(exact.vectors_ND, rows_E, exact.penalty_N),
                effort=effort,
                num_threads=num_threads,
            )
        case _:
            assert_never(kind)
    return ApproximateIndex(entries, inner)


def reach_of(inner: EntryIndex) -> Reach | None:
    """Return up to which distance lists are probed, None where all of the effort are."""
    return inner.reach if isinstance(inner, InvertedFile) else None


def effort_at_10_of(inner: EntryIndex) -> int | None:
    """Return the effort for ten neighbors, None where it is that for a hundred."""
    return inner.effort_at_10 if isinstance(inner, HnswIndex) else None


def effort_max(inner: EntryIndex, config: IndexConfig) -> int:
    """Return the effort beyond which exact search is the better answer."""
    if isinstance(inner, InvertedFile):
        if inner.file_kind == "ivf_rabitq":
            return inner.effort_max
        share = int(PROBED_SHARE_MAX * inner.effort_max)
        return max(share, min(PROBED_ALWAYS, inner.effort_max))
    return config.ef_search_max
