import numpy as np
import pytest
from torch import nn

from embedder.config import BackboneName
from embedder.fitting import FittedNetwork
from embedder.network import SliceEncoder
from embedder.selection import Behind, choose_network, gain_interval


def fitted(backbone: BackboneName, gains: np.ndarray) -> FittedNetwork:
    return FittedNetwork(
        SliceEncoder(backbone, num_slots=4, hidden=2, state=2, dim=2),
        nn.ModuleDict(),
        gains,
        steps=1,
    )


@pytest.mark.parametrize("sequence", ["gru", "transformer"])
@pytest.mark.parametrize(("lead", "is_shipped"), [(0.2, True), (0.0, False), (-0.2, False)])
def test_a_sequence_model_is_shipped_only_where_it_is_better_beyond_chance(
    lead: float, is_shipped: bool, sequence: BackboneName
) -> None:
    rng = np.random.default_rng(0)
    gains = rng.random(300)
    noise = rng.normal(0, 0.2, 300)
    noise -= noise.mean()
    choice = choose_network(fitted("twin", gains), fitted(sequence, gains + lead + noise), seed=1)
    assert choice.shipped.backbone == (sequence if is_shipped else "twin")
    assert choice.gain[0] <= lead <= choice.gain[1]


def test_without_held_out_users_the_twin_is_shipped() -> None:
    nothing = np.zeros(0)
    choice = choose_network(fitted("twin", nothing), fitted("gru", nothing), seed=1)
    assert choice.shipped.backbone == "twin"
    assert choice.gain == (0.0, 0.0)
    assert fitted("twin", nothing).score == 0.0


def test_the_interval_narrows_with_the_queries() -> None:
    rng = np.random.default_rng(2)
    few, many = rng.normal(0.1, 1, 50), rng.normal(0.1, 1, 5000)
    narrow, wide = (gain_interval(gain, np.random.default_rng(3)) for gain in (many, few))
    assert narrow[1] - narrow[0] < wide[1] - wide[0]
    assert narrow[0] < 0.1 < narrow[1]


def test_a_sequence_model_gives_up_only_when_it_is_behind_beyond_chance() -> None:
    rng = np.random.default_rng(1)
    twin = rng.random(400)
    noise = rng.normal(0, 0.2, 400)
    behind = Behind((twin, twin + 1.0), seed=0)
    assert not behind(0, twin + noise - noise.mean())
    assert not behind(0, twin + 0.1 + noise)
    assert behind(0, twin - 0.1 + noise)
    assert behind(1, twin)
    assert not behind(2, twin - 9.0), "the twin never looked there"
    assert not Behind((np.zeros(0),), seed=0)(0, np.zeros(0))
