import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from index.risk.config import RiskConfig
from index.risk.neighbors import neighbor_features, ring_rates
from tests.unit.risk.reference_users import make_references, random_unit, without

CONFIGS = st.builds(
    RiskConfig,
    neighbors=st.integers(10, 400),
    bandwidth_rank=st.integers(1, 400),
    prior_votes=st.floats(0.1, 50),
)
AGES = st.integers(1, 1_000_000)


@settings(max_examples=40)
@given(CONFIGS, st.integers(0, 99), st.integers(0, 119), AGES)
def test_a_users_own_label_is_out_of_all_that_is_said_of_the_user(
    config: RiskConfig, seed: int, user: int, age: int
) -> None:
    rng = np.random.default_rng(seed)
    ring = np.where(rng.random(120) < 0.3, rng.integers(0, 9, 120), -1)
    ring[rng.integers(0, 120)] = 8
    references = make_references(seed=seed, ring=ring, vote=rng.integers(1, 4, 120).astype(float))
    query, ages = references.vectors[0][user : user + 1], np.array([age])
    itself = neighbor_features(
        references, ring_rates(references), query, ages, np.array([user]), config
    )
    left = without(references, user)
    stranger = neighbor_features(left, ring_rates(left), query, ages, np.array([-1]), config)
    assert np.isfinite(itself).all()
    assert np.allclose(itself, stranger, atol=1e-5)


@settings(max_examples=40)
@given(CONFIGS, st.integers(0, 99), st.lists(AGES, min_size=1, max_size=8))
def test_features_are_finite_and_of_each_query_alone(
    config: RiskConfig, seed: int, ages: list[int]
) -> None:
    references = make_references(seed=seed)
    query = random_unit(np.random.default_rng(seed), len(ages), 8)
    rates, own = ring_rates(references), np.full(len(ages), -1)
    together = neighbor_features(references, rates, query, np.array(ages), own, config)
    assert np.isfinite(together).all()
    backward = neighbor_features(
        references, rates, query[::-1].copy(), np.array(ages[::-1]), own, config
    )
    assert np.allclose(together, backward[::-1], atol=1e-5)
