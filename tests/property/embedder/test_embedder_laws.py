"""Laws of a trained model: the same user gets the same vector, whoever else is asked about."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.embedder import Embedder
from store.sequences import SequenceBatch
from tests.integration.embedder.small_models import small_embedder
from tests.unit.embedder.people import SCHEMA, make_people

CLOSE = 2e-6


@pytest.fixture(scope="module")
def people() -> SequenceBatch:
    return make_people(150, 11)


@pytest.fixture(scope="module")
def embedder(people: SequenceBatch, tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    label = (np.arange(people.num_users) % 2).astype(np.int64)
    return small_embedder(people, SCHEMA, tmp_path_factory.mktemp("models"), label=label)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 149), min_size=1, max_size=40))
def test_order_and_batch_mates_do_not_matter(
    people: SequenceBatch, embedder: Embedder, rows: list[int]
) -> None:
    together = embedder.embed(people)
    some = embedder.embed(people.take(np.array(rows)))
    assert np.abs(some - together[rows]).max() <= CLOSE


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 60))
def test_any_people_get_unit_vectors(embedder: Embedder, seed: int, mean_events: float) -> None:
    strangers = make_people(7, seed, mean_events=mean_events)
    vectors = embedder.embed(strangers)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    assert (embedder.embed(strangers) == vectors).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 149), st.integers(1, 40))
def test_a_prefix_is_embedded_as_the_user_was_then(
    people: SequenceBatch, embedder: Embedder, user: int, length: int
) -> None:
    rows, stop = np.array([user]), np.array([length])
    then = people.take(rows, stop=stop)
    longer = people.take(np.array([user, 0]), stop=np.array([length, 3]))
    assert np.abs(embedder.embed(then)[0] - embedder.embed(longer)[0]).max() <= CLOSE


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 500), st.text(min_size=1, max_size=9))
def test_neither_the_date_nor_the_name_is_read(
    people: SequenceBatch, embedder: Embedder, weeks: int, name: str
) -> None:
    later = SequenceBatch(
        [f"{name}{user_id}" for user_id in people.user_ids],
        people.offsets,
        people.ts_us + weeks * 7 * 86_400_000_000,
        people.events,
    )
    assert (embedder.embed(later) == embedder.embed(people)).all()
