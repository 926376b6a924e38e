import numpy as np

from index.config import IndexConfig
from index.distinct import group_identical
from index.exact import ExactIndex
from index.hubness import augment_gallery, augment_queries, hub_penalty
from tests.index_fakes import unit_vectors

CONFIG = IndexConfig(hub_references=30, hub_nearest=5)


def test_penalty_is_half_the_mean_cosine_to_the_nearest_references() -> None:
    vectors = unit_vectors(30)
    penalty = hub_penalty(vectors, group_identical(vectors), CONFIG)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    expected = np.sort(similarity, axis=1)[:, -5:].mean(axis=1) / 2
    np.testing.assert_allclose(penalty, expected, atol=1e-6)


def test_equal_vectors_get_equal_penalties() -> None:
    vectors = unit_vectors(40)
    vectors[[5, 30, 39]] = vectors[2]
    penalty = hub_penalty(vectors, group_identical(vectors), CONFIG)
    assert len({float(penalty[row]) for row in (2, 5, 30, 39)}) == 1


def test_one_distinct_vector_has_no_penalty() -> None:
    vectors = np.repeat(unit_vectors(1), 4, axis=0)
    assert hub_penalty(vectors, group_identical(vectors), CONFIG).tolist() == [0, 0, 0, 0]


def test_sample_depends_on_the_seed_alone() -> None:
    vectors = unit_vectors(200)
    entries = group_identical(vectors)
    first = hub_penalty(vectors, entries, CONFIG)
    assert np.array_equal(first, hub_penalty(vectors, entries, CONFIG))
    other = CONFIG.model_copy(update={"seed": 9})
    assert not np.array_equal(first, hub_penalty(vectors, entries, other))


def test_no_user_is_everybodys_neighbor() -> None:
    """In many dimensions some points are among the nearest of very many others."""
    vectors = unit_vectors(500, 60) + unit_vectors(1, 60, seed=1) * np.float32(0.3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    config = IndexConfig(hub_references=500, hub_nearest=10)
    penalty = hub_penalty(vectors, group_identical(vectors), config)

    def answers_with_the_largest_hub(index: ExactIndex) -> int:
        return int(np.bincount(index.search(vectors, k=10).rows_QK.ravel()).max())

    plain = answers_with_the_largest_hub(ExactIndex(vectors))
    assert answers_with_the_largest_hub(ExactIndex(vectors, penalty)) < 0.75 * plain


def test_extra_dimensions_subtract_the_penalty() -> None:
    vectors, query = unit_vectors(20), unit_vectors(3, seed=8)
    penalty = np.linspace(0, 0.4, 20, dtype=np.float32)
    product = augment_queries(query) @ augment_gallery(vectors, penalty, penalty_max=0.4).T
    np.testing.assert_allclose(product, query @ vectors.T - penalty, atol=1e-6)


def test_augmented_gallery_is_equally_long() -> None:
    penalty = np.linspace(-0.1, 0.4, 20, dtype=np.float32)
    gallery = augment_gallery(unit_vectors(20), penalty, penalty_max=0.4)
    np.testing.assert_allclose(np.linalg.norm(gallery, axis=1) ** 2, 1.16, atol=1e-6)
