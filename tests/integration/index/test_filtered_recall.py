"""Recall of filtered searches over a clustered gallery, in slices of every size."""

import numpy as np
import pytest

from benchmarks.filters import measure


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("vectors", ["clusters", "unequal", "gaussian"])
def test_recall_is_high_in_every_slice(vectors: str) -> None:
    figures = measure(20_000, 32, 100, seed=5, vectors=vectors)["figures"]
    assert {figure["share"] for figure in figures} >= {0.0001, 0.01, 0.1, 0.5, 1.0}
    for figure in figures:
        assert figure["recall@10"] >= 0.99, figure
        assert figure["poor_queries"] == 0, figure
        assert figure["has_index"] <= ("approximate_filtered" in figure["modes"])
    modes = {mode for figure in figures for mode in figure["modes"]}
    assert modes == {"exact_filtered", "approximate_filtered"}
    assert np.isfinite([figure["us_p50"] for figure in figures]).all()
