"""Users who asked to be forgotten: their events and labels go, a record of the erasure stays.

The record is written first, so that an erasure cut short is finished by the next one, and so that
a file sent again brings nobody back: ingest leaves out the events and labels of erased users.
"""

import threading
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection, delete, func, select, update

from store.clock import to_us
from store.database import Database
from store.durable import fsync_path
from store.locks import exclusive_lock
from store.manifests import Manifest, Part, read_manifests, remove_leftovers, write_manifest
from store.tables import erasures, labels
from store.workspace import Workspace

REWRITTEN = "-e"
"""Between a part's first name and when it was rewritten last; a name that grew with every erasure
would end at what a file may be called."""
_IDS_PER_STATEMENT = 500


def read_erased(workspace: Workspace) -> set[str]:
    """Return everyone who was erased from a workspace, as its database says now."""
    database = Database(workspace.ops_url)
    try:
        database.migrate()
        return erased_users(database)
    finally:
        database.close()


@dataclass(frozen=True)
class ErasureReceipt:
    """What was erased.

    Attributes:
        user_ids: Users of this request and of earlier ones that were cut short, sorted.
        num_events: Events removed from the lake.
        num_labels: Labels removed.
        num_files_rewritten: Part files that had to be rewritten or removed.
        completed_at: When it was finished, RFC 3339.
    """

    user_ids: tuple[str, ...]
    num_events: int
    num_labels: int
    num_files_rewritten: int
    completed_at: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return asdict(self)


def erased_users(database: Database) -> set[str]:
    """Return the ids of all users whose erasure was requested, finished or not."""
    with database.read() as connection:
        return erased_as_of(connection)


def erased_as_of(connection: Connection) -> set[str]:
    """Return the same as a transaction sees it."""
    return set(connection.scalars(select(erasures.c.user_id)))


class ErasedUsers:
    """All erased users, read again only when there are more of them; safe between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._user_ids: frozenset[str] = frozenset()

    def read(self) -> frozenset[str]:
        """Return their ids: the same object as long as nobody was added, as nobody ever goes.

        Raises:
            DatabaseError: If the database can't be read.
        """
        with self._lock, self._database.read() as connection:
            count = connection.scalar(select(func.count()).select_from(erasures))
            if count != len(self._user_ids):
                self._user_ids = frozenset(connection.scalars(select(erasures.c.user_id)))
            return self._user_ids


def erase_users(
    workspace: Workspace, database: Database, user_ids: Collection[str], *, now: datetime
) -> ErasureReceipt:
    """Remove users' events and labels for good; doing it twice is safe.

    Raises:
        WorkspaceBusy: If another process is writing to the lake.
    """
    with exclusive_lock(workspace.lake_lock_file, purpose="erase"):
        _record_requests(database, user_ids, now)
        pending = _pending(database)
        num_events, num_files = _erase_events(workspace, pending, now)
        num_labels = _erase_labels(database, pending, now)
    return ErasureReceipt(
        user_ids=tuple(sorted(pending)),
        num_events=num_events,
        num_labels=num_labels,
        num_files_rewritten=num_files,
        completed_at=now.isoformat(),
    )


def _record_requests(database: Database, user_ids: Collection[str], now: datetime) -> None:
    """Note who is to be erased; an earlier erasure of the same user becomes pending again."""
    if not user_ids:
        return
    statement = database.insert(erasures).on_conflict_do_update(
        index_elements=["user_id"], set_={"completed_at_us": None}
    )
    rows = [
        {"user_id": user_id, "requested_at_us": to_us(now), "completed_at_us": None}
        for user_id in sorted(set(user_ids))
    ]
    with database.begin() as connection:
        connection.execute(statement, rows)


def _pending(database: Database) -> set[str]:
    with database.read() as connection:
        query = select(erasures.c.user_id).where(erasures.c.completed_at_us.is_(None))
        return set(connection.scalars(query))


def _erase_events(workspace: Workspace, user_ids: set[str], now: datetime) -> tuple[int, int]:
    erased = pa.array(sorted(user_ids), pa.string())
    manifests = read_manifests(workspace)
    num_events = num_files = 0
    for manifest in manifests:
        rewritten = _without_users(workspace, manifest, erased, now_us=to_us(now))
        changed = set(manifest.parts) - set(rewritten.parts)
        if changed:
            write_manifest(workspace, rewritten)
            num_events += manifest.num_rows - rewritten.num_rows
            num_files += len(changed)
    remove_leftovers(workspace, read_manifests(workspace))
    return num_events, num_files


def _without_users(
    workspace: Workspace, manifest: Manifest, erased: pa.Array, *, now_us: int
) -> Manifest:
    parts: list[Part] = []
    for part in manifest.parts:
        file = workspace.lake_dir / part.path
        if not _has_users(file, erased):
            parts.append(part)
            continue
        kept = _rewrite(file, _rewritten(file, now_us), erased)
        if kept is not None:
            parts.append(replace(kept, path=str(Path(part.path).with_name(kept.path))))
    return replace(manifest, parts=tuple(parts))


def _rewritten(file: Path, now_us: int) -> Path:
    """Return where a part goes without some users: its first name, and a number never used yet."""
    first, *before = file.stem.split(REWRITTEN)
    number = max([now_us, *(int(number) + 1 for number in before)])
    return file.with_name(f"{first}{REWRITTEN}{number}.parquet")


def _has_users(file: Path, erased: pa.Array) -> bool:
    with pq.ParquetFile(file) as source:
        batches = source.iter_batches(columns=["user_id"])
        return any(pc.any(pc.is_in(batch.column(0), erased)).as_py() for batch in batches)


def _rewrite(file: Path, target: Path, erased: pa.Array) -> Part | None:
    """Copy a part without the erased users' rows; None, and no file, if no row is left."""
    num_rows, first_us, last_us = 0, 0, 0
    with (
        pq.ParquetFile(file) as source,
        pq.ParquetWriter(target, source.schema_arrow, compression="zstd") as writer,
    ):
        for table in _row_groups(source):
            kept = table.filter(pc.invert(pc.is_in(table.column("user_id"), erased)))
            if kept.num_rows:
                writer.write_table(kept, row_group_size=kept.num_rows)
                ts_us = kept.column("ts").cast(pa.int64())
                first_us = first_us if num_rows else ts_us[0].as_py()
                last_us = ts_us[-1].as_py()
                num_rows += kept.num_rows
    if not num_rows:
        target.unlink()
        return None
    fsync_path(target)
    fsync_path(target.parent)
    return Part(target.name, num_rows, target.stat().st_size, first_us, last_us)


def _row_groups(source: pq.ParquetFile) -> Iterator[pa.Table]:
    for row_group in range(source.num_row_groups):
        yield source.read_row_group(row_group)


def _erase_labels(database: Database, user_ids: set[str], now: datetime) -> int:
    """Delete the users' labels and mark their erasures as completed, in one transaction."""
    ordered = sorted(user_ids)
    num_labels = 0
    with database.begin() as connection:
        for start in range(0, len(ordered), _IDS_PER_STATEMENT):
            chosen = ordered[start : start + _IDS_PER_STATEMENT]
            num_labels += connection.execute(
                delete(labels).where(labels.c.user_id.in_(chosen))
            ).rowcount
            connection.execute(
                update(erasures)
                .where(erasures.c.user_id.in_(chosen))
                .values(completed_at_us=to_us(now))
            )
    return num_labels
