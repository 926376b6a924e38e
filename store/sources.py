"""A file of any accepted format as one SQL relation of typed rows, each with its row number.

CSV and JSON Lines are first staged as Parquet of text columns in the scratch folder, block by
block, so that memory is bounded and every later step is the same for all formats.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from store.columns import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    VARCHAR,
    attributes,
    check_columns,
    stored_type,
    stored_value,
)
from store.config import IngestConfig
from store.csv_rows import parse_header, parse_rows
from store.durable import sha256_file
from store.engine import (
    Connection,
    fetch_all,
    file_list,
    first_line,
    identifier,
    literal,
)
from store.errors import FileUnreadable
from store.rejects import RejectsWriter
from store.text_lines import Lines, read_lines

_INTEGER = r"-?(0|[1-9][0-9]{0,17})"
_NUMBER = r"-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?"
_STAGED_ROWS = 100_000


@dataclass(frozen=True)
class SourceFile:
    """A file, the hash of its content, and what tells that it was written to since."""

    path: Path
    sha256: str
    modified_ns: int
    num_bytes: int

    @classmethod
    def read(cls, path: Path) -> "SourceFile":
        """Hash a file.

        Raises:
            FileUnreadable: If there is none.
        """
        if not path.is_file():
            raise FileUnreadable(f"{path} does not exist or is not a file")
        status = path.stat()
        return cls(path, sha256_file(path), status.st_mtime_ns, status.st_size)

    def check_unchanged(self) -> None:
        """Refuse what was read of a file that was written to meanwhile.

        Raises:
            FileUnreadable: If it was.
        """
        status = self.path.stat()
        if (status.st_mtime_ns, status.st_size) != (self.modified_ns, self.num_bytes):
            raise FileUnreadable(f"{self.path} was written to while it was read; send it again")


@dataclass(frozen=True)
class Source:
    """A file's well-formed rows and what was malformed.

    Attributes:
        file: The file, for messages.
        sql: SELECT of `_row` (1-based line, for Parquet row), the required columns as the file has
            them, and the attributes in their stored types.
        types: Type of each column that `sql` selects, without `_row`.
        malformed: Parquet file of `line` and `reason`.
        num_malformed: Its rows.
    """

    file: Path
    sql: str
    types: dict[str, str]
    malformed: Path
    num_malformed: int


@dataclass(frozen=True)
class SourceOptions:
    """What to open and how: `required` columns must be there, `known` ones keep their raw form."""

    required: Sequence[str]
    known: Sequence[str]
    config: IngestConfig


Opener = Callable[[Connection, Path, Path, SourceOptions], Source]


def open_source(
    connection: Connection, file: Path, scratch: Path, options: SourceOptions
) -> Source:
    """Read a file's columns and stage its rows.

    Raises:
        FileUnreadable: If it is missing, empty, of an unknown format, or not what its name says.
        ColumnsRefused: If its columns can't be used.
    """
    opener = _opener(file)
    if not file.is_file():
        raise FileUnreadable(f"{file} does not exist or is not a file")
    if file.stat().st_size == 0:
        raise FileUnreadable(f"{file} is empty")
    return opener(connection, file, scratch, options)


def _opener(file: Path) -> Opener:
    name = file.name.lower().removesuffix(".gz")
    openers: dict[str, Opener] = {
        ".csv": _open_csv,
        ".jsonl": _open_jsonl,
        ".ndjson": _open_jsonl,
        ".json": _open_jsonl,
    }
    if file.suffix.lower() in {".parquet", ".pq"}:
        return _open_parquet
    for suffix, opener in openers.items():
        if name.endswith(suffix):
            return opener
    raise FileUnreadable(
        f"{file} is of no known format; accepted are .parquet, .csv, .csv.gz, .jsonl, .jsonl.gz"
    )


def _open_parquet(
    connection: Connection, file: Path, scratch: Path, options: SourceOptions
) -> Source:
    relation = f"read_parquet({file_list([file])}, hive_partitioning=false)"
    try:
        names = pq.read_schema(file).names
        check_columns(
            names, required=options.required, columns_max=options.config.columns_max, file=file
        )
        described = fetch_all(connection, f"DESCRIBE SELECT * FROM {relation}")
    except (pa.ArrowException, ValueError, OSError, duckdb.Error) as error:
        raise FileUnreadable(
            f"{file} is not a readable Parquet file: {first_line(error)}"
        ) from error
    found = {str(row[0]): str(row[1]) for row in described}
    raw = {name: found[name] for name in options.known if name in found}
    extra = [
        name
        for name in attributes(found, required=options.known)
        if stored_type(found[name]) is not None
    ]
    values = [identifier(name) for name in raw]
    values += [f"{stored_value(name, found[name])} AS {identifier(name)}" for name in extra]
    types = raw | {name: stored_type(found[name]) or VARCHAR for name in extra}
    relation = f"read_parquet({file_list([file])}, hive_partitioning=false, file_row_number=true)"
    sql = f"SELECT file_row_number + 1 AS _row, {', '.join(values)} FROM {relation}"
    with RejectsWriter(scratch / "malformed.parquet") as malformed:
        return Source(file, sql, types, malformed.path, 0)


def _open_csv(connection: Connection, file: Path, scratch: Path, options: SourceOptions) -> Source:
    staged = scratch / "rows.parquet"
    blocks = read_lines(file, line_bytes_max=options.config.line_bytes_max)
    names, blocks = _csv_header(file, blocks)
    check_columns(
        names, required=options.required, columns_max=options.config.columns_max, file=file
    )
    with RejectsWriter(scratch / "malformed.parquet") as malformed:
        _stage(staged, names, _csv_tables(blocks, names, malformed))
    known = {name: VARCHAR for name in options.known if name in names}
    relation = f"read_parquet({literal(staged)})"
    types = known | _infer_types(connection, relation, attributes(names, required=options.known))
    values = [_text_value(name, types[name], identifier(name)) for name in types]
    sql = f"SELECT _row, {', '.join(values)} FROM {relation}"
    return Source(file, sql, types, malformed.path, malformed.num_rejects)


def _csv_header(file: Path, blocks: Iterator[Lines]) -> tuple[list[str], Iterator[Lines]]:
    first = next(blocks, None)
    if first is None or not first.texts or first.numbers[0] != 1:
        raise FileUnreadable(f"{file} has no readable header line; is it UTF-8 text?")
    try:
        names = parse_header(first.texts[0])
    except ValueError as error:
        raise FileUnreadable(f"{file} has a broken header line: {error}") from error
    rest = Lines(first.texts[1:], first.numbers[1:], first.rejects)
    return names, chain([rest], blocks)


def _csv_tables(
    blocks: Iterator[Lines], names: Sequence[str], malformed: RejectsWriter
) -> Iterator[pa.Table]:
    for rows in parse_rows(blocks, names):
        malformed.add(rows.rejects)
        yield rows.table.append_column("_row", pa.array(rows.numbers, pa.int64()))


def _stage(path: Path, names: Sequence[str], tables: Iterator[pa.Table]) -> None:
    """Write text columns and `_row` to a scratch Parquet file."""
    schema = pa.schema([*((name, pa.string()) for name in names), ("_row", pa.int64())])
    with pq.ParquetWriter(path, schema, compression="lz4") as writer:
        for table in tables:
            writer.write_table(table.cast(schema), row_group_size=_STAGED_ROWS)


def _open_jsonl(
    connection: Connection, file: Path, scratch: Path, options: SourceOptions
) -> Source:
    lines = f"read_parquet({literal(scratch / 'lines.parquet')})"
    blocks = read_lines(file, line_bytes_max=options.config.line_bytes_max)
    with RejectsWriter(scratch / "malformed.parquet") as malformed:
        _stage(scratch / "lines.parquet", ["line"], _line_tables(blocks, malformed))
    broken = "CASE WHEN json_valid(line) THEN json_type(line) <> 'OBJECT' ELSE true END"
    _split_broken(connection, lines, broken, scratch)
    objects = f"read_parquet({literal(scratch / 'objects.parquet')})"
    names = _json_keys(connection, objects, options.config.columns_max, file)
    check_columns(
        names, required=options.required, columns_max=options.config.columns_max, file=file
    )
    rows = _stage_json_rows(connection, objects, names, scratch / "rows.parquet")
    known = {name: VARCHAR for name in options.known if name in names}
    types = known | _infer_types(connection, rows, attributes(names, required=options.known))
    values = [_json_value(name, types[name], known=name in known) for name in types]
    sql = f"SELECT _row, {', '.join(values)} FROM {rows}"
    malformed_files = file_list([malformed.path, scratch / "broken.parquet"])
    merged = scratch / "all_malformed.parquet"
    connection.execute(
        f"COPY (SELECT line, reason FROM read_parquet({malformed_files})) TO {literal(merged)}"
    )
    return Source(file, sql, types, merged, pq.read_metadata(merged).num_rows)


def _line_tables(blocks: Iterator[Lines], malformed: RejectsWriter) -> Iterator[pa.Table]:
    for block in blocks:
        malformed.add(block.rejects)
        filled = [
            (text, number)
            for text, number in zip(block.texts, block.numbers, strict=True)
            if text and not text.isspace()
        ]
        texts, numbers = zip(*filled, strict=True) if filled else ((), ())
        yield pa.table(
            {"line": pa.array(texts, pa.string()), "_row": pa.array(numbers, pa.int64())}
        )


def _split_broken(connection: Connection, lines: str, broken: str, scratch: Path) -> None:
    """Part the lines that are JSON objects from those that are not."""
    connection.execute(
        f"COPY (SELECT _row AS line, CASE WHEN json_valid(line) THEN 'not a JSON object' "
        f"ELSE 'not valid JSON' END AS reason FROM {lines} WHERE {broken}) "
        f"TO {literal(scratch / 'broken.parquet')}"
    )
    connection.execute(
        f"COPY (SELECT line, _row FROM {lines} WHERE NOT {broken}) "
        f"TO {literal(scratch / 'objects.parquet')} (COMPRESSION lz4)"
    )


def _json_keys(connection: Connection, objects: str, columns_max: int, file: Path) -> list[str]:
    keys = fetch_all(
        connection,
        f"SELECT DISTINCT unnest(json_keys(line)) AS key FROM {objects} "
        f"ORDER BY key LIMIT {columns_max + 1}",
    )
    if not keys:
        raise FileUnreadable(f"{file} has no row that is a JSON object")
    return [str(key) for (key,) in keys]


def _stage_json_rows(connection: Connection, objects: str, names: list[str], path: Path) -> str:
    """Write each key's JSON text as a column; JSON null is no value."""
    structure = literal(json.dumps(dict.fromkeys(names, "JSON"), ensure_ascii=False))
    values = [
        f"NULLIF(CAST(fields.{identifier(name)} AS VARCHAR), 'null') AS {identifier(name)}"
        for name in names
    ]
    connection.execute(
        f"COPY (SELECT _row, {', '.join(values)} FROM "
        f"(SELECT _row, json_transform(line, {structure}) AS fields FROM {objects})) "
        f"TO {literal(path)} (COMPRESSION lz4)"
    )
    return f"read_parquet({literal(path)})"


def _json_value(name: str, kind: str, *, known: bool) -> str:
    """Return the SQL of a key's value; a required key that is an object or list has none."""
    column = identifier(name)
    if kind != VARCHAR:
        return _text_value(name, kind, column)
    text = f"json_extract_string({column}, '$')"
    if known:
        text = f"CASE WHEN json_type({column}) NOT IN ('OBJECT', 'ARRAY') THEN {text} END"
    return f"{text} AS {column}"


def _text_value(name: str, kind: str, text: str) -> str:
    value = text if kind == VARCHAR else f"CAST({text} AS {kind})"
    return f"{value} AS {identifier(name)}"


def _infer_types(connection: Connection, relation: str, names: Sequence[str]) -> dict[str, str]:
    """Return the narrowest type that fits all values of a text column; empty ones are left out."""
    types: dict[str, str] = {}
    for name in names:
        column = identifier(name)
        ((num_values, integers, numbers, booleans),) = fetch_all(
            connection,
            f"SELECT count({column}), bool_and(regexp_full_match({column}, {literal(_INTEGER)})), "
            f"bool_and(regexp_full_match({column}, {literal(_NUMBER)})), "
            f"bool_and(lower({column}) IN ('true', 'false')) FROM {relation}",
        )
        if num_values:
            types[name] = _narrowest(integers=integers, numbers=numbers, booleans=booleans)
    return types


def _narrowest(*, integers: bool, numbers: bool, booleans: bool) -> str:
    if integers:
        return BIGINT
    if numbers:
        return DOUBLE
    return BOOLEAN if booleans else VARCHAR
