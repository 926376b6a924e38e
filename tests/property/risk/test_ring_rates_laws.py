import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from index.risk.membership import RingMembership
from index.risk.ring_rates import RingRates
from store.sequences import Int64s

Labels = np.ndarray


def membership(ring_N: Int64s, is_violator_N: Labels) -> RingMembership:
    ids = pa.array([f"u{row}" for row in range(len(ring_N))], pa.string())
    return RingMembership(ids, ring_N, is_violator_N, len(ring_N))


@settings(max_examples=100)
@given(st.integers(0, 10_000), st.integers(0, 40), st.floats(0, 1), st.integers(0, 149))
def test_the_own_label_leaves_no_trace_to_the_last_bit(
    seed: int, num_rings: int, rate: float, user: int
) -> None:
    rng = np.random.default_rng(seed)
    ring = rng.integers(-1, num_rings, 150)
    label = rng.random(150) < rate
    flipped = label.copy()
    flipped[user] = not flipped[user]
    told = []
    for labels in (label, flipped):
        build = membership(ring, labels)
        kept = build.those_who_count()
        asked = kept.asked([f"u{user}", None])
        rates = kept.rates()
        told.append(
            [rates.rate_lower(asked)[:1].tobytes(), rates.excess_log_odds(asked)[:1].tobytes()]
            + [count[:1].tobytes() for count in rates.others(asked)]
        )
    assert told[0] == told[1]


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(0, 40))
def test_keeping_those_who_count_loses_nothing(seed: int, num_rings: int) -> None:
    rng = np.random.default_rng(seed)
    build = membership(rng.integers(-1, num_rings, 150), rng.random(150) < 0.2)
    kept = build.those_who_count()
    everyone = [f"u{row}" for row in range(150)]
    for name in ("users_R", "violators_R"):
        assert (getattr(build.rates(), name) == getattr(kept.rates(), name)).all()
    assert (build.rates().num_users, build.rates().num_violators) == (
        kept.rates().num_users,
        kept.rates().num_violators,
    )
    before, after = build.asked(everyone), kept.asked(everyone)
    assert (before.ring_Q == after.ring_Q).all()
    assert (before.is_violator_Q == after.is_violator_Q).all()


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_the_lower_bound_is_a_rate(seed: int, num_rings: int) -> None:
    rng = np.random.default_rng(seed)
    ring, label = rng.integers(-1, num_rings, 150), rng.random(150) < rng.random()
    build = membership(ring, label)
    asked = build.asked([f"u{row}" for row in range(150)])
    rates: RingRates = build.rates()
    lower = rates.rate_lower(asked)
    assert ((lower >= 0) & (lower <= 1)).all()
    assert np.isfinite(rates.excess_log_odds(asked)).all()
