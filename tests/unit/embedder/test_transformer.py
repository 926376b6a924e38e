import numpy as np
import pytest
import torch
from torch import Tensor

from embedder import transformer
from embedder.transformer import Block, CausalTransformer, rotate, rotations


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_products_of_rotated_vectors_tell_how_far_apart_their_places_are() -> None:
    cosine, sine = rotations(40, 8)
    query, key = rows(8, seed=1), rows(8, seed=2)
    product = rotate(query.expand(40, 8), cosine, sine) @ rotate(key.expand(40, 8), cosine, sine).T
    for distance in range(40):
        along = torch.diagonal(product, -distance)
        assert torch.allclose(along, along[:1].expand_as(along), atol=1e-4)
    assert product[:, 0].std() > 0.1


def test_attention_is_that_of_a_loop_over_earlier_events() -> None:
    torch.manual_seed(3)
    block = Block(12, heads=3)
    states = rows(2, 7, 12, seed=4)
    cosine, sine = rotations(7, 4)
    taken = block.attend(states, cosine, sine).detach().numpy()
    projected = block.project(states).detach()
    query, key, value = (part.reshape(2, 7, 3, 4) for part in projected.split(12, dim=2))
    for piece in range(2):
        for head in range(3):
            turned = [rotate(part[piece, :, head], cosine, sine).numpy() for part in (query, key)]
            for place in range(7):
                score = turned[1][: place + 1] @ turned[0][place] / 2.0
                share = np.exp(score) / np.exp(score).sum()
                wanted = share @ value[piece, : place + 1, head].numpy()
                found = taken[piece, place, 4 * head : 4 * head + 4]
                assert found == pytest.approx(wanted, abs=1e-5)


def test_pieces_read_a_few_at_a_time_have_the_same_states(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    reader = CausalTransformer(6, 64, 2, longest=16).eval()
    pieces = rows(9, 16, 6)
    at_once = reader(pieces)
    monkeypatch.setattr(transformer, "EVENTS_AT_ONCE", 40)
    assert torch.allclose(reader(pieces), at_once, atol=1e-6)


def test_a_state_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="3 heads of even width can't share a state of 100"):
        CausalTransformer(6, 100, 1, longest=16)


def test_positions_are_no_weights() -> None:
    """They follow from the sizes, so a model file does not hold them."""
    names = CausalTransformer(6, 8, 1, longest=16).state_dict()
    assert not [name for name in names if "sine" in name]
