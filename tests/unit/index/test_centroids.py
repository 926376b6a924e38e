import numpy as np
import pytest

from index.centroids import learn_centroids, list_shares
from tests.index_fakes import clustered_vectors


def test_every_list_has_a_centroid_and_lists_of_a_group_are_together() -> None:
    centroids = learn_centroids(clustered_vectors(4_000, 16, num_clusters=50), 150, seed=1)
    assert centroids.list_LD.shape == (150, 16)
    assert centroids.group_GD.shape == (12, 16)
    assert (np.diff(centroids.group_L) >= 0).all()
    assert np.isfinite(centroids.list_LD).all()


def test_nearly_all_vectors_get_the_nearest_list_and_none_a_far_one() -> None:
    vectors = clustered_vectors(4_000, 16, num_clusters=50)
    centroids = learn_centroids(vectors, 150, seed=1)
    square_NL = ((vectors[:, None] - centroids.list_LD[None]) ** 2).sum(axis=2)
    _, found = centroids.assigner().search(vectors, 1)
    assert (found[:, 0] == square_NL.argmin(axis=1)).mean() > 0.98
    taken = np.take_along_axis(square_NL, found, axis=1)[:, 0]
    assert taken.sum() < 1.01 * square_NL.min(axis=1).sum()


def test_two_levels_fit_about_as_well_as_a_k_means_of_all_lists() -> None:
    """The oracle is FAISS's own k-means."""
    faiss = pytest.importorskip("faiss")
    vectors = clustered_vectors(4_000, 16, num_clusters=50)
    flat = faiss.Kmeans(16, 150, niter=10, seed=2, min_points_per_centroid=1)
    error = flat.train(vectors)
    centroids = learn_centroids(vectors, 150, seed=1)
    square_NL = ((vectors[:, None] - centroids.list_LD[None]) ** 2).sum(axis=2)
    assert square_NL.min(axis=1).sum() < 1.1 * error


def test_the_same_sample_gives_the_same_centroids() -> None:
    vectors = clustered_vectors(2_000, 16, num_clusters=20)
    one, other = (learn_centroids(vectors, 100, seed=3) for _ in range(2))
    assert np.array_equal(one.list_LD, other.list_LD)


@pytest.mark.parametrize(
    ("sizes", "num_lists"),
    [([100, 100], 10), ([1, 0, 999], 10), ([3, 3, 3], 9), ([5, 1, 1, 1], 5), ([0, 7], 7)],
)
def test_lists_are_shared_by_size_and_no_group_gets_more_than_it_has(
    sizes: list[int], num_lists: int
) -> None:
    size_G = np.array(sizes)
    lists_G = list_shares(size_G, num_lists)
    assert lists_G.sum() == num_lists
    assert (lists_G <= size_G).all()
    assert (lists_G[size_G > 0] > 0).all()
    assert (np.abs(lists_G - num_lists * size_G / size_G.sum()) <= 2).all()
