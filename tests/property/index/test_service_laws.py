from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from index.config import IndexConfig
from index.events import events_to_batch
from index.recall import lower_bound
from index.users import UserTable, conform_users
from store.clock import from_us
from tests.index_fakes import NOW, SCHEMA, users_table

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.sets(names, max_size=40), st.lists(names, max_size=10))
def test_lookup_finds_exactly_the_ids_there_are(stored: set[str], asked: list[str]) -> None:
    ids = sorted(stored, key=str.encode)
    table = users_table(len(ids)).set_column(0, "user_id", [ids])
    users = UserTable.of(conform_users(table))
    asked = [*asked, *ids[:3]]
    expected = [ids.index(name) if name in stored else -1 for name in asked]
    assert users.rows_of(asked).tolist() == expected


@given(st.floats(0, 1), st.integers(1, 10_000), st.integers(0, 10**6), st.floats(0.6, 0.999))
def test_bound_is_in_range_and_not_above_the_mean(
    mean: float, num: int, others: int, confidence: float
) -> None:
    bound = lower_bound(mean, num=num, population=num + others, confidence=confidence)
    assert 0 <= bound <= mean + 1e-12


times = st.integers(0, int(NOW.timestamp())).map(
    lambda seconds: datetime.fromtimestamp(seconds, UTC)
)
attributes = st.fixed_dictionaries(
    {"ts": times, "event_type": st.sampled_from(["a", "b"])},
    optional={
        "amount": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "level": st.none() | st.integers(-(2**63), 2**63 - 1),
        "mobile": st.none() | st.booleans(),
        "place": st.none() | names,
        "other": st.integers(),
    },
)


@given(st.lists(st.lists(attributes, min_size=1, max_size=6), min_size=1, max_size=4))
def test_any_well_formed_events_become_the_same_events_in_order(
    sequences: list[list[dict[str, Any]]],
) -> None:
    batch = events_to_batch(sequences, SCHEMA, IndexConfig(), now=NOW)
    rows = batch.events.to_pylist()
    for item, events in enumerate(sequences):
        own = slice(int(batch.offsets[item]), int(batch.offsets[item + 1]))
        expected = sorted(events, key=lambda event: event["ts"])
        assert [from_us(int(ts)) for ts in batch.ts_us[own]] == [event["ts"] for event in expected]
        for row, event in zip(rows[own], expected, strict=True):
            assert row == {name: event.get(name) for name in row}


@given(st.datetimes(datetime(1970, 1, 2), datetime(2026, 2, 1)), st.integers(-12, 12))  # noqa: DTZ001  # the zone is what is drawn
def test_time_means_the_same_in_every_form(moment: datetime, offset: int) -> None:
    utc = moment.replace(tzinfo=UTC)
    local = (utc + timedelta(hours=offset)).replace(tzinfo=None).isoformat()
    forms = [utc, utc.isoformat(), moment.isoformat(), f"{local}{offset:+03d}:00"]
    sequences = [[{"ts": form, "event_type": "a"} for form in forms]]
    batch = events_to_batch(sequences, SCHEMA, IndexConfig(), now=NOW)
    assert len(set(batch.ts_us.tolist())) == 1
