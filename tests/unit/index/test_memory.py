"""How the memory of a build grows with its users; NumPy tells `tracemalloc` what it takes."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from index.config import IndexConfig
from index.distinct import Entries, group_identical
from index.exact import ExactIndex
from index.hubness import hub_penalty
from index.questions import ask
from index.vectors import Vectors
from tests.index_fakes import clustered_vectors

FEW, MANY = 200_000, 400_000
DIM = 16


def singles(num: int) -> Entries:
    row = np.arange(num, dtype=np.int64)
    return Entries(np.arange(num + 1, dtype=np.int64), row, row, row)


def find_equal(vectors: Vectors) -> None:
    group_identical(vectors)


def correct_hubs(vectors: Vectors) -> None:
    hub_penalty(vectors, singles(len(vectors)), IndexConfig(hub_references=100))


def ask_truth(vectors: Vectors) -> None:
    ask(ExactIndex(vectors), num=400, generator=np.random.default_rng(0))


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered_vectors(MANY, DIM, num_clusters=200)


@pytest.mark.parametrize(
    ("work", "bytes_max"), [(find_equal, 160), (correct_hubs, 30), (ask_truth, 12)]
)
def test_each_further_user_takes_bounded_memory(
    work: Callable[[Vectors], None], bytes_max: int, vectors: Vectors
) -> None:
    """A vector of `DIM` is 64 bytes, so whoever copied all of them would be found."""

    def peak(num: int) -> int:
        tracemalloc.start()
        try:
            work(vectors[:num])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert (peak(MANY) - peak(FEW)) / (MANY - FEW) < bytes_max
