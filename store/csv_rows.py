"""CSV as the rows of RFC 4180, each with the physical line it starts at.

Blocks without quotes and stray carriage returns go through Arrow's vectorised parser. In others the
standard library's strict parser finds fields that span lines and says what is wrong with broken
ones. After a broken row parsing goes on at the very next line: one stray quote costs one row.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from store.text_lines import Lines, Reject

_ROW_LINES_MAX = 100


@dataclass(frozen=True)
class CsvRows:
    """Parsed rows: all columns as strings (empty is null), and where each row starts."""

    table: pa.Table
    numbers: list[int]
    rejects: list[Reject]


@dataclass
class _Parsed:
    rows: list[list[str]]
    numbers: list[int]
    rejects: list[Reject]
    num_lines: int


def parse_header(line: str) -> list[str]:
    """Return the column names of a header line.

    Raises:
        ValueError: If its quotes are broken.
    """
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return [name.strip() for name in rows[0]] if rows else []


def parse_rows(blocks: Iterator[Lines], names: Sequence[str]) -> Iterator[CsvRows]:
    """Parse the lines after the header; a quoted field may run on into the next block."""
    pending = Lines([], [], [])
    for block in blocks:
        lines = Lines(pending.texts + block.texts, pending.numbers + block.numbers, [])
        rows, pending = _parse_block(lines, names, final=False)
        yield CsvRows(rows.table, rows.numbers, block.rejects + rows.rejects)
    yield _parse_block(pending, names, final=True)[0]


def _parse_block(lines: Lines, names: Sequence[str], *, final: bool) -> tuple[CsvRows, Lines]:
    if any('"' in text or "\r" in text for text in lines.texts):
        parsed = _parse_quoted(lines, len(names), final=final)
        rest = slice(parsed.num_lines, None)
        rows = CsvRows(_to_table(parsed.rows, names), parsed.numbers, parsed.rejects)
        return rows, Lines(lines.texts[rest], lines.numbers[rest], [])
    return _parse_plain(lines, names), Lines([], [], [])


def _parse_plain(lines: Lines, names: Sequence[str]) -> CsvRows:
    """Parse lines that are a row each; a row's number counts the lines that are not blank."""
    filled = [
        (text, number) for text, number in zip(lines.texts, lines.numbers, strict=True) if text
    ]
    if not filled:
        return CsvRows(_to_table([], names), [], [])
    numbers = [number for _, number in filled]
    bad: list[pa_csv.InvalidRow] = []

    def skip(row: pa_csv.InvalidRow) -> str:
        bad.append(row)
        return "skip"

    content = "\n".join(text for text, _ in filled).encode() + b"\n"
    table = pa_csv.read_csv(
        pa.BufferReader(content),
        read_options=pa_csv.ReadOptions(
            column_names=list(names), use_threads=False, block_size=len(content) + 1
        ),
        parse_options=pa_csv.ParseOptions(quote_char=False, invalid_row_handler=skip),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    dropped = {row.number - 1 for row in bad}
    rejects = [
        Reject(numbers[row.number - 1], _wrong_width(row.actual_columns, row.expected_columns))
        for row in bad
    ]
    kept = [number for position, number in enumerate(numbers) if position not in dropped]
    return CsvRows(table, kept, rejects)


def _parse_quoted(lines: Lines, width: int, *, final: bool) -> _Parsed:
    """Parse lines with quotes; stops early at a row that the next block may complete."""
    parsed = _Parsed([], [], [], num_lines=0)
    while parsed.num_lines < len(lines.texts):
        try:
            _parse_until_broken(lines, width, parsed)
        except csv.Error as error:
            num_open = len(lines.texts) - parsed.num_lines
            if not final and str(error) == "unexpected end of data" and num_open < _ROW_LINES_MAX:
                break
            parsed.rejects.append(Reject(lines.numbers[parsed.num_lines], f"broken CSV: {error}"))
            parsed.num_lines += 1
    return parsed


def _parse_until_broken(lines: Lines, width: int, parsed: _Parsed) -> None:
    first = parsed.num_lines

    def feed() -> Iterator[str]:
        for position in range(first, len(lines.texts)):
            if position - parsed.num_lines >= _ROW_LINES_MAX:
                raise csv.Error("a quote is not closed")
            yield lines.texts[position] + "\n"

    reader = csv.reader(feed(), strict=True)
    for row in reader:
        number = lines.numbers[parsed.num_lines]
        parsed.num_lines = first + reader.line_num
        if len(row) == width:
            parsed.rows.append(row)
            parsed.numbers.append(number)
        elif row:
            parsed.rejects.append(Reject(number, _wrong_width(len(row), width)))


def _wrong_width(found: int, expected: int) -> str:
    return f"{found} columns instead of {expected}"


def _to_table(rows: list[list[str]], names: Sequence[str]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return pa.table(
        {name: _null_if_empty(column) for name, column in zip(names, columns, strict=True)}
    )


def _null_if_empty(values: Sequence[str]) -> pa.Array:
    array = pa.array(values, pa.string())
    return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)
