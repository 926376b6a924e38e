import numpy as np
import pyarrow as pa

from embedder.supervision import held_out_of_supervision

IDS = [f"user {place}" for place in range(20_000)]


def test_about_the_share_is_held_out() -> None:
    assert abs(held_out_of_supervision(pa.array(IDS), share=0.2).mean() - 0.2) < 0.01


def test_a_user_is_held_out_whoever_else_is_asked_about() -> None:
    together = held_out_of_supervision(pa.array(IDS), share=0.2)
    some = np.random.default_rng(0).permutation(len(IDS))[:500]
    alone = held_out_of_supervision(
        pa.chunked_array([[IDS[row] for row in some[:9]], [IDS[row] for row in some[9:]]]),
        share=0.2,
    )
    assert (alone == together[some]).all()


def test_a_larger_share_holds_out_the_same_users_and_more() -> None:
    few, more = (held_out_of_supervision(pa.array(IDS), share=share) for share in (0.1, 0.3))
    assert not (few & ~more).any()
