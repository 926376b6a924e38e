"""The SQL that judges a source's rows as events: their time, and why one is rejected."""

from dataclasses import dataclass

from store.columns import VARCHAR, attributes
from store.config import IngestConfig
from store.engine import identifier, literal
from store.errors import ColumnsRefused
from store.sources import Source
from store.tables import USER_ID_BYTES_MAX

REQUIRED = ("user_id", "ts", "event_type")
EVENT_ID = "event_id"
KNOWN = (*REQUIRED, EVENT_ID)

_ISO_TIME = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?"
_EPOCH_SECONDS = r"[+-]?\d{1,12}(\.\d*)?([eE][+]?\d{1,2})?"
_ID_TYPES = (VARCHAR, "BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER")
_ID_TYPES_MORE = ("USMALLINT", "UTINYINT", "HUGEINT", "UUID", "BLOB", "ENUM")


@dataclass(frozen=True)
class EventRows:
    """Judged rows as SQL.

    Attributes:
        sql: SELECT of `_row`, `user_id`, `ts`, `event_type`, the attributes, and `_reason`, which
            is null for a row that can be kept.
        columns: Stored type of each attribute.
    """

    sql: str
    columns: dict[str, str]


def judge_events(source: Source, config: IngestConfig, *, latest_us: int) -> EventRows:
    """Return the SQL that judges a source's rows; times after `latest_us` are rejects.

    Raises:
        ColumnsRefused: If ids or times are of a type that can't be meant.
    """
    columns = {name: source.types[name] for name in attributes(source.types, required=KNOWN)}
    values = ["_row", id_value("user_id", source), id_value("event_type", source)]
    values += [f"{time_value('ts', source)} AS ts"]
    values += [f"{_time_text(source.types['ts'])} AS _ts_text"]
    if EVENT_ID in source.types:
        values.append(id_value(EVENT_ID, source))
        columns = {EVENT_ID: VARCHAR, **columns}
    values += [identifier(name) for name in columns if name != EVENT_ID]
    parsed = f"SELECT {', '.join(values)} FROM ({source.sql})"
    reason = _reason(columns, config, latest_us)
    return EventRows(f"SELECT *, {reason} AS _reason FROM ({parsed})", columns)


def id_value(name: str, source: Source) -> str:
    """Return the SQL of an id as text, exactly as it is written; null where it is empty.

    Raises:
        ColumnsRefused: If the type can't be an id: 123 in a column of floats would be 123.0.
    """
    kind = source.types[name]
    if not kind.startswith((*_ID_TYPES, *_ID_TYPES_MORE)) or kind.endswith("]"):
        raise ColumnsRefused(f"{source.file}: {name} is of type {kind}; write it as a string")
    column = identifier(name)
    text = column if kind == VARCHAR else f"CAST({column} AS VARCHAR)"
    return f"NULLIF({text}, '') AS {column}"


def time_value(name: str, source: Source) -> str:
    """Return the SQL of a UTC time from a column of any accepted type; null where it is none.

    Raises:
        ColumnsRefused: If the type can't be a time.
    """
    column, kind = identifier(name), source.types[name]
    if kind.startswith("TIMESTAMP") or kind == "DATE":
        return f"TRY_CAST({column} AS TIMESTAMP WITH TIME ZONE)"
    if kind == VARCHAR:
        return _time_from_text(column)
    if kind.startswith(("DECIMAL", "DOUBLE", "FLOAT")) or kind.endswith("INT") or kind == "INTEGER":
        return _time_from_seconds(f"CAST({column} AS DOUBLE)")
    raise ColumnsRefused(
        f"{source.file}: {name} is of type {kind}; write ISO 8601 or epoch seconds"
    )


def _time_from_text(column: str) -> str:
    seconds = _time_from_seconds(f"TRY_CAST({column} AS DOUBLE)")
    return (
        f"CASE WHEN regexp_full_match({column}, {literal(_EPOCH_SECONDS)}) THEN {seconds} "
        f"WHEN regexp_full_match({column}, {literal(_ISO_TIME)}) "
        f"THEN TRY_CAST({column} AS TIMESTAMP WITH TIME ZONE) END"
    )


def _time_from_seconds(seconds: str) -> str:
    """Years 1700 to 2900 are times here; what is outside is no time, and NaN is none either."""
    return (
        f"CASE WHEN {seconds} BETWEEN -8e9 AND 3e10 "
        f"THEN make_timestamptz(TRY_CAST(round({seconds} * 1e6) AS BIGINT)) END"
    )


def _time_text(kind: str) -> str:
    return "ts" if kind == VARCHAR else "CAST(ts AS VARCHAR)"


def _reason(columns: dict[str, str], config: IngestConfig, latest_us: int) -> str:
    shown = "left(_ts_text, 40)"
    cases = [
        *user_id_reasons(config),
        "WHEN event_type IS NULL OR trim(event_type) = '' THEN 'event_type is missing'",
        _too_long("event_type", config.id_chars_max),
        "WHEN ts IS NULL AND (_ts_text IS NULL OR trim(_ts_text) = '') THEN 'ts is missing'",
        f"WHEN ts IS NULL THEN 'ts is not a time: ' || {shown}",
        f"WHEN ts < make_timestamptz(0) THEN 'ts is before 1970: ' || {shown}",
        f"WHEN ts > make_timestamptz({latest_us}) THEN 'ts lies in the future: ' || {shown}",
    ]
    for name, kind in columns.items():
        if kind == VARCHAR:
            limit = config.id_chars_max if name == EVENT_ID else config.string_chars_max
            cases.append(_too_long(name, limit))
    return f"CASE {' '.join(cases)} END"


def user_id_reasons(config: IngestConfig) -> list[str]:
    """Return the cases in which a `user_id` can't be kept; who is kept can be asked for."""
    too_many_bytes = literal(f"user_id is longer than {USER_ID_BYTES_MAX} bytes")
    return [
        "WHEN user_id IS NULL OR trim(user_id) = '' THEN 'user_id is missing'",
        has_zero_character("user_id"),
        _too_long("user_id", config.id_chars_max),
        f"WHEN strlen(user_id) > {USER_ID_BYTES_MAX} THEN {too_many_bytes}",
    ]


def has_zero_character(name: str) -> str:
    """Return the case of a text that PostgreSQL can't hold."""
    reason = literal(f"{name} has a zero character")
    return f"WHEN contains({identifier(name)}, chr(0)) THEN {reason}"


def _too_long(name: str, chars_max: int) -> str:
    """Compare bytes first: cheap, and never less than the characters."""
    column = identifier(name)
    reason = literal(f"{name} is longer than {chars_max} characters")
    return f"WHEN strlen({column}) > {chars_max} AND length({column}) > {chars_max} THEN {reason}"
