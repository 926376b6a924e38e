"""Names and types of columns: what may be kept, and how types of several files meet."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from store.engine import identifier
from store.errors import ColumnsRefused

VARCHAR = "VARCHAR"
BIGINT = "BIGINT"
DOUBLE = "DOUBLE"
BOOLEAN = "BOOLEAN"
TIMESTAMP = "TIMESTAMP WITH TIME ZONE"

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_NESTED = ("STRUCT", "MAP", "UNION", "VARIANT")
_WIDER = {
    frozenset({BOOLEAN, BIGINT}): BIGINT,
    frozenset({BOOLEAN, DOUBLE}): DOUBLE,
    frozenset({BIGINT, DOUBLE}): DOUBLE,
}
_RESERVED = frozenset({"_ingest", "_row", "_reason", "_ts_text", "_ts_us", "file_row_number"})


def check_columns(
    names: Sequence[str], *, required: Iterable[str], columns_max: int, file: Path
) -> None:
    """Refuse columns that can't be kept apart, are reserved, or lack a required one.

    Raises:
        ColumnsRefused: Naming the file, the column, and those that were found.
    """
    if len(names) > columns_max:
        raise ColumnsRefused(f"{file} has more than {columns_max} columns")
    missing = [name for name in required if name not in names]
    if missing:
        found = ", ".join(names[:20]) or "none"
        raise ColumnsRefused(f"{file} lacks the column {missing[0]}; columns found: {found[:400]}")
    seen: dict[str, str] = {}
    for position, name in enumerate(names, 1):
        if not name:
            raise ColumnsRefused(f"{file}: column {position} has no name")
        if name.lower() in seen:
            raise ColumnsRefused(f"{file} has two columns {seen[name.lower()]} and {name}")
        if name.lower() in _RESERVED:
            raise ColumnsRefused(f"{file}: the column name {name} is reserved; rename it")
        seen[name.lower()] = name


def attributes(names: Iterable[str], *, required: Collection[str]) -> list[str]:
    """Return the names of the columns beyond the required ones, in file order."""
    return [name for name in names if name not in required]


def stored_type(duckdb_type: str) -> str | None:
    """Return the type in which a column is kept; None for one that never has a value.

    Integers beyond 64 bits are kept as text: as floats, neighboring ids would become equal.
    """
    if duckdb_type in _INTEGERS:
        return BIGINT
    if duckdb_type in {"FLOAT", "DOUBLE"} or duckdb_type.startswith("DECIMAL"):
        return DOUBLE
    if duckdb_type == "DATE" or duckdb_type.startswith("TIMESTAMP"):
        return TIMESTAMP
    if duckdb_type == '"NULL"' or duckdb_type == "NULL":
        return None
    return BOOLEAN if duckdb_type == BOOLEAN else VARCHAR


def stored_value(name: str, duckdb_type: str) -> str:
    """Return the SQL that turns a column into its stored type; nested values become JSON text.

    A time outside of what the engine can count (some 290,000 years) becomes null.
    """
    column = identifier(name)
    if duckdb_type.startswith(_NESTED) or duckdb_type.endswith("]"):
        return f"CAST(to_json({column}) AS VARCHAR)"
    return f"TRY_CAST({column} AS {stored_type(duckdb_type) or VARCHAR})"


def wider_type(left: str, right: str) -> str:
    """Return the narrowest stored type that holds values of both."""
    return left if left == right else _WIDER.get(frozenset({left, right}), VARCHAR)


def unify_columns(files: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the columns of all files with types that hold all values, sorted by name.

    Names that differ in case only are one column, spelled as in the first file that has it:
    the query engine does not tell them apart.
    """
    types: dict[str, str] = {}
    spelling: dict[str, str] = {}
    for columns in files:
        for name, kind in columns.items():
            first = spelling.setdefault(name.lower(), name)
            types[first] = wider_type(types.get(first, kind), kind)
    return dict(sorted(types.items()))
