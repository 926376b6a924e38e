import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from index.risk.config import RiskConfig
from index.risk.gallery import Floats, References
from index.risk.neighbors import neighbor_features
from index.risk.ring_rates import Asked
from index.vectors import Vectors
from store.sequences import Int64s
from tests.unit.risk.reference_users import (
    make_references,
    membership_of,
    random_unit,
    without,
)

CONFIGS = st.builds(
    RiskConfig,
    neighbors=st.integers(10, 400),
    bandwidth_rank=st.integers(1, 400),
    prior_votes=st.floats(0.1, 50),
)
AGES = st.integers(1, 1_000_000)


def as_it_is(
    references: References, user: int, query_QD: Vectors, ages_Q: Int64s, config: RiskConfig
) -> Floats:
    """Return the features of a reference, asked for by its id."""
    rings = membership_of(references, num_users=200)
    asked = rings.asked([references.user_ids[user]])
    own = np.array([user])
    return neighbor_features(references, rings.rates(), query_QD, ages_Q, own, asked, config)


def as_a_stranger(
    references: References, ring: int, query_QD: Vectors, ages_Q: Int64s, config: RiskConfig
) -> Floats:
    """Return the features of someone who is no reference, asked about a ring."""
    rates = membership_of(references, num_users=200).rates()
    asked = Asked.by_strangers(np.full(len(ages_Q), ring))
    own = np.full(len(ages_Q), -1)
    return neighbor_features(references, rates, query_QD, ages_Q, own, asked, config)


@settings(max_examples=40)
@given(CONFIGS, st.integers(0, 99), st.integers(0, 119), AGES)
def test_a_users_own_label_is_out_of_all_that_is_said_of_the_user(
    config: RiskConfig, seed: int, user: int, age: int
) -> None:
    rng = np.random.default_rng(seed)
    ring = np.where(rng.random(120) < 0.3, rng.integers(0, 14, 120), -1)
    ring[rng.integers(0, 120)] = 13
    references = make_references(seed=seed, ring=ring, vote=rng.integers(1, 4, 120).astype(float))
    query, ages = references.vectors[0][user : user + 1], np.array([age])
    itself = as_it_is(references, user, query, ages, config)
    left = without(references, user)
    stranger = as_a_stranger(left, int(references.ring_R[user]), query, ages, config)
    assert np.isfinite(itself).all()
    assert np.allclose(itself, stranger, atol=1e-5)


@settings(max_examples=40)
@given(CONFIGS, st.integers(0, 99), st.lists(AGES, min_size=1, max_size=8))
def test_features_are_finite_and_of_each_query_alone(
    config: RiskConfig, seed: int, ages: list[int]
) -> None:
    references = make_references(seed=seed)
    query = random_unit(np.random.default_rng(seed), len(ages), 8)
    together = as_a_stranger(references, -1, query, np.array(ages), config)
    assert np.isfinite(together).all()
    backward = as_a_stranger(references, -1, query[::-1].copy(), np.array(ages[::-1]), config)
    assert np.allclose(together, backward[::-1], atol=1e-5)
