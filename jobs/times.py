"""Times as people write them on a command line; UTC unless they name a zone."""

from datetime import UTC, datetime

from jobs.errors import UsageError

# "2025" and "20250301" are dates to a person and seconds of 1970 to a machine.
AMBIGUOUS_LENGTHS = (4, 8)


def parse_time(text: str) -> datetime:
    """Read ISO 8601, a date (its first instant) or epoch seconds.

    Raises:
        UsageError: If it is none of them.
    """
    try:
        seconds = text.removeprefix("-").replace(".", "", 1)
        return _from_epoch(text) if seconds.isdecimal() else _from_iso(text)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"{text!r} is no time; write 2025-03-01, 2025-03-01T12:00:00Z or epoch seconds"
        ) from error


def parse_as_of(text: str) -> datetime:
    """Read a time as `parse_time` does; one in the future is now, since nobody knows more.

    A model or build dated ahead would hide every honest one made before its time.
    """
    return min(parse_time(text), datetime.now(UTC))


def _from_epoch(text: str) -> datetime:
    if len(text) in AMBIGUOUS_LENGTHS:
        raise ValueError("a date without dashes, or seconds?")
    return datetime.fromtimestamp(float(text), UTC)


def _from_iso(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
