"""What is known about users, and since when.

A label is visible at T if it was known before T and not revoked by T. Labels are never edited:
they are added, and revoked with a time, so that any past view can be had again.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Select, case, func, or_, select

from store.clock import to_us
from store.database import Database
from store.errors import LabelInvalid
from store.tables import labels
from store.view import CUTOFF_SCHEMA, Cutoffs

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
        if not self.user_id.strip():
            raise LabelInvalid("a label needs a user_id")
        if self.label not in (VIOLATOR, BENIGN, None):
            raise LabelInvalid(f"label {self.label} is neither 1, 0 nor empty")
        if self.known_at_us is None:
            object.__setattr__(self, "known_at_us", self.occurred_at_us)

    @property
    def content_sha256(self) -> str:
        """Hash of what it says; a revocation does not make it another label."""
        content = asdict(self)
        del content["revoked_at_us"]
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


class LabelStore:
    """Labels in the operational database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_all(self, connection: Connection, added: Iterable[Label], *, now: datetime) -> int:
        """Add labels within a transaction and return how many are new.

        A label that is there already is not added again, but takes on a revocation.
        """
        statement = self._database.insert(labels)
        statement = statement.on_conflict_do_update(
            index_elements=["content_sha256"],
            set_={
                "revoked_at_us": func.coalesce(
                    labels.c.revoked_at_us, statement.excluded.revoked_at_us
                )
            },
        )
        before = _count(connection)
        for chunk in _chunks(added):
            connection.execute(statement, [_to_row(label, now) for label in chunk])
        return _count(connection) - before

    def as_of(self, as_of: datetime) -> LabelView:
        """Return the labels known before a time and not revoked by then."""
        with self._database.read() as connection:
            rows = connection.execute(_in_force(to_us(as_of))).all()
        columns = zip(*rows, strict=True) if rows else ([] for _ in _VIEW_SCHEMA)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, _VIEW_SCHEMA, strict=True)]
        table = pa.table(arrays, schema=_VIEW_SCHEMA)
        return LabelView(table.sort_by("user_id"))

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


def _count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(labels)).scalar_one())


def _to_row(label: Label, now: datetime) -> dict[str, Any]:
    return {
        **asdict(label),
        "content_sha256": label.content_sha256,
        "recorded_at_us": to_us(now),
    }


def _chunks(added: Iterable[Label]) -> Iterator[list[Label]]:
    remaining = iter(added)
    while chunk := list(islice(remaining, _ROWS_PER_STATEMENT)):
        yield chunk


def _in_force(as_of_us: int) -> Select[Any]:
    """Return the query for the one label that counts of each user.

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
        )
        .subquery()
    )
    kept = [column for column in ranked.c if column.name != "place"]
    return select(*kept).where(ranked.c.place == 1)
