from datetime import UTC, datetime

import pytest

from jobs.errors import UsageError
from jobs.times import parse_as_of, parse_time

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2025-03-01T12:00:00Z", NOON),
        ("2025-03-01T12:00:00", NOON),
        ("2025-03-01 14:00+02:00", NOON),
        ("1740830400", NOON),
        ("1740830400.5", NOON.replace(microsecond=500_000)),
        ("2025-03-01", NOON.replace(hour=0)),
        ("-86400", datetime(1969, 12, 31, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_utc(text: str, time: datetime) -> None:
    assert parse_time(text) == time


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2025", "20250301", "1" * 30, "2025-13-01", "nan"]
)
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="is no time; write 2025-03-01"):
        parse_time(text)


def test_nothing_is_known_as_of_the_future() -> None:
    before = datetime.now(UTC)
    assert before <= parse_as_of("9999-12-31") <= datetime.now(UTC)
    assert parse_as_of("2025-03-01T12:00:00Z") == NOON
