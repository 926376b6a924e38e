"""What is known about users, and since when.

A label is visible at T if it was known before T and not revoked by T. Labels are never edited:
they are added, and revoked with a time, so that any past view can be had again.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import ColumnElement, Connection, Select, case, func, or_, select, true

from store.clock import to_us
from store.database import Database
from store.errors import LabelInvalid
from store.tables import labels
from store.view import CUTOFF_SCHEMA, Cutoffs

Item = TypeVar("Item")

VIOLATOR = 1
BENIGN = 0

_ROWS_PER_STATEMENT = 2_000
_VIEW_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("label", pa.int8()),
        ("policy", pa.string()),
        ("group", pa.string()),
        ("occurred_at_us", pa.int64()),
        ("known_at_us", pa.int64()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("extra", pa.string()),
    ]
)

CHANGED_SCHEMA = pa.schema(
    [
        _VIEW_SCHEMA.field(name)
        for name in ("user_id", "label", "policy", "group", "occurred_at_us", "known_at_us")
    ]
)
_WRITING_SECONDS_MAX = 3_600
_PRIME = 1_000_003

_WRITTEN = pa.schema(
    [
        ("user_id", pa.string()),
        ("label", pa.int8()),
        ("occurred_at_us", pa.int64()),
        ("known_at_us", pa.int64()),
        ("revoked_at_us", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Label:
    """One statement about a user.

    Attributes:
        user_id: Whom it is about.
        label: 1 violator, 0 benign, None unknown (it may still name a group).
        policy: Which rule was broken.
        group: A known ring or person.
        occurred_at_us: When the violation or ban happened; later events of the user are not used.
        known_at_us: When we learned it, `occurred_at_us` if not given; None is from the start.
        revoked_at_us: From when on it no longer counts.
        source: Who says so.
        reason: Why.
        extra: Further columns of the source as a JSON object.
    """

    user_id: str
    label: int | None
    policy: str | None = None
    group: str | None = None
    occurred_at_us: int | None = None
    known_at_us: int | None = None
    revoked_at_us: int | None = None
    source: str | None = None
    reason: str | None = None
    extra: str | None = None

    def __post_init__(self) -> None:
        if not self.user_id.strip(" "):
            raise LabelInvalid("a label needs a user_id")
        if self.label not in (VIOLATOR, BENIGN, None):
            raise LabelInvalid(f"label {self.label} is neither 1, 0 nor empty")
        if self.known_at_us is None:
            object.__setattr__(self, "known_at_us", self.occurred_at_us)

    @property
    def content_sha256(self) -> str:
        """Hash of what it says; a revocation does not make it another label."""
        content = {name: value for name, value in vars(self).items() if name != "revoked_at_us"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class LabelView:
    """The labels in force at a time: one row per user, sorted by `user_id`.

    Attributes:
        table: `user_id`, `label` (1, 0, or null for a user of whom only the group is known),
            `policy`, `group`, `occurred_at_us`, `known_at_us`, `source`, `reason`, `extra`. If a
            user has several labels, a violator's wins, then the latest known; `occurred_at_us`
            is the earliest of those that agree with it, and a missing `group` is taken from
            the others.
    """

    table: pa.Table

    def cutoffs(self) -> Cutoffs:
        """Return from when on violators' events must not be used."""
        table = self.table
        cut_off = pc.and_(pc.equal(table["label"], VIOLATOR), pc.is_valid(table["occurred_at_us"]))
        chosen = table.filter(pc.fill_null(cut_off, False)).select(["user_id", "occurred_at_us"])
        return chosen.rename_columns(CUTOFF_SCHEMA.names)


@dataclass(frozen=True)
class AddedLabels:
    """What became of labels that were handed in.

    Attributes:
        num_new: Labels that were not there.
        num_new_revoked: Those of them that are revoked at once, and so end none that was there.
        num_ended: Labels that were there, and are revoked by what was handed in.
    """

    num_new: int
    num_new_revoked: int
    num_ended: int


class LabelStore:
    """Labels in the operational database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_all(
        self, connection: Connection, added: Iterable[Label], *, now: datetime
    ) -> AddedLabels:
        """Add labels within a transaction.

        A label that is there already is not added again, but takes on a revocation. What is
        revoked stays so: a list that is sent every night may not know of it.
        """
        statement = self._database.insert(labels)
        statement = statement.on_conflict_do_update(
            index_elements=["content_sha256"],
            set_={
                "revoked_at_us": func.coalesce(
                    labels.c.revoked_at_us, statement.excluded.revoked_at_us
                ),
                "recorded_at_us": case(
                    (
                        labels.c.revoked_at_us.is_(None)
                        & statement.excluded.revoked_at_us.is_not(None),
                        statement.excluded.recorded_at_us,
                    ),
                    else_=labels.c.recorded_at_us,
                ),
            },
        )
        last_id = connection.execute(select(func.coalesce(func.max(labels.c.id), 0))).scalar_one()
        num_revoked = _num_revoked(connection, true())
        for chunk in _chunks(added):
            connection.execute(statement, [_to_row(label, now) for label in chunk])
        is_new = labels.c.id > last_id
        num_new_revoked = _num_revoked(connection, is_new)
        return AddedLabels(
            int(connection.execute(select(func.count()).where(is_new)).scalar_one()),
            num_new_revoked,
            _num_revoked(connection, true()) - num_new_revoked - num_revoked,
        )

    def as_of(self, as_of: datetime, *, users: Sequence[str] | None = None) -> LabelView:
        """Return the labels known before a time and not revoked by then, of all or some users."""
        us = to_us(as_of)
        some: Iterable[Sequence[str] | None] = [None]
        if users is not None:
            some = _chunks(dict.fromkeys(users))
        with self._database.read() as connection:
            rows = [
                row
                for among in some
                for row in connection.execute(_in_force(us, among=among)).all()
            ]
        columns = zip(*rows, strict=True) if rows else ([] for _ in _VIEW_SCHEMA)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, _VIEW_SCHEMA, strict=True)]
        table = pa.table(arrays, schema=_VIEW_SCHEMA)
        return LabelView(table.sort_by("user_id"))

    def changed_since(self, since: datetime, *, now: datetime) -> pa.Table:
        """Return the labels in force now of every user whose label may be another than it was.

        Args:
            since: The time that the reader has the labels of, as `as_of` returned them then.
            now: Labels that are known later, or revoked by then, don't count.

        Returns:
            The columns of `CHANGED_SCHEMA`, in no order, one row per user with a label that was
            recorded, known or revoked since, or shortly before: a writer may take a while. Nulls
            where a user has no label now.
        """
        touched = select(labels.c.user_id).where(_touched_since(since))
        in_force = _in_force(to_us(now), among=touched).subquery()
        statement = select(*(in_force.c[name] for name in CHANGED_SCHEMA.names))
        with self._database.read() as connection:  # no join: SQLite's takes quadratic time
            # In this order nobody loses a label that is written between the two.
            changed = set(connection.execute(touched.distinct()).scalars())
            rows: list[Sequence[Any]] = [*connection.execute(statement)]
        nothing = (None,) * (len(CHANGED_SCHEMA) - 1)
        rows += [(user_id, *nothing) for user_id in changed.difference(row[0] for row in rows)]
        columns = zip(*rows, strict=True) if rows else ([] for _ in CHANGED_SCHEMA)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, CHANGED_SCHEMA, strict=True)]
        return pa.table(arrays, schema=CHANGED_SCHEMA)

    def state_since(self, since: datetime, *, now: datetime) -> tuple[int | None, ...]:
        """Return numbers that are others whenever `changed_since` returns something else."""
        us, now_us = to_us(since), to_us(now)
        known = labels.c.known_at_us.between(us, now_us - 1)
        revoked = labels.c.revoked_at_us.between(us, now_us)
        statement = select(
            func.count(),
            func.max(labels.c.id),
            func.sum(labels.c.recorded_at_us % _PRIME),  # of all times, without an overflow
            func.sum(case((known, 1), else_=0)),
            func.sum(case((revoked, 1), else_=0)),
        ).where(_touched_since(since))
        with self._database.read() as connection:
            return tuple(connection.execute(statement).one())

    def history(self) -> pa.Table:
        """Return all labels as they were written, in no order; the reader judges what counts when.

        Columns: `user_id`, `label` (null: unknown), `occurred_at_us`, `known_at_us`,
            `revoked_at_us`.
        """
        with self._database.read() as connection:
            rows = connection.execute(select(*(labels.c[name] for name in _WRITTEN.names))).all()
        columns = zip(*rows, strict=True) if rows else ([] for _ in _WRITTEN)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, _WRITTEN, strict=True)]
        return pa.table(arrays, schema=_WRITTEN)


def _num_revoked(connection: Connection, condition: ColumnElement[bool]) -> int:
    query = select(func.count(labels.c.revoked_at_us)).where(condition)
    return int(connection.execute(query).scalar_one())


def _to_row(label: Label, now: datetime) -> dict[str, Any]:
    return {
        **vars(label),
        "content_sha256": label.content_sha256,
        "recorded_at_us": to_us(now),
    }


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, _ROWS_PER_STATEMENT)):
        yield chunk


def _touched_since(since: datetime) -> ColumnElement[bool]:
    """Return the condition of labels that were recorded, known or revoked since a time."""
    us = to_us(since)
    return or_(
        labels.c.recorded_at_us >= us - _WRITING_SECONDS_MAX * 1_000_000,
        labels.c.known_at_us >= us,
        labels.c.revoked_at_us >= us,
    )


def _in_force(as_of_us: int, *, among: Select[Any] | Sequence[str] | None = None) -> Select[Any]:
    """Return the query for the one label that counts of each user, or of some users.

    Ties are broken by content, never by the order in which labels were added.
    """
    strength = case((labels.c.label == VIOLATOR, 0), (labels.c.label == BENIGN, 1), else_=2)
    latest = (func.coalesce(labels.c.known_at_us, -1).desc(), labels.c.content_sha256)
    user = labels.c.user_id
    group_first = case((labels.c.group.is_(None), 1), else_=0)
    ranked = (
        select(
            user,
            labels.c.label,
            labels.c.policy,
            func.first_value(labels.c.group)
            .over(partition_by=user, order_by=(group_first, strength, *latest))
            .label("group"),
            func.min(labels.c.occurred_at_us)
            .over(partition_by=(user, strength))
            .label("occurred_at_us"),
            labels.c.known_at_us,
            labels.c.source,
            labels.c.reason,
            labels.c.extra,
            func.row_number().over(partition_by=user, order_by=(strength, *latest)).label("place"),
        )
        .where(
            or_(labels.c.known_at_us.is_(None), labels.c.known_at_us < as_of_us),
            or_(labels.c.revoked_at_us.is_(None), labels.c.revoked_at_us > as_of_us),
            or_(labels.c.label.is_not(None), labels.c.group.is_not(None)),
            true() if among is None else user.in_(among),
        )
        .subquery()
    )
    kept = [column for column in ranked.c if column.name != "place"]
    return select(*kept).where(ranked.c.place == 1)


class LabelChanges:
    """Labels that changed since a time, read again only when they change; safe between threads."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._store = LabelStore(database)
        self._clock = clock
        self._lock = threading.Lock()
        self._state: tuple[object, ...] | None = None
        self._changes = CHANGED_SCHEMA.empty_table()

    def read(self, since: datetime) -> pa.Table:
        """Return `LabelStore.changed_since`: the same object as long as nothing changed.

        Raises:
            DatabaseError: If the database can't be read.
        """
        with self._lock:
            now = self._clock()
            state = (since, *self._store.state_since(since, now=now))
            if state != self._state:
                self._changes, self._state = self._store.changed_since(since, now=now), state
            return self._changes
