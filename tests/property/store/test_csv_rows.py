"""Whatever is written as CSV is read back, and what is broken costs no other row."""

import csv
import io
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from store.csv_rows import parse_rows
from store.text_lines import Lines, Reject

NAMES = ("a", "b", "c")
texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8)
rows = st.lists(st.tuples(texts, texts, texts), max_size=12)
awkward = st.text("ab\",\n '", max_size=60)


def to_lines(content: str) -> Lines:
    texts = content.split("\n")
    return Lines(texts, list(range(1, len(texts) + 1)), [])


def cut(lines: Lines, at: int) -> list[Lines]:
    halves = [slice(0, at), slice(at, None)]
    return [Lines(lines.texts[half], lines.numbers[half], []) for half in halves]


def parse(blocks: list[Lines]) -> tuple[list[list[str | None]], list[int], list[Reject]]:
    parsed = list(parse_rows(iter(blocks), NAMES))
    values = [[row[name] for name in NAMES] for part in parsed for row in part.table.to_pylist()]
    numbers = list(chain.from_iterable(part.numbers for part in parsed))
    return values, numbers, list(chain.from_iterable(part.rejects for part in parsed))


@given(rows, st.booleans(), st.integers(0, 30))
def test_rows_survive_a_round_trip(
    rows: list[tuple[str, str, str]], quote_all: bool, at: int
) -> None:
    buffer = io.StringIO()
    if quote_all:
        csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    else:
        csv.writer(buffer, lineterminator="\n").writerows(rows)
    values, numbers, rejects = parse(cut(to_lines(buffer.getvalue()), at))
    assert values == [[value or None for value in row] for row in rows]
    assert rejects == []
    lengths = [1 + sum(value.count("\n") for value in row) for row in rows]
    assert numbers == [1 + sum(lengths[:row]) for row in range(len(rows))]


@given(awkward, st.integers(0, 20))
def test_any_text_is_rows_and_rejects(content: str, at: int) -> None:
    """No line is lost or counted twice, and where a block ends makes no difference."""
    whole = parse([to_lines(content)])
    assert parse(cut(to_lines(content), at)) == whole
    values, numbers, rejects = whole
    assert len(values) == len(numbers)
    starts = numbers + [reject.line for reject in rejects]
    assert len(set(starts)) == len(starts)


@given(awkward, st.lists(st.tuples(*[st.sampled_from(["x", "y z", ""])] * 3), min_size=1))
def test_good_rows_after_a_broken_part_are_all_read(
    broken: str, good: list[tuple[str, str, str]]
) -> None:
    """Rows without quotes after anything: an open quote before them takes none of them along."""
    content = broken + "\n" + "\n".join(",".join(row) for row in good)
    values, _, _ = parse([to_lines(content)])
    assert values[len(values) - len(good) :] == [[value or None for value in row] for row in good]
