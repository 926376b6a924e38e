"""What people read and write on a command line, for all inputs."""

import contextlib
import tomllib
from datetime import UTC, datetime

from hypothesis import assume, given
from hypothesis import strategies as st

from jobs.errors import UsageError
from jobs.options import toml_value
from jobs.terminal import printable, table
from jobs.times import parse_time

SCALARS = st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False)
# TOML has no lone surrogates; a value of the settings is text.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(SCALARS | TEXTS | st.lists(st.integers(-9, 9)).map(tuple))
def test_a_value_written_as_toml_reads_back_as_itself(value: object) -> None:
    read = tomllib.loads(f"option = {toml_value(value)}")["option"]
    assert read == (list(value) if isinstance(value, tuple) else value)


@given(st.integers(100_000, 250_000_000_000))
def test_a_time_reads_back_from_iso_and_from_epoch_seconds(seconds: int) -> None:
    assume(len(str(seconds)) != 8)  # as long as a date, so refused
    time = parse_time(str(seconds))
    assert time == datetime.fromtimestamp(seconds, UTC)
    assert parse_time(time.isoformat()) == time


@given(st.text())
def test_any_text_is_a_time_in_utc_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_time(text).tzinfo is UTC


@given(st.text())
def test_any_text_can_be_printed_on_one_line(text: str) -> None:
    assert printable(text).isprintable()
    (line,) = table((text.replace("\n", ""),), [])[:1]
    assert "\n" not in line
