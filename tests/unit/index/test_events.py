from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from index.config import IndexConfig
from index.errors import InvalidEvents
from index.events import events_to_batch
from store.clock import to_us
from store.sequences import SequenceBatch
from tests.index_fakes import NOW, SCHEMA, event

CONFIG = IndexConfig(query_events_max=5, query_string_chars_max=20)


def read(*sequences: list[dict[str, Any]]) -> SequenceBatch:
    return events_to_batch(sequences, SCHEMA, CONFIG, now=NOW)


def test_events_are_sorted_by_time_within_their_sequence() -> None:
    batch = read(
        [event(ts=300, place="c"), event(ts=100, place="a"), event(ts=200, place="b")],
        [event(ts=50, place="z")],
    )
    assert batch.offsets.tolist() == [0, 3, 4]
    assert batch.ts_us.tolist() == [100_000_000, 200_000_000, 300_000_000, 50_000_000]
    assert batch.events.column("place").to_pylist() == ["a", "b", "c", "z"]


def test_events_of_one_time_keep_their_order() -> None:
    batch = read([event(place="first"), event(place="second")])
    assert batch.events.column("place").to_pylist() == ["first", "second"]


@pytest.mark.parametrize(
    "ts",
    [
        "2026-02-01T00:00:00Z",
        "2026-02-01",
        "2026-02-01T01:00:00+01:00",
        "2026-02-01 00:00:00",
        1769904000,
        1769904000.0,
        datetime.fromisoformat("2026-02-01T00:00:00+00:00"),
    ],
)
def test_times_of_all_forms_are_read(ts: object) -> None:
    assert read([event(ts=ts)]).ts_us.tolist() == [1769904000 * 1_000_000]


def test_columns_have_the_types_of_their_roles() -> None:
    batch = read([event(amount=3, level=7.0, mobile="true", place=12, unknown="x", session="s")])
    assert batch.events.schema == pa.schema(
        [
            ("event_type", pa.string()),
            ("amount", pa.float64()),
            ("level", pa.int64()),
            ("mobile", pa.bool_()),
            ("place", pa.string()),
        ]
    )
    assert batch.events.to_pylist() == [
        {"event_type": "visit", "amount": 3.0, "level": 7, "mobile": True, "place": "12"}
    ]


def test_absent_attributes_are_null() -> None:
    row = read([event()]).events.to_pylist()[0]
    assert row == {
        "event_type": "visit",
        "amount": None,
        "level": None,
        "mobile": None,
        "place": None,
    }


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"ts": None}, "ts"),
        ({"ts": "yesterday"}, "ts"),
        ({"ts": True}, "ts"),
        ({"ts": 1e30}, "ts"),
        ({"ts": float("nan")}, "ts"),
        ({"ts": -1}, "ts"),
        ({"ts": (NOW + timedelta(days=2)).isoformat()}, "ts"),
        ({"event_type": None}, "event_type"),
        ({"event_type": "x" * 21}, "event_type"),
        ({"event_type": ["visit"]}, "event_type"),
        ({"amount": "much"}, "amount"),
        ({"amount": float("inf")}, "amount"),
        ({"amount": 10**400}, "amount"),
        ({"level": 1.5}, "level"),
        ({"level": 2**70}, "level"),
        ({"mobile": "perhaps"}, "mobile"),
        ({"mobile": 2}, "mobile"),
        ({"place": {"a": 1}}, "place"),
        ({"place": "\ud800"}, "place"),
    ],
)
def test_what_can_not_be_read_is_pointed_at(fields: dict[str, Any], pointer: str) -> None:
    good = [event(), event()]
    with pytest.raises(InvalidEvents, match=pointer) as caught:
        read(good, [event(), event(**fields)])
    assert caught.value.pointer == f"events/1/{pointer}"
    assert caught.value.item == 1


def test_number_of_events_is_bounded() -> None:
    with pytest.raises(InvalidEvents, match="1 to 5") as caught:
        read([event()], [])
    assert caught.value.item == 1
    with pytest.raises(InvalidEvents, match="not 6"):
        read([event()] * 6)


def test_event_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidEvents) as caught:
        read([event(), "event"])  # type: ignore[list-item]  # what is refused
    assert caught.value.pointer == "events/1"


def test_a_day_ahead_is_allowed() -> None:
    soon = NOW + timedelta(hours=23)
    assert read([event(ts=soon)]).ts_us.tolist() == [to_us(soon)]
