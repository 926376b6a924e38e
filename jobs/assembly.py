"""Everything of a build but its index: who is in the lake at a time, and their vectors.

Vectors of the live build are taken over where space and fingerprint agree; the other users are
embedded in batches. Both go into one mapped file, so memory is bounded by a batch.

Shape key: `N` users, `B` users of a batch, `D` dimensions.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedder.embedder import Embedder
from index.build import Build
from index.vectors import Vectors, row_blocks
from jobs.errors import LakeMoved
from jobs.terminal import Progress
from store.engine import scratch_folder
from store.errors import LakeEmpty
from store.labels import LabelView
from store.lake import EventLake
from store.sequences import SequenceBatch
from store.workspace import Workspace

Rows = npt.NDArray[np.int64]

EVENTS_PER_BATCH = 200_000
LABEL_COLUMNS = ("label", "policy", "group", "occurred_at_us", "known_at_us")


@dataclass(frozen=True)
class Assembly:
    """The users of a time, sorted by id, and their vectors in the same order.

    Attributes:
        users: The columns of the lake's users and of their labels in force.
        vectors_ND: Unit rows, mapped; gone when the assembly is closed.
        num_embedded: Users embedded anew; the others' vectors were taken over.
    """

    users: pa.Table
    vectors_ND: Vectors
    num_embedded: int


@contextmanager
def assemble(
    workspace: Workspace,
    lake: EventLake,
    embedder: Embedder,
    labels: LabelView,
    *,
    as_of: datetime,
    reusable: Build | None,
    progress: Progress,
) -> Iterator[Assembly]:
    """Yield all users who have events before `as_of` and before their violation, with vectors.

    Args:
        workspace: Where scratch space is.
        lake: The events.
        embedder: Makes the vectors.
        labels: The labels in force at `as_of`.
        as_of: Nothing at or after this time is seen.
        reusable: Build whose vectors may be taken over.
        progress: Called with the users embedded so far.

    Raises:
        LakeEmpty: If no event is visible.
        LakeMoved: If users came or went while the lake was read.
    """
    users = lake.users(as_of=as_of, cutoffs=labels.cutoffs())
    if not users.num_rows:
        raise LakeEmpty(f'no events before {as_of}; run "lookalike ingest events"')
    with scratch_folder(workspace, prefix="vectors-") as folder:
        vectors_ND = np.lib.format.open_memmap(
            folder / "vectors.npy", "w+", np.float32, (users.num_rows, embedder.dim)
        )
        missing = _take_over(users, vectors_ND, embedder.space_id, reusable)
        if len(missing):
            wanted = None if len(missing) == users.num_rows else _ids(users, missing)
            batches = lake.batches(
                as_of=as_of,
                cutoffs=labels.cutoffs(),
                users=wanted,
                columns=[column.name for column in embedder.schema.columns],
                max_events=EVENTS_PER_BATCH,
            )
            _embed(batches, embedder, users, missing, vectors_ND, progress)
        yield Assembly(_with_labels(users, labels), vectors_ND, len(missing))


def _embed(
    batches: Iterable[SequenceBatch],
    embedder: Embedder,
    users: pa.Table,
    missing: Rows,
    vectors_ND: Vectors,
    progress: Progress,
) -> None:
    """Fill the missing rows; batches come in the order of the users."""
    done = 0
    for batch in batches:
        rows = missing[done : done + batch.num_users]
        if _ids(users, rows) != list(batch.user_ids):
            raise LakeMoved("the lake changed while it was read; run it again")
        vectors_ND[rows] = embedder.embed(batch)
        done += batch.num_users
        progress("embed users", done, len(missing))
    if done != len(missing):
        raise LakeMoved("the lake changed while it was read; run it again")


def _take_over(users: pa.Table, vectors_ND: Vectors, space_id: str, reusable: Build | None) -> Rows:
    """Copy the vectors of unchanged users, and return the rows of the others, ascending."""
    if reusable is None or reusable.manifest.space_id != space_id:
        return np.arange(users.num_rows, dtype=np.int64)
    old = reusable.users.table
    old_rows = pc.index_in(users["user_id"], value_set=old["user_id"].cast(pa.string()))
    known = np.flatnonzero(pc.is_valid(old_rows).to_numpy())
    old_rows_known = pc.fill_null(old_rows, 0).to_numpy()[known].astype(np.int64)
    fingerprint = users["fingerprint"].to_numpy()[known]
    unchanged = fingerprint == old["fingerprint"].to_numpy()[old_rows_known]
    rows, source = known[unchanged], old_rows_known[unchanged]
    for block in row_blocks(len(rows), vectors_ND.shape[1] * 4):
        vectors_ND[rows[block]] = reusable.vectors_ND[source[block]]
    is_missing = np.ones(users.num_rows, dtype=bool)
    is_missing[rows] = False
    return np.flatnonzero(is_missing)


def _with_labels(users: pa.Table, labels: LabelView) -> pa.Table:
    """Add the columns of the labels in force; null where a user has none."""
    rows = pc.index_in(users["user_id"], value_set=labels.table["user_id"])
    for name in LABEL_COLUMNS:
        users = users.append_column(name, labels.table[name].combine_chunks().take(rows))
    return users


def _ids(users: pa.Table, rows: Rows) -> list[str]:
    ids: list[str] = users["user_id"].take(pa.array(rows)).to_pylist()
    return ids
