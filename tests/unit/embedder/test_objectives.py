import numpy as np
import pytest

from embedder.config import LossConfig
from embedder.objectives import is_hard


def test_every_other_batch_is_of_look_alikes_unless_told_otherwise() -> None:
    share = LossConfig().hard_share
    assert [is_hard(step, share) for step in range(1, 7)] == [False, True] * 3


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1 / 3, 0.7, 1.0])
def test_hard_batches_have_their_share_and_are_spread_evenly(share: float) -> None:
    hard = np.array([is_hard(step, share) for step in range(1, 301)])
    for first in range(0, 300, 60):
        assert abs(hard[first : first + 60].sum() - 60 * share) <= 1
