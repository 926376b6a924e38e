"""What blocks count for risk, whatever they count in a search."""

import numpy as np
import pytest

from embedder.composite import Block, lay_out
from index.risk.weighing import Weighing, place_of_opinion

DIMS = {"behavior": 3, "conduct": 2, "opinion": 2, "target": 4}
WEIGHTS = {"behavior": 0.2, "conduct": 0.02, "opinion": 0.01, "target": 0.77}
BLOCKS = lay_out(DIMS, WEIGHTS)


def composed(rng: np.random.Generator, blocks: tuple[Block, ...], num: int = 6) -> np.ndarray:
    """Return unit vectors whose blocks have the lengths of their weights."""
    parts = []
    for block in blocks:
        part = rng.normal(size=(num, block.stop - block.start))
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        parts.append(part * np.sqrt(block.weight))
    return np.concatenate(parts, axis=1).astype(np.float32)


@pytest.mark.parametrize("label_share", [0.01, 0.5, 0.9])
def test_label_blocks_have_their_share_and_others_stand_as_they_stood(label_share: float) -> None:
    vectors = composed(np.random.default_rng(0), BLOCKS)
    weighed = Weighing.of(BLOCKS, label_share=label_share).weigh(vectors)

    share = {
        block.name: float((weighed[0, block.start : block.stop] ** 2).sum()) for block in BLOCKS
    }
    assert weighed.dtype == np.float32
    assert np.linalg.norm(weighed, axis=1) == pytest.approx(np.ones(6), abs=1e-6)
    assert share["conduct"] + share["opinion"] == pytest.approx(label_share, abs=1e-6)
    assert share["conduct"] / share["opinion"] == pytest.approx(2, abs=1e-5)
    assert share["target"] / share["behavior"] == pytest.approx(0.77 / 0.2, abs=1e-4)


def test_what_blocks_count_in_a_search_changes_nothing() -> None:
    other = lay_out(DIMS, {**WEIGHTS, "conduct": 0.2, "opinion": 0.1})
    first, second = (composed(np.random.default_rng(1), blocks) for blocks in (BLOCKS, other))

    weighed = [
        Weighing.of(blocks, label_share=0.5).weigh(vectors)
        for blocks, vectors in ((BLOCKS, first), (other, second))
    ]
    assert weighed[0] == pytest.approx(weighed[1], abs=1e-6)


@pytest.mark.parametrize("names", [("behavior", "target"), ("conduct", "opinion"), ("conduct",)])
def test_with_one_sort_of_blocks_alone_vectors_stay_as_they_are(names: tuple[str, ...]) -> None:
    blocks = lay_out({name: DIMS[name] for name in names}, WEIGHTS)
    vectors = composed(np.random.default_rng(2), blocks)

    assert Weighing.of(blocks, label_share=0.5).weigh(vectors) is vectors


def test_the_opinion_is_where_its_block_is() -> None:
    assert place_of_opinion(BLOCKS) == (5, 7)
    assert place_of_opinion(BLOCKS[:1]) == (0, 0)
