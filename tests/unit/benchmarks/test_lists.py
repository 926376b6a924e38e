"""The benchmark of list sizes: larger lists are fewer, and all find what is asked for."""

import numpy as np

from benchmarks.ann.sources import clustered
from benchmarks.lists import ROUNDS, measure


def test_lists_of_several_sizes_are_built_tuned_and_timed() -> None:
    vectors = np.concatenate(list(clustered(4_200, clusters_for=4_000, seed=1)))
    small, large = measure(vectors, [8, 500], num_queries=200, seed=1)
    assert (small["list_size_min"], large["list_size_min"]) == (8, 500)
    assert large["lists"] == 4_000 // 500 < small["lists"] == int(2 * 4_000**0.5)
    for row in (small, large):
        assert 1 <= row["probed_at_most"] <= row["lists"]
        assert row["recall_at_10"] > 0.9
        assert row["poor_at_10"] == 0
        assert len(row["us_p50_at_10"]) == ROUNDS
        assert all(least > 0 for least in row["us_p50_at_100"])
