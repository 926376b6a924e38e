"""Events that come with a query, read as the lake would read them."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from index.config import IndexConfig
from index.errors import InvalidEvents
from store.clock import to_us
from store.schema import Column, EventSchema, Role
from store.sequences import SequenceBatch

Event = Mapping[str, Any]
Reader = Callable[[Any], Any]

FUTURE_SECONDS_MAX = 86_400
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
EVENT_TYPE = "event_type"


class _Unreadable(ValueError):
    """A value that can't be read; the caller knows where it stands."""


def events_to_batch(
    sequences: Sequence[Sequence[Event]], schema: EventSchema, config: IndexConfig, *, now: datetime
) -> SequenceBatch:
    """Return sequences of events, given in any order, as a batch sorted by time.

    Events carry `ts`, `event_type` and attributes. Attributes that the schema does not know are
    left out, those that are absent are null. The users of the batch are named by their position.

    Args:
        sequences: One list of events per query, at least one event each.
        schema: What the model reads.
        config: Limits of a query.
        now: Events more than a day later are refused, as at ingest.

    Raises:
        InvalidEvents: If an event can't be read; `item` is the sequence, `pointer` the value.
    """
    for item, events in enumerate(sequences):
        _check_length(events, item, config)
    offsets = np.cumsum([0, *map(len, sequences)]).astype(np.int64)
    latest = now + timedelta(seconds=FUTURE_SECONDS_MAX)
    ts_us = np.array(
        _read_all(sequences, "ts", lambda value: _read_time(value, latest)), dtype=np.int64
    )
    owner = np.repeat(np.arange(len(sequences)), np.diff(offsets))
    order = np.lexsort((ts_us, owner))
    table = pa.table(
        {
            column.name: _read_column(sequences, column, config.query_string_chars_max)
            for column in _columns_read(schema)
        }
    )
    user_ids = [str(item) for item in range(len(sequences))]
    return SequenceBatch(user_ids, offsets, ts_us[order], table.take(pa.array(order)))


def _check_length(events: Sequence[Event], item: int, config: IndexConfig) -> None:
    if not 1 <= len(events) <= config.query_events_max:
        raise InvalidEvents(
            f"a query takes 1 to {config.query_events_max} events, not {len(events)}",
            pointer="events",
            item=item,
        )
    for position, event in enumerate(events):
        if not isinstance(event, Mapping):
            raise InvalidEvents(
                "an event must be an object", pointer=f"events/{position}", item=item
            )


def _columns_read(schema: EventSchema) -> list[Column]:
    """Return the schema's columns that have a use, `event_type` among them."""
    used = [column for column in schema.columns if column.roles - {Role.IGNORE}]
    others = [column for column in used if column.name != EVENT_TYPE]
    return [Column(EVENT_TYPE, frozenset({Role.CATEGORY})), *others]


def _read_column(sequences: Sequence[Sequence[Event]], column: Column, chars_max: int) -> pa.Array:
    """Read one attribute of all events with the type that its roles ask for."""
    reader, data_type = _reader_of(column, chars_max)
    required = column.name == EVENT_TYPE
    return pa.array(_read_all(sequences, column.name, reader, required=required), data_type)


def _reader_of(column: Column, chars_max: int) -> tuple[Reader, pa.DataType]:
    if Role.NUMBER in column.roles:
        # A number that is a category too is one that the lake holds as integers.
        if Role.CATEGORY in column.roles:
            return _read_integer, pa.int64()
        return _read_number, pa.float64()
    if Role.FLAG in column.roles:
        return _read_flag, pa.bool_()
    return (lambda value: _read_string(value, chars_max)), pa.string()


def _read_all(
    sequences: Sequence[Sequence[Event]], name: str, reader: Reader, *, required: bool = True
) -> list[Any]:
    """Read one value of every event; null stays null where it may."""
    values = [event.get(name) for event in chain.from_iterable(sequences)]
    try:
        return [
            None if value is None and not required else reader(_present(value)) for value in values
        ]
    except _Unreadable:
        _raise_where(sequences, name, reader, required=required)
        raise


def _raise_where(
    sequences: Sequence[Sequence[Event]], name: str, reader: Reader, *, required: bool
) -> None:
    """Find the first value that can't be read, and say where it is."""
    for item, events in enumerate(sequences):
        for position, event in enumerate(events):
            value = event.get(name)
            try:
                if value is not None or required:
                    reader(_present(value))
            except _Unreadable as error:
                raise InvalidEvents(
                    f"{name} {error}", pointer=f"events/{position}/{name}", item=item
                ) from error


def _present(value: Any) -> Any:
    if value is None:
        raise _Unreadable("is missing")
    return value


def _read_time(value: Any, latest: datetime) -> int:
    """Read ISO 8601 (UTC without a zone), or epoch seconds."""
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
        elif isinstance(value, datetime):
            time = value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            time = datetime.fromtimestamp(value, UTC)
        else:
            raise _Unreadable("must be an ISO 8601 time or epoch seconds")
        time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        time_us = to_us(time)
    except (ValueError, OverflowError, OSError) as error:
        raise _Unreadable("must be an ISO 8601 time or epoch seconds") from error
    if time_us < 0 or time > latest:
        raise _Unreadable("lies before 1970 or in the future")
    return time_us


def _read_number(value: Any) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else float(int(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise _Unreadable("must be a number") from error
    if not math.isfinite(number):
        raise _Unreadable("must be a finite number")
    return number


def _read_integer(value: Any) -> int:
    number = value if isinstance(value, int) else _read_number(value)
    if number != int(number) or not INTEGER_MIN <= number <= INTEGER_MAX:
        raise _Unreadable("must be an integer of 64 bits")
    return int(number)


def _read_flag(value: Any) -> bool:
    if isinstance(value, str):
        value = {"true": True, "1": True, "false": False, "0": False}.get(value.lower(), value)
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise _Unreadable("must be true or false")


def _read_string(value: Any, chars_max: int) -> str:
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, int | float):
        value = str(value)
    if not isinstance(value, str):
        raise _Unreadable("must be a string")
    if len(value) > chars_max:
        raise _Unreadable(f"is longer than {chars_max} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Unreadable("must be valid Unicode") from error
    return value
