from datetime import UTC, datetime, timedelta, timezone

import pytest

from store.clock import from_us, to_us


def test_microseconds_round_trip_through_any_zone() -> None:
    time = datetime(2024, 1, 1, 2, 3, 4, 567891, tzinfo=timezone(timedelta(hours=5)))
    assert from_us(to_us(time)) == time
    assert from_us(to_us(time)).tzinfo is UTC
    assert to_us(datetime(1970, 1, 1, tzinfo=UTC)) == 0


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        to_us(datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None))
