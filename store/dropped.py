"""Rows that are well-formed and yet not kept: duplicates by event id, and events of the erased.

Both are noted by row number in the temporary table `dropped`.
"""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from store.engine import Connection, fetch_all, file_list
from store.event_rows import EVENT_ID

CREATE_DROPPED = "CREATE TEMP TABLE dropped (_row BIGINT)"

_NEW = "AND _row NOT IN (SELECT _row FROM dropped)"


def drop_duplicates(connection: Connection, *, where: str, parts: list[Path]) -> int:
    """Note the rows of the view `judged` whose event id came before; return how many.

    The first row of an id in the file counts, unless one of the lake's `parts` has the id.
    """
    ids = f"SELECT event_id, _row FROM judged WHERE event_id IS NOT NULL AND {where}"
    _insert(
        connection,
        f"WITH ids AS ({ids}), repeated AS (SELECT event_id, min(_row) AS first FROM ids "
        "GROUP BY event_id HAVING count(*) > 1) "
        "SELECT _row FROM ids JOIN repeated USING (event_id) WHERE _row > first",
    )
    if parts:
        known = f"read_parquet({file_list(parts)}, hive_partitioning=false, union_by_name=true)"
        _insert(
            connection,
            f"SELECT _row FROM ({ids}) WHERE event_id IN "
            f"(SELECT {EVENT_ID} FROM {known} WHERE {EVENT_ID} IS NOT NULL) {_NEW}",
        )
    return _num_dropped(connection)


def drop_erased(connection: Connection, *, where: str, erased: Collection[str]) -> int:
    """Note the rows of erased users, so that a file sent again brings none back."""
    before = _num_dropped(connection)
    connection.register("erased", pa.table({"user_id": pa.array(sorted(erased), pa.string())}))
    _insert(
        connection,
        f"SELECT _row FROM judged WHERE user_id IN (SELECT user_id FROM erased) AND {where} {_NEW}",
    )
    return _num_dropped(connection) - before


def _insert(connection: Connection, rows: str) -> None:
    connection.execute(f"INSERT INTO dropped {rows}")


def _num_dropped(connection: Connection) -> int:
    ((count,),) = fetch_all(connection, "SELECT count(*) FROM dropped")
    return int(count)
