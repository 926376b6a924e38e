import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from index.approximate import ApproximateIndex
from index.config import IndexConfig
from index.distinct import group_identical
from index.exact import ExactIndex
from index.hubness import hub_penalty
from index.symqg import BEAM_PER_NEIGHBOR, SymqgIndex
from index.vectors import Vectors
from tests.property.index.strategies import galleries

CONFIG = IndexConfig(ef_search=300, hub_references=20, hub_nearest=3)


@settings(deadline=None)
@given(galleries(max_size=160), galleries(max_size=4), st.integers(1, 40), st.booleans())
def test_found_are_as_many_as_there_are_with_true_scores_and_all_where_all_are_compared(
    vectors: Vectors, queries: Vectors, k: int, hub_corrected: bool
) -> None:
    entries = group_identical(vectors)
    penalty = hub_penalty(vectors, entries, CONFIG) if hub_corrected else None
    graph = SymqgIndex.build(vectors, entries, CONFIG, penalty_N=penalty)
    exact = ExactIndex(vectors, penalty)
    found = ApproximateIndex(entries, graph).search(queries, k=k)
    for query, rows, scores in zip(queries, found.rows_QK, found.score_QK, strict=True):
        real = rows[rows >= 0]
        assert len(real) == len(set(real.tolist())) == min(k, len(vectors))
        np.testing.assert_allclose(scores[: len(real)], exact.score(query, real), atol=1e-5)
        assert (np.diff(scores[: len(real)]) <= 0).all()
    if BEAM_PER_NEIGHBOR * k >= entries.num_entries:
        expected = exact.search(queries, k=k)
        np.testing.assert_allclose(found.score_QK, expected.score_QK, atol=1e-5)
