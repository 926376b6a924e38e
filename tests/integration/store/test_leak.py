"""What lies outside a view changes no byte of it: later events or labels, events after a ban."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from store.config import SchemaConfig
from store.lake import EventLake
from store.roles import infer_schema
from store.workspace import Workspace
from tests.integration.store.files import Row, add_events, add_labels, event, labels_as_of

T = datetime(2024, 3, 1, tzinfo=UTC)
BAN = T - timedelta(days=20)
BANNED = [f"u{number:03d}" for number in range(0, 60, 5)]


def day(number: float) -> str:
    return (T + timedelta(days=number)).isoformat()


def past_events() -> list[Row]:
    """Three months of events before T; the banned users stop at their ban."""
    rng = np.random.default_rng(5)
    rows: list[Row] = []
    for _ in range(1500):
        user = f"u{rng.integers(0, 60):03d}"
        days = -rng.random() * (60 if user not in BANNED else 40) - (20 if user in BANNED else 0)
        page = f"page {rng.integers(0, 200)}"
        rows.append(event(user, day(days), page=page, n=int(rng.integers(0, 9)), x=rng.random()))
    return rows


PAST_LABELS = [
    *({"user_id": user, "label": 1, "occurred_at": BAN.isoformat()} for user in BANNED),
    {"user_id": "u001", "label": 0},
    {"user_id": "u002", "label": 0, "known_at": day(-1), "group": "g"},
]


def visible_bytes(workspace: Workspace) -> bytes:
    """Everything that a job sees as of T, as bytes."""
    view = labels_as_of(workspace, T)
    cutoffs = view.cutoffs()
    lake = EventLake(workspace)
    schema = infer_schema(lake, as_of=T, cutoffs=cutoffs, config=SchemaConfig())
    parts: list[bytes] = [repr(schema.to_dict()).encode()]
    parts.append(repr(lake.columns(as_of=T, cutoffs=cutoffs)).encode())
    parts += [to_bytes(view.table), to_bytes(lake.users(as_of=T, cutoffs=cutoffs))]
    for batch in lake.batches(as_of=T, cutoffs=cutoffs, max_events=300):
        parts += [repr(batch.user_ids).encode(), batch.offsets.tobytes(), batch.ts_us.tobytes()]
        parts.append(to_bytes(batch.events))
    return b"|".join(parts)


def to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    result: bytes = sink.getvalue().to_pybytes()
    return result


def make_workspace(folder: Path) -> Workspace:
    workspace = Workspace.create(folder / "workspace")
    add_events(workspace, "past", past_events())
    add_labels(workspace, "labels", PAST_LABELS)
    return workspace


LATER: dict[str, list[dict[str, Any]]] = {
    "events at T": [event("u003", day(0)), event("new", day(0))],
    "later events with new columns and types": [
        event("u003", day(1), page=7, n="many", x=True, brand_new="column", PAGE2="y"),
        event("nobody", day(2), n=1.5),
    ],
    "events at and after a ban": [
        event(BANNED[0], BAN.isoformat(), page="after the ban"),
        event(BANNED[1], day(-1), n="text", after_ban_only=1),
    ],
    "a thousand of both": [
        event(f"u{number % 60:03d}", day(number / 1000), page=f"unique {number}")
        for number in range(1000)
    ]
    + [event(BANNED[number % 12], day(-19 + number / 60)) for number in range(1000)],
}


@pytest.mark.parametrize("name", LATER)
def test_events_outside_the_view_change_nothing(tmp_path: Path, name: str) -> None:
    workspace = make_workspace(tmp_path)
    before = visible_bytes(workspace)
    assert add_events(workspace, "later", LATER[name]).num_rejected == 0
    assert visible_bytes(workspace) == before


def test_later_labels_change_nothing_in_any_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    later: list[dict[str, Any]] = [
        {"user_id": "u003", "label": 1, "known_at": day(0), "occurred_at": day(-30)},
        {"user_id": BANNED[0], "label": 0, "known_at": day(3)},
        {"user_id": BANNED[1], "label": 1, "occurred_at": day(-40), "known_at": day(2)},
        {"user_id": "u004", "label": None, "group": "late", "known_at": day(1)},
        PAST_LABELS[0] | {"revoked_at": day(1)},
    ]
    workspace = make_workspace(tmp_path)
    before = visible_bytes(workspace)
    add_labels(workspace, "one", [later[row] for row in rng.permutation(len(later))])
    assert visible_bytes(workspace) == before
    for row in later[:4]:
        row["label"] = {1: 0, 0: 1}.get(row["label"])
    add_labels(workspace, "two", later[:4])
    assert visible_bytes(workspace) == before


def test_events_inside_the_view_do_change_it(tmp_path: Path) -> None:
    """The comparison above would notice a single event more."""
    workspace = make_workspace(tmp_path)
    before = visible_bytes(workspace)
    add_events(workspace, "later", [event("u003", day(-1e-6))])
    assert visible_bytes(workspace) != before
