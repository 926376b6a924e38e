"""Times as microseconds since 1970 UTC, the form in which the store keeps them."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(time: datetime) -> int:
    """Return microseconds since 1970 UTC.

    Raises:
        ValueError: If the time has no zone; a guess would shift the border of what is known.
    """
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone")
    return (time - _EPOCH) // _MICROSECOND


def from_us(time_us: int) -> datetime:
    """Return the UTC time of microseconds since 1970."""
    return _EPOCH + time_us * _MICROSECOND
