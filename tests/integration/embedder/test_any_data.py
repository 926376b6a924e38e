"""The encoder trains on, and embeds, whatever columns and sequences there are."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from embedder.config import EmbedderConfig
from embedder.embedder import EVENTS_PER_USER, Embedder
from store.schema import Column, EventSchema, Role
from store.sequences import SequenceBatch
from tests.integration.embedder.small_models import small_embedder
from tests.unit.embedder.people import DAY_US, SCHEMA, make_people, with_column

TYPE = Column("event_type", frozenset({Role.CATEGORY}))


def schema_of(*columns: Column) -> EventSchema:
    return EventSchema((TYPE, *columns))


def sized(sizes: list[int], seed: int = 0) -> SequenceBatch:
    """Return people with exactly so many events each."""
    people = make_people(len(sizes), seed, mean_events=max(sizes) * 2 + 20.0)
    stop = np.array(sizes)
    assert (people.num_events >= stop).all()
    return people.take(np.arange(len(sizes)), stop=stop)


def assert_good(embedder: Embedder, batch: SequenceBatch) -> None:
    vectors = embedder.embed(batch)
    assert vectors.shape == (batch.num_users, embedder.dim)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_numbers_alone_are_enough(tmp_path: Path) -> None:
    people = make_people(60, 1)
    schema = schema_of(Column("size", frozenset({Role.NUMBER})))
    assert_good(small_embedder(people, schema, tmp_path), people)


def test_event_types_alone_are_enough(tmp_path: Path) -> None:
    people = make_people(60, 2)
    embedder = small_embedder(people, schema_of(), tmp_path)
    assert {block.name for block in embedder.blocks} == {"behavior", "statistics"}
    assert_good(embedder, people)


def test_equal_times_are_no_obstacle(tmp_path: Path) -> None:
    people = make_people(60, 3)
    at_once = SequenceBatch(
        people.user_ids, people.offsets, np.full_like(people.ts_us, DAY_US), people.events
    )
    assert_good(small_embedder(at_once, SCHEMA, tmp_path), at_once)


@pytest.mark.parametrize("sizes", [[1] * 60 + [2] * 40, [2] * 80, [3] * 60])
def test_users_of_very_few_events_are_trained_on_and_embedded(
    tmp_path: Path, sizes: list[int]
) -> None:
    people = sized(sizes)
    assert_good(small_embedder(people, SCHEMA, tmp_path), people)


def test_one_very_long_user_is_embedded_by_the_latest_events(tmp_path: Path) -> None:
    embedder = small_embedder(make_people(60, 4), SCHEMA, tmp_path)
    long = make_people(1, 5, mean_events=EVENTS_PER_USER + 500)
    assert long.num_events[0] > EVENTS_PER_USER
    assert_good(embedder, long)
    first = np.array([long.num_events[0] - EVENTS_PER_USER])
    latest = long.take(np.array([0]), start=first)
    assert embedder.embed(latest) == pytest.approx(embedder.embed(long), abs=1e-6)


def test_a_long_user_among_short_ones_is_trained_on(tmp_path: Path) -> None:
    people = sized([400] + [4] * 60)
    assert_good(small_embedder(people, SCHEMA, tmp_path), people)


def test_fifty_columns_of_all_kinds(tmp_path: Path) -> None:
    people, schema = make_people(60, 6), SCHEMA
    rng = np.random.default_rng(0)
    count = len(people.ts_us)
    for place in range(16):
        columns = (
            (Role.CATEGORY, pa.array(rng.integers(0, 5, count).astype(str))),
            (Role.NUMBER, pa.array(rng.normal(size=count), mask=rng.random(count) < 0.3)),
            (Role.FLAG, pa.array(rng.random(count) < 0.5)),
        )
        for role, values in columns:
            people, schema = with_column(people, schema, f"{role.value} {place}", role, values)
    assert len(schema.columns) > 50
    embedder = small_embedder(people, schema, tmp_path)
    assert_good(embedder, people)


def test_columns_that_a_batch_does_not_have_are_missing(tmp_path: Path) -> None:
    people = make_people(60, 7)
    embedder = small_embedder(people, SCHEMA, tmp_path)
    bare = people.events.select(["event_type"])
    assert_good(embedder, SequenceBatch(people.user_ids, people.offsets, people.ts_us, bare))


def test_without_labels_there_is_neither_conduct_nor_opinion(tmp_path: Path) -> None:
    people = make_people(150, 8)
    unlabelled = small_embedder(people, SCHEMA, tmp_path)
    assert not {"conduct", "opinion"} & {block.name for block in unlabelled.blocks}
    label = (np.arange(people.num_users) % 2).astype(np.int64)
    labelled = small_embedder(people, SCHEMA, tmp_path, label=label)
    weight = {block.name: block.weight for block in labelled.blocks}
    assert weight["conduct"] == pytest.approx(2 * weight["opinion"])
    told = weight["conduct"] + weight["opinion"]
    assert told == pytest.approx(EmbedderConfig().conduct_weight)
    assert_good(labelled, people)


def test_a_column_that_names_its_user_is_reported_and_not_read(tmp_path: Path) -> None:
    people = make_people(80, 9)
    user_E = np.repeat(np.arange(people.num_users), people.num_events)
    sessions = pa.array([f"session of {user}" for user in user_E])
    batch, schema = with_column(people, SCHEMA, "session", Role.CATEGORY, sessions)
    embedder = small_embedder(batch, schema, tmp_path)
    blank = batch.events.drop_columns(["session"])
    without = SequenceBatch(batch.user_ids, batch.offsets, batch.ts_us, blank)
    assert (embedder.embed(batch) == embedder.embed(without)).all()
