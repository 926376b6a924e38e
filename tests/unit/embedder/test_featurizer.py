import numpy as np
import pyarrow as pa
import pytest

from embedder.config import FeaturizerConfig
from embedder.featurizer import (
    ALWAYS,
    NEVER,
    Featurizer,
    fit_featurizer,
    hour_slots,
    name_of_slots,
    previous_same,
)
from embedder.hashing import MISSING
from embedder.profiles import profile_slots
from embedder.slices import Spans, span_rows
from store.schema import Column, EventSchema, Role
from store.sequences import SequenceBatch
from tests.unit.embedder.people import (
    DAY_US,
    HOUR_US,
    SCHEMA,
    SECOND_US,
    batch_of,
    make_people,
    with_column,
)

CONFIG = FeaturizerConfig(hash_buckets=64)


@pytest.fixture(scope="module")
def people() -> SequenceBatch:
    return make_people(80, 1)


@pytest.fixture(scope="module")
def featurizer(people: SequenceBatch) -> Featurizer:
    return fit_featurizer(people, SCHEMA, CONFIG)


def dense_slots(featurizer: Featurizer, batch: SequenceBatch) -> np.ndarray:
    """Return each event as a row over all slots, the slice being the whole sequence."""
    events = featurizer.encode(batch)
    rows, owner = span_rows(Spans(batch.offsets[:-1], batch.offsets[1:]))
    ids, weights = profile_slots(featurizer, events, rows, batch.offsets[:-1][owner])
    dense = np.zeros((len(rows), featurizer.num_slots), dtype=np.float32)
    np.add.at(dense, (np.arange(len(rows))[:, None], ids), weights)
    return dense


def test_slots_of_a_slice_are_those_of_the_slice_as_its_own_sequence(
    people: SequenceBatch, featurizer: Featurizer
) -> None:
    long = np.flatnonzero(people.num_events >= 8)
    start, stop = np.full(len(long), 3), np.full(len(long), 7)
    events = featurizer.encode(people)
    first = people.offsets[long] + 3
    rows, owner = span_rows(Spans(first, first + 4))
    ids, weights = featurizer.relative(events, rows, first[owner])
    alone = people.take(long, start=start, stop=stop)
    encoded = featurizer.encode(alone)
    place, mine = span_rows(Spans(alone.offsets[:-1], alone.offsets[1:]))
    own_ids, own_weights = featurizer.relative(encoded, place, alone.offsets[:-1][mine])
    assert (ids == own_ids).all()
    assert (weights == own_weights).all()
    assert (events.ids_ES[rows] == encoded.ids_ES).all()


def popularity_of(
    featurizer: Featurizer, batch: SequenceBatch, *, counted_before_us: int
) -> list[int]:
    """Return how many others had the target of each event, as the slots tell."""
    field = next(field for field in featurizer.layout if field.name == "popularity")
    events = featurizer.encode(batch, counted_before_us=counted_before_us)
    ids, weights = events.ids_ES, events.weights_ES
    inside = (ids >= field.start) & (ids < field.stop)
    code = np.where(inside, (ids - field.start - 1) * weights, 0.0).sum(axis=1)
    others: list[int] = np.round(2.0**code - 1).astype(np.int64).tolist()
    return others


def test_nobody_makes_a_target_popular_for_oneself() -> None:
    """Whoever was counted is subtracted: a newcomer finds a place as popular as they did."""
    columns: dict[str, list[object]] = {
        "event_type": ["say"] * 5,
        "page": ["ours", "ours", "mine", "ours", "ours"],
        "agent": ["web"] * 5,
        "size": [1.0] * 5,
    }
    old = batch_of({"a": 3, "b": 1, "c": 1}, [1, 2, 3, 1, 2], columns)
    fitted = fit_featurizer(old, SCHEMA, CONFIG)
    assert popularity_of(fitted, old, counted_before_us=ALWAYS) == [2, 2, 0, 2, 2]
    assert popularity_of(fitted, old, counted_before_us=NEVER) == [3, 3, 1, 3, 3]
    assert popularity_of(fitted, old, counted_before_us=2) == [2, 3, 1, 2, 3]
    new = batch_of(
        {"d": 2},
        [7, 8],
        {
            "event_type": ["say"] * 2,
            "page": ["ours", "new"],
            "agent": ["web"] * 2,
            "size": [1.0] * 2,
        },
    )
    assert popularity_of(fitted, new, counted_before_us=NEVER) == [3, 0]


def test_weights_of_each_field_sum_to_one(people: SequenceBatch, featurizer: Featurizer) -> None:
    dense = dense_slots(featurizer, people)
    for field in featurizer.layout:
        total = dense[:, field.start : field.stop].sum(axis=1)
        assert total == pytest.approx(1.0, abs=1e-5), field.name
    assert dense[:, featurizer.num_small_slots :].sum(axis=1) == pytest.approx(1.0, abs=1e-5)


def test_layout_covers_the_small_slots_without_gaps(featurizer: Featurizer) -> None:
    layout = featurizer.layout
    assert layout[0].start == 0
    assert [field.start for field in layout[1:]] == [field.stop for field in layout[:-1]]
    assert featurizer.num_slots == layout[-1].stop + 64
    assert [field.name for field in layout if not field.in_profile] == ["position"]


def test_a_category_never_seen_is_other_and_null_is_missing(featurizer: Featurizer) -> None:
    batch = batch_of(
        {"a": 3},
        [0, SECOND_US, 2 * SECOND_US],
        {"event_type": ["join", "never seen", None], "agent": ["web"] * 3, "page": ["x"] * 3},
    )
    field = next(field for field in featurizer.layout if field.name == "event_type")
    dense = dense_slots(featurizer, batch)[:, field.start : field.stop]
    assert dense[0, :2].tolist() == [0, 0]
    assert dense[1:].argmax(axis=1).tolist() == [1, 0]


def test_missing_columns_are_columns_of_nulls(
    people: SequenceBatch, featurizer: Featurizer
) -> None:
    few = SequenceBatch(
        people.user_ids, people.offsets, people.ts_us, people.events.select(["event_type"])
    )
    nulls = people.events.select(["event_type"])
    for name, kind in (("agent", pa.string()), ("page", pa.string()), ("size", pa.float64())):
        nulls = nulls.append_column(name, pa.nulls(nulls.num_rows, kind))
    empty = SequenceBatch(people.user_ids, people.offsets, people.ts_us, nulls)
    assert (dense_slots(featurizer, few) == dense_slots(featurizer, empty)).all()
    encoded = featurizer.encode(few)
    assert (encoded.target_E == MISSING).all()
    assert (encoded.previous_E == -1).all()


def test_numbers_that_are_none_are_missing_and_huge_ones_are_bounded(
    featurizer: Featurizer,
) -> None:
    values = [np.nan, np.inf, -np.inf, None, 1e300, -1e300]
    batch = batch_of(
        {"a": 6},
        list(range(6)),
        {"event_type": ["join"] * 6, "size": values},
    )
    field = next(field for field in featurizer.layout if field.name == "size")
    dense = dense_slots(featurizer, batch)[:, field.start : field.stop]
    assert np.isfinite(dense).all()
    assert dense[:4, 0].tolist() == [1.0] * 4
    assert dense[4].argmax() == field.stop - field.start - 1
    assert dense[5].argmax() == 1


def test_nothing_depends_on_the_date_but_for_the_weekday(
    people: SequenceBatch, featurizer: Featurizer
) -> None:
    later = SequenceBatch(
        people.user_ids, people.offsets, people.ts_us + 7 * 300 * DAY_US, people.events
    )
    assert (dense_slots(featurizer, people) == dense_slots(featurizer, later)).all()
    fitted = fit_featurizer(later, SCHEMA, CONFIG)
    assert (dense_slots(fitted, later) == dense_slots(featurizer, people)).all()


def test_nothing_depends_on_the_users_id(people: SequenceBatch, featurizer: Featurizer) -> None:
    renamed = SequenceBatch(
        [f"other {user_id}" for user_id in people.user_ids],
        people.offsets,
        people.ts_us,
        people.events,
    )
    assert (dense_slots(featurizer, people) == dense_slots(featurizer, renamed)).all()


def test_gaps_and_returns_to_a_target_are_told() -> None:
    batch = batch_of(
        {"a": 5, "b": 1},
        [0, 60 * SECOND_US, 61 * SECOND_US, HOUR_US, HOUR_US + 1, 0],
        {"event_type": ["join"] * 6, "page": ["p", "q", "q", "p", None, "p"]},
    )
    featurizer = fit_featurizer(batch, SCHEMA, CONFIG)
    layout = {field.name: field for field in featurizer.layout}
    dense = dense_slots(featurizer, batch)

    def part(name: str) -> np.ndarray:
        return dense[:, layout[name].start : layout[name].stop]

    assert part("relation").argmax(axis=1).tolist() == [1, 1, 3, 2, 0, 1]
    knots = np.arange(-4.0, 31.0)
    gap = part("gap")
    assert gap[:, 0].tolist() == [1, 0, 0, 0, 0, 1]
    assert (gap[1:5, 1:] @ knots) == pytest.approx(
        [np.log2(60), 0.0, np.log2(3600 - 61), -4.0], abs=1e-4
    )
    back = part("return")
    assert back[:, 0].tolist() == [1, 1, 0, 0, 1, 1]
    assert (back[2:4, 1:] @ knots) == pytest.approx([0.0, np.log2(3600)], abs=1e-4)


def test_the_previous_event_with_the_same_target_is_found_as_by_a_loop() -> None:
    rng = np.random.default_rng(3)
    user_E = np.sort(rng.integers(0, 30, 500))
    target_E = rng.integers(0, 6, 500).astype(np.uint64)
    last: dict[tuple[int, int], int] = {}
    expected = []
    for row, (user, target) in enumerate(zip(user_E.tolist(), target_E.tolist(), strict=True)):
        expected.append(last.get((user, target), -1) if target else -1)
        last[user, target] = row
    assert previous_same(user_E, target_E).tolist() == expected


def test_hours_close_to_a_circle() -> None:
    ids, weights = hour_slots(np.array([0, 23 * HOUR_US + HOUR_US // 2, 5 * HOUR_US]))
    assert ids.tolist() == [[0, 1], [23, 0], [5, 6]]
    assert weights.tolist() == [[1, 0], [0.5, 0.5], [1, 0]]


def test_a_category_with_many_values_is_hashed(people: SequenceBatch) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 60, len(people.ts_us)).astype(str)
    batch, schema = with_column(people, SCHEMA, "item", Role.CATEGORY, pa.array(ids))
    featurizer = fit_featurizer(batch, schema, FeaturizerConfig(vocabulary_max=8, hash_buckets=64))
    assert [field.name for field in featurizer.hashed] == ["item", "page"]
    assert featurizer.num_slots == featurizer.num_small_slots + 2 * 64
    assert dense_slots(featurizer, batch).shape[1] == featurizer.num_slots


def test_a_refused_column_gets_no_slots_and_a_refused_target_no_learned_ones(
    people: SequenceBatch,
) -> None:
    featurizer = fit_featurizer(people, SCHEMA, CONFIG, left_out=["agent", "size", "page"])
    names = {field.name for field in featurizer.layout}
    assert not names & {"agent", "size"}
    assert [(field.name, field.learned) for field in featurizer.hashed] == [("page", False)]
    assert featurizer.num_slots == featurizer.num_small_slots


def test_rare_values_share_the_slot_of_other(people: SequenceBatch) -> None:
    kinds = pa.array(["rare"] + ["common"] * (len(people.ts_us) - 1))
    batch, schema = with_column(people, SCHEMA, "flavor", Role.CATEGORY, kinds)
    featurizer = fit_featurizer(batch, schema, CONFIG)
    flavor = next(field for field in featurizer.vocabularies if field.name == "flavor")
    assert len(flavor.values) == 1


def test_a_schema_of_event_types_alone_is_enough() -> None:
    schema = EventSchema((Column("event_type", frozenset({Role.CATEGORY})),))
    batch = make_people(10, 2)
    featurizer = fit_featurizer(batch, schema, CONFIG)
    assert {field.name for field in featurizer.layout} == {
        "event_type",
        "hour",
        "weekday",
        "gap",
        "position",
    }
    assert dense_slots(featurizer, batch).shape == (len(batch.ts_us), featurizer.num_slots)


def test_a_column_called_like_a_derived_field_has_slots_of_its_own() -> None:
    names = ["hour", "column hour", "gap", "agent", "column agent"]
    own = [name_of_slots(name) for name in names]
    assert own == ["column hour", "column column hour", "column gap", "agent", "column agent"]
    people = make_people(40, 1)
    hours = pa.array(np.arange(len(people.ts_us)) % 3, pa.int64()).cast(pa.string())
    batch, schema = with_column(people, SCHEMA, "hour", Role.CATEGORY, hours)
    featurizer = fit_featurizer(batch, schema, FeaturizerConfig(hash_buckets=64))
    ranges = {field.name: field for field in featurizer.layout}
    assert len(ranges) == len(featurizer.layout)
    ids_ES = featurizer.encode(batch).ids_ES
    for name, slots in (("column hour", 1), ("hour", 2)):
        inside = (ids_ES >= ranges[name].start) & (ids_ES < ranges[name].stop)
        assert (inside.sum(axis=1) == slots).all()
