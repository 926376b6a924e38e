"""A graph is tuned by users whom it doesn't know: some are hidden from it, and asked about.

A stored user is found from within: the walk comes to the user, whose links lead to the neighbors.
Of users whom a graph has never seen it finds fewer, the more dimensions the data have. Vectors left
out of the build would not be searchable; so all are built in, and while the graph is tuned no link
leads to those who are asked about, but past them. It is nearly as if they had never been there.

Shape key: `Q` queries, `E` entries.
"""

from dataclasses import replace

import numpy as np

from index.approximate import ApproximateIndex
from index.config import IndexConfig
from index.exact import ExactIndex
from index.hnsw import HnswIndex
from index.questions import Questions, ask_beside
from index.recall import sample_rows
from index.tuning import Quality, tune
from index.vectors import Neighbors, Rows, Vectors

HIDDEN_SHARE = 0.2
HIDDEN_MIN = 200
"""With fewer, their mean is chance; nor may they be fewer than half of all queries."""


def tune_graph(
    exact: ExactIndex,
    index: ApproximateIndex,
    questions: Questions,
    config: IndexConfig,
    *,
    effort_max: int,
) -> tuple[ApproximateIndex, Quality]:
    """Return the graph with the least effort for each depth at which it finds what it must.

    All queries are newcomers where the gallery is large enough to hide so many; else points beside
    them make up the number, up to half of it. With fewer to hide, stored users are asked about; ten
    neighbors then get the effort of a hundred.

    Args:
        exact: Holds the vectors.
        index: A graph in the memory of this process, which nobody searches yet.
        questions: What is asked where nobody can be hidden.
        config: The target, and how many queries there are.
        effort_max: The effort beyond which exact search is the better answer.
    """
    graph = index.inner
    assert isinstance(graph, HnswIndex)
    generator = np.random.default_rng([config.seed, config.tuning_queries, 1])
    entries_H = _hideable(index, graph, config, generator)
    if len(entries_H) < max(HIDDEN_MIN, -(-config.tuning_queries // 2)):
        return tune(exact, index, questions, config, effort_max=effort_max)
    rows_H = np.sort(index.entries.first_rows_E[entries_H])
    asked = _asked_about(exact, rows_H, config, generator)
    with graph.hidden(entries_H):
        return tune(exact, index, asked, config, effort_max=effort_max)


def _hideable(
    index: ApproximateIndex, graph: HnswIndex, config: IndexConfig, generator: np.random.Generator
) -> Rows:
    """Draw entries of one user each that only the bottom layer of the graph holds."""
    is_alone = ~index.entries.is_shared_E
    candidates = np.flatnonzero(is_alone & graph.is_at_the_bottom())
    num = min(config.tuning_queries, int(HIDDEN_SHARE * index.entries.num_entries))
    return candidates[sample_rows(len(candidates), num=num, generator=generator)]


def _asked_about(
    exact: ExactIndex, rows_H: Rows, config: IndexConfig, generator: np.random.Generator
) -> Questions:
    """Ask for hidden users, and points beside some, what is to be found among the others."""
    shown = np.delete(np.arange(exact.num_vectors), rows_H)
    many = replace(exact, num_threads=config.build_threads)

    def search(query_QD: Vectors, /, *, k: int) -> Neighbors:
        return many.search_rows(query_QD, shown, k=k)

    num_beside = max(config.tuning_queries - len(rows_H), 0)
    population = exact.num_vectors * (2 if num_beside else 1)
    asked = ask_beside(
        exact, rows_H, search, population, generator=generator, num_beside=num_beside
    )
    return replace(asked, are_newcomers=True)
