from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from embedder.config import BackboneName
from embedder.network import (
    CHUNK_EVENTS,
    SliceEncoder,
    chunk_places,
    segment_max,
    segment_mean,
)

SEQUENCE_MODELS: tuple[BackboneName, ...] = ("gru", "transformer")
BACKBONES: tuple[BackboneName, ...] = ("twin", *SEQUENCE_MODELS)


def encoder(backbone: BackboneName) -> SliceEncoder:
    torch.manual_seed(0)
    return SliceEncoder(backbone, num_slots=50, hidden=8, state=12, dim=6, layers=2).eval()


def random_slices(sizes: list[int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    ids = torch.from_numpy(rng.integers(0, 50, (sum(sizes), 5)).astype(np.int32))
    weights = torch.from_numpy(rng.random((sum(sizes), 5)).astype(np.float32))
    return ids, weights, torch.tensor(sizes)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_vector_does_not_depend_on_batch_mates_or_padding(backbone: BackboneName) -> None:
    network, sizes = encoder(backbone), [3, 1, 150, 64, 65, 2, 17]
    ids, weights, sizes_B = random_slices(sizes)
    together = network(ids, weights, sizes_B)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    for place, (first, last) in enumerate(pairwise(bounds.tolist())):
        alone = network(ids[first:last], weights[first:last], sizes_B[place : place + 1])
        assert torch.allclose(alone[0], together[place], atol=1e-6)


@pytest.mark.parametrize("sizes", [[3, 1, 150, 64, 65, 2, 17], [1], [CHUNK_EVENTS], [5, 5, 5]])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_vector_is_the_same_where_no_gradient_is_kept(
    backbone: BackboneName, sizes: list[int]
) -> None:
    network, slices = encoder(backbone), random_slices(sizes)
    learning, states = network(*slices), network.states(*slices)
    with torch.no_grad():
        assert torch.allclose(network.states(*slices), states, atol=1e-6)
        assert torch.allclose(network(*slices), learning, atol=1e-6)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_vectors_are_of_unit_length_and_repeatable(backbone: BackboneName) -> None:
    network, slices = encoder(backbone), random_slices([2, 9])
    vectors, states = network(*slices), network.states(*slices)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-6)
    assert states.shape == (11, 12)
    assert torch.equal(network(*slices), vectors)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_only_the_twin_does_not_read_the_order(backbone: BackboneName) -> None:
    network = encoder(backbone)
    ids, weights, sizes = random_slices([20])
    turned = torch.arange(19, -1, -1)
    forward = network(ids, weights, sizes)
    backward = network(ids[turned], weights[turned], sizes)
    assert torch.allclose(forward, backward, atol=1e-5) is (backbone == "twin")


@pytest.mark.parametrize("backbone", SEQUENCE_MODELS)
def test_states_do_not_see_the_future_and_see_the_past(backbone: BackboneName) -> None:
    network = encoder(backbone)
    ids, weights, sizes = random_slices([30])
    states = network.states(ids, weights, sizes)
    changed = ids.clone()
    changed[20:] = (changed[20:] + 7) % 50
    others = network.states(changed, weights, sizes)
    assert torch.allclose(states[:20], others[:20], atol=1e-6)
    assert not torch.allclose(states[20:], others[20:], atol=1e-3)
    first = ids.clone()
    first[0] = (first[0] + 7) % 50
    others = network.states(first, weights, sizes)
    assert ((states[:12] - others[:12]).abs().amax(1) > 1e-5).all()


@pytest.mark.parametrize("backbone", SEQUENCE_MODELS)
def test_a_sequence_model_starts_afresh_at_every_chunk(backbone: BackboneName) -> None:
    network = encoder(backbone)
    ids, weights, sizes = random_slices([2 * CHUNK_EVENTS + 5])
    states = network.states(ids, weights, sizes)
    bounds = [0, CHUNK_EVENTS, 2 * CHUNK_EVENTS, 2 * CHUNK_EVENTS + 5]
    for first, last in pairwise(bounds):
        part = slice(first, last)
        alone = network.states(ids[part], weights[part], torch.tensor([last - first]))
        assert torch.allclose(states[part], alone, atol=1e-6)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_weight_learns(backbone: BackboneName) -> None:
    network = encoder(backbone)
    network(*random_slices([3, 70, 1]))[:, 0].sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_network_computed_in_bfloat16_answers_and_learns_in_float32(
    backbone: BackboneName,
) -> None:
    network, slices = encoder(backbone), random_slices([3, 70, 1])
    exact = network(*slices)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors, states = network(*slices), network.states(*slices)
    assert vectors.dtype == states.dtype == torch.float32
    assert (vectors * exact).sum(1).min() > 0.99
    assert not torch.equal(vectors, exact)
    vectors[:, 0].sum().backward()
    for weight in network.parameters():
        assert weight.dtype == torch.float32
        assert weight.grad is not None
        assert weight.grad.dtype == torch.float32


def test_chunks_cover_every_event_in_order() -> None:
    sizes = torch.tensor([1, CHUNK_EVENTS, CHUNK_EVENTS + 1, 3])
    chunk, place, chunk_sizes = chunk_places(sizes)
    assert chunk_sizes.tolist() == [1, CHUNK_EVENTS, CHUNK_EVENTS, 1, 3]
    assert chunk.tolist() == sorted(chunk.tolist())
    starts = torch.cumsum(chunk_sizes, 0) - chunk_sizes
    assert torch.equal(starts[chunk] + place, torch.arange(int(sizes.sum())))


def test_pools_are_those_of_a_loop() -> None:
    values = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    sizes = torch.tensor([2, 1, 6])
    parts = torch.split(values, sizes.tolist())
    assert torch.allclose(segment_mean(values, sizes), torch.stack([p.mean(0) for p in parts]))
    assert torch.equal(segment_max(values, sizes), torch.stack([p.amax(0) for p in parts]))


def test_the_mean_of_an_empty_run_is_zero() -> None:
    means = segment_mean(torch.ones(3, 2), torch.tensor([0, 3, 0]))
    assert means.tolist() == [[0, 0], [1, 1], [0, 0]]
