import numpy as np
import pytest

from embedder.composite import (
    Composer,
    channel_similarities,
    lay_out,
    mean_units,
    unit_rows,
)
from embedder.profiles import Floats

DIMS = {"behavior": 6, "statistics": 4, "target": 8}
WEIGHTS = {"behavior": 0.5, "statistics": 0.2, "target": 0.3}


def raw_blocks(count: int, seed: int) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(1.0, 1.0, (count, dim)).astype(np.float32) for name, dim in DIMS.items()
    }


def composer(shrink_events: float = 1.0) -> Composer:
    return Composer(lay_out(DIMS, WEIGHTS), mean_units(raw_blocks(200, 0)), shrink_events)


def test_vectors_are_of_unit_length() -> None:
    vectors = composer().compose(raw_blocks(9, 1), np.arange(1, 10))
    assert vectors.shape == (9, 18)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-6)


def test_channels_sum_to_the_similarity_and_their_weights_are_the_similarity_to_oneself() -> None:
    one = composer()
    vectors = one.compose(raw_blocks(12, 2), np.full(12, 20))
    first, second = vectors[:6], vectors[6:]
    channels = channel_similarities(first, second, one.blocks)
    assert sum(channels.values()) == pytest.approx(np.einsum("bd,bd->b", first, second), abs=1e-6)
    itself = channel_similarities(first, first, one.blocks)
    for block in one.blocks:
        assert itself[block.name] == pytest.approx(block.weight, abs=1e-6)


def test_a_short_user_is_drawn_to_the_mean_and_a_long_one_is_not() -> None:
    one, raw = composer(shrink_events=2.0), raw_blocks(1, 3)
    usual = np.concatenate(
        [unit_rows(one.means[b.name][None])[0] * np.sqrt(b.weight) for b in one.blocks]
    )
    own = Composer(one.blocks, one.means, 0.0).compose(raw, np.array([1]))[0]
    likeness = []
    for num_events in (1, 3, 10, 10_000):
        vector = one.compose(raw, np.array([num_events]))[0]
        likeness.append(float(vector @ usual))
        if num_events == 10_000:
            assert vector == pytest.approx(own, abs=1e-3)
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[0] > likeness[-1] + 0.05


def test_a_block_of_nothing_is_the_populations() -> None:
    one, raw = composer(), raw_blocks(2, 4)
    raw["target"][0] = 0.0
    vectors = one.compose(raw, np.array([5, 5]))
    block = next(block for block in one.blocks if block.name == "target")
    expected = unit_rows(one.means["target"][None])[0] * np.sqrt(block.weight)
    assert vectors[0, block.start : block.stop] == pytest.approx(expected, abs=1e-6)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-6)


def test_a_user_of_nothing_in_a_population_of_nothing_is_finite() -> None:
    one = composer()
    nothing = {name: np.zeros((1, dim), np.float32) for name, dim in DIMS.items()}
    empty = Composer(one.blocks, mean_units(nothing), 1.0)
    raw = raw_blocks(1, 5) | {"target": nothing["target"]}
    vector = empty.compose(raw, np.array([3]))
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)


def test_blocks_lie_side_by_side_and_the_empty_and_weightless_are_left_out() -> None:
    dims = {"behavior": 3, "conduct": 2, "text": 0, "target": 4}
    weights = {"behavior": 1.0, "conduct": 0.0, "text": 5.0, "target": 3.0}
    blocks = lay_out(dims, weights)
    assert [(b.name, b.start, b.stop, b.weight) for b in blocks] == [
        ("behavior", 0, 3, 0.25),
        ("target", 3, 7, 0.75),
    ]


def test_a_zero_row_stays_zero() -> None:
    rows = unit_rows(np.array([[0, 0], [3, 4]], dtype=np.float32))
    assert rows.tolist() == [[0, 0], [pytest.approx(0.6), pytest.approx(0.8)]]
