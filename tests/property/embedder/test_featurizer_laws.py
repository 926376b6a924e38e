import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedder.composite import Composer, channel_similarities, lay_out, mean_units
from embedder.config import FeaturizerConfig
from embedder.featurizer import Featurizer, fit_featurizer
from embedder.fields import fit_knots, interpolate
from embedder.profiles import profile_slots
from embedder.slices import Spans, pair_spans, prefix_spans, span_rows
from store.sequences import SequenceBatch
from tests.unit.embedder.people import SCHEMA, make_people

ANY_FLOATS = st.floats(-1e150, 1e150)
SIZES = st.lists(st.integers(2, 300), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def people() -> SequenceBatch:
    return make_people(60, 3)


@pytest.fixture(scope="module")
def featurizer(people: SequenceBatch) -> Featurizer:
    return fit_featurizer(people, SCHEMA, FeaturizerConfig(hash_buckets=64))


@given(
    arrays(np.float64, st.integers(1, 50), elements=ANY_FLOATS),
    arrays(np.float64, 9, elements=st.floats(allow_nan=True)),
    st.integers(2, 20),
)
def test_any_number_is_spread_over_two_slots_that_sum_to_one(
    fitted: np.ndarray, asked: np.ndarray, count: int
) -> None:
    knots = fit_knots(fitted, count)
    assert 1 <= len(knots) <= count
    ids, weights = interpolate(asked, knots)
    assert (weights >= 0).all()
    assert np.allclose(weights.sum(axis=1), 1.0)
    assert ((ids >= 0) & (ids <= len(knots))).all()
    assert ((ids[:, 0] == 0) == ~np.isfinite(asked)).all()


@given(st.integers(0, 59), st.data())
def test_a_slice_is_seen_as_if_it_were_all_there_is(
    people: SequenceBatch, featurizer: Featurizer, user: int, data: st.DataObject
) -> None:
    size = int(people.num_events[user])
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    first = people.offsets[user] + start
    rows, owner = span_rows(Spans(np.array([first]), np.array([first + stop - start])))
    events = featurizer.encode(people)
    ids, weights = profile_slots(featurizer, events, rows, np.array([first])[owner])
    alone = people.take(np.array([user]), start=np.array([start]), stop=np.array([stop]))
    place = np.arange(stop - start)
    own_ids, own_weights = profile_slots(
        featurizer, featurizer.encode(alone), place, np.zeros_like(place)
    )
    assert (ids == own_ids).all()
    assert (weights == own_weights).all()


@given(SIZES, st.integers(2, 64), st.integers(0, 2**32 - 1))
def test_spans_lie_inside_their_users(sizes: list[int], longest: int, seed: int) -> None:
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    users, rng = np.arange(len(sizes)), np.random.default_rng(seed)
    first, second = pair_spans(offsets, users, longest=longest, apart_share=0.5, rng=rng)
    prefix = prefix_spans(offsets, users, longest=longest, rng=rng)
    for spans in (first, second, prefix):
        assert (spans.first >= offsets[:-1]).all()
        assert (spans.last <= offsets[1:]).all()
        assert (spans.last > spans.first).all()
        assert (spans.last - spans.first <= longest).all()
    assert (prefix.first == offsets[:-1]).all()


@given(
    st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=2),
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    st.floats(0, 10),
    st.integers(1, 10_000),
)
def test_channels_sum_to_the_similarity_of_unit_vectors(
    seeds: list[int], weights: list[float], shrink: float, num_events: int
) -> None:
    dims = {"behavior": 4, "statistics": 3, "target": 8}
    first, second = (
        {
            name: np.random.default_rng([seed, place]).normal(size=(2, dim)).astype(np.float32)
            for place, (name, dim) in enumerate(dims.items())
        }
        for seed in seeds
    )
    blocks = lay_out(dims, dict(zip(dims, weights, strict=True)))
    composer = Composer(blocks, mean_units(first), shrink)
    ages = np.full(2, num_events)
    vectors = [composer.compose(raw, ages) for raw in (first, second)]
    for one in vectors:
        assert np.allclose(np.linalg.norm(one, axis=1), 1.0, atol=1e-5)
    channels = channel_similarities(vectors[0], vectors[1], blocks)
    assert np.allclose(
        sum(channels.values()), np.einsum("bd,bd->b", vectors[0], vectors[1]), atol=1e-5
    )
