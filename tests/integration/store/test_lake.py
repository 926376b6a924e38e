"""Reading the lake: order, whole users, unified columns, and views that time alone decides."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from store.clock import to_us
from store.config import IngestConfig
from store.lake import EventLake
from store.sequences import SequenceBatch
from store.view import CUTOFF_SCHEMA, Cutoffs
from store.workspace import Workspace
from tests.integration.store.files import NOW, add_events, event, ingest, read_rows

T = datetime(2024, 1, 10, tzinfo=UTC)


def at(hours: float) -> str:
    return (T + timedelta(hours=hours)).isoformat()


def cutoffs(**hours: float) -> Cutoffs:
    times = [to_us(T + timedelta(hours=value)) for value in hours.values()]
    return pa.table([list(hours), times], schema=CUTOFF_SCHEMA)


def test_an_empty_lake_has_nothing(workspace: Workspace) -> None:
    lake = EventLake(workspace)
    assert list(lake.batches(as_of=NOW)) == []
    assert lake.users(as_of=NOW).num_rows == 0
    assert len(lake.user_ids(as_of=NOW)) == 0
    assert lake.users(as_of=NOW).column_names[0] == "user_id"
    assert lake.columns() == {}
    summary = lake.summary(as_of=NOW)
    assert (summary.num_events, summary.num_users, summary.first_ts) == (0, 0, None)


def test_users_come_in_the_order_of_their_bytes(workspace: Workspace) -> None:
    ids = ["b", "B", "a", "ä", "aa", "Z", "10", "9", "\U0001f600", "\uffff"]
    add_events(workspace, "a", [event(user_id, 1) for user_id in ids])
    read = [user for batch in EventLake(workspace).batches(as_of=NOW) for user in batch.user_ids]
    assert read == sorted(ids, key=str.encode)
    assert EventLake(workspace).users(as_of=NOW).column("user_id").to_pylist() == read


def test_equal_times_keep_the_order_of_files_and_rows(workspace: Workspace) -> None:
    add_events(workspace, "a", [event("al", 5, n=number) for number in (3, 1, 2)])
    add_events(workspace, "b", [event("al", 5, n=number) for number in (9, 8)])
    add_events(workspace, "c", [event("al", 4, n=0)])
    assert [row["n"] for row in read_rows(workspace)] == [0, 3, 1, 2, 9, 8]


def test_a_user_is_read_alike_alone_and_with_all_others(workspace: Workspace) -> None:
    add_events(workspace, "a", [event("al", 1, Page="x", version=1.0)])
    add_events(workspace, "b", [event("bo", 2, page="y", version="2.0b")])
    add_events(workspace, "c", [event("cy", at(1), version=True, more=1)])
    lake = EventLake(workspace)
    for given in (None, cutoffs(cy=0)):  # all that the last file has is cut off
        together = {row["user_id"]: row for row in read_rows(workspace, cutoffs=given)}
        all_users = lake.users(as_of=NOW, cutoffs=given)
        assert together["al"]["version"] == "1.0"
        assert set(lake.user_ids(as_of=NOW, cutoffs=given).to_pylist()) == set(together)
        for row, (user_id, seen) in enumerate(together.items()):
            assert read_rows(workspace, cutoffs=given, users=[user_id]) == [seen]
            assert lake.users(as_of=NOW, cutoffs=given, users=[user_id]) == all_users.slice(row, 1)


def test_columns_are_found_however_a_file_spells_them(workspace: Workspace) -> None:
    add_events(workspace, "a", [event("al", 1, Page="x")])
    add_events(workspace, "b", [event("bo", 2, page="y")])
    rows = read_rows(workspace, columns=["PAGE", "none"])
    assert [(row["PAGE"], row["none"]) for row in rows] == [("x", None), ("y", None)]


def test_columns_of_a_view_are_spelled_as_in_its_first_visible_file(workspace: Workspace) -> None:
    add_events(workspace, "a", [event("al", at(1), Page=1)])
    add_events(workspace, "b", [event("bo", at(2), page="y")])
    add_events(workspace, "c", [event("cy", at(3), Page=3)])
    lake = EventLake(workspace)
    assert lake.columns() == {"Page": "VARCHAR"}
    assert lake.columns(as_of=NOW, cutoffs=cutoffs(al=0)) == {"page": "VARCHAR"}
    assert lake.columns(as_of=NOW, cutoffs=cutoffs(al=0, bo=0)) == {"Page": "BIGINT"}


def flat(batches: list[SequenceBatch]) -> list[tuple[str, int]]:
    return [
        (user_id, int(count))
        for batch in batches
        for user_id, count in zip(batch.user_ids, batch.num_events, strict=True)
    ]


@pytest.mark.parametrize("max_events", [1, 2, 3, 7, 50, 1000])
def test_batches_hold_whole_users_and_close_when_full(
    workspace: Workspace, max_events: int
) -> None:
    rng = np.random.default_rng(1)
    users = [f"u{number:02d}" for number in rng.integers(0, 30, 200)]
    add_events(workspace, "a", [event(user, number) for number, user in enumerate(users)])
    batches = list(EventLake(workspace).batches(as_of=NOW, max_events=max_events))
    assert flat(batches) == sorted((user, users.count(user)) for user in set(users))
    for batch in batches:
        assert np.all(np.diff(batch.ts_us) > 0) or batch.num_users > 1
        assert batch.ts_us.flags.c_contiguous
        assert len(batch.ts_us) - batch.num_events[-1] < max_events
    assert all(len(batch.ts_us) >= max_events for batch in batches[:-1])


def test_only_events_before_the_time_are_visible(workspace: Workspace) -> None:
    add_events(workspace, "a", [event("al", at(-1)), event("al", at(0)), event("bo", at(1))])
    assert [row["ts_us"] for row in read_rows(workspace, T)] == [to_us(T) - 3_600_000_000]
    summary = EventLake(workspace).summary(as_of=T)
    assert (summary.num_events, summary.num_users) == (1, 1)
    assert summary.first_ts == summary.last_ts == T - timedelta(hours=1)


def test_a_cutoff_hides_a_users_later_events(workspace: Workspace) -> None:
    add_events(
        workspace,
        "a",
        [event(user, at(hour)) for user in ("al", "bo", "cy") for hour in (-3, -2, -1)],
    )
    rows = read_rows(workspace, T, cutoffs=cutoffs(al=-2, bo=-3, nobody=-9))
    assert [row["user_id"] for row in rows] == ["al", "cy", "cy", "cy"]
    users = EventLake(workspace).users(as_of=T, cutoffs=cutoffs(al=-2, bo=-3))
    assert users.select(["user_id", "num_events"]).to_pylist() == [
        {"user_id": "al", "num_events": 1},
        {"user_id": "cy", "num_events": 3},
    ]
    assert len(read_rows(workspace, T, cutoffs=CUTOFF_SCHEMA.empty_table())) == 9


def test_only_the_users_asked_for_are_read(workspace: Workspace) -> None:
    add_events(workspace, "a", [event(user, 1) for user in "abc"])
    rows = read_rows(workspace, users=["c", "nobody", "a"])
    assert [row["user_id"] for row in rows] == ["a", "c"]
    assert read_rows(workspace, users=[]) == []


def test_columns_of_several_files_meet_in_the_widest_type(workspace: Workspace) -> None:
    add_events(workspace, "a", [event("a", 1, n=1, x=1, ok=True, s=1, Page="p", flag=True)])
    add_events(workspace, "b", [event("b", 2, n=2, x=0.5, ok=1, s="one", page="q", new="here")])
    assert EventLake(workspace).columns() == {
        "Page": "VARCHAR",
        "flag": "BOOLEAN",
        "n": "BIGINT",
        "new": "VARCHAR",
        "ok": "BIGINT",
        "s": "VARCHAR",
        "x": "DOUBLE",
    }
    first, second = read_rows(workspace)
    assert (first["x"], first["ok"], first["s"], first["new"]) == (1.0, 1, "1", None)
    assert (second["x"], second["ok"], second["s"], second["flag"]) == (0.5, 1, "one", None)
    assert (first["Page"], second["Page"]) == ("p", "q")


def test_the_columns_asked_for_come_in_that_order(workspace: Workspace) -> None:
    add_events(workspace, "a", [event("a", 1, n=1, x=0.5, leak_label=1)])
    (batch,) = EventLake(workspace).batches(
        as_of=NOW, columns=["x", "absent", "event_type", "n", "leak_label"]
    )
    assert batch.events.to_pylist() == [
        {"event_type": "click", "x": 0.5, "absent": None, "n": 1, "leak_label": None}
    ]
    assert batch.events.schema.field("absent").type == pa.string()
    assert "leak_label" not in EventLake(workspace).columns()
    assert EventLake(workspace).withheld_columns() == ("leak_label",)
    assert "leak_label" not in read_rows(workspace)[0]


def test_a_pinned_lake_does_not_see_later_files(workspace: Workspace) -> None:
    add_events(workspace, "a", [event("al", 1)])
    pinned = EventLake(workspace).pinned()
    add_events(workspace, "b", [event("bo", 1)])
    assert pinned.users(as_of=NOW).column("user_id").to_pylist() == ["al"]
    assert pinned.pinned().summary(as_of=NOW).num_events == 2


def test_a_reader_that_stops_early_leaves_no_scratch_files(workspace: Workspace) -> None:
    add_events(workspace, "a", [event(user, 1) for user in "abc"])
    batches = EventLake(workspace).batches(as_of=NOW, max_events=1)
    next(batches)
    assert len(list(workspace.temporary_dir.iterdir())) == 1
    batches.close()
    assert list(workspace.temporary_dir.iterdir()) == []


@pytest.mark.slow
def test_a_sort_larger_than_memory_spills(workspace: Workspace, tmp_path: Path) -> None:
    """300 MB of incompressible strings through an engine with 256 MB."""
    rng = np.random.default_rng(1)
    rows = 300_000
    table = pa.table(
        {
            "user_id": [f"u{number}" for number in rng.integers(0, 5000, rows)],
            "ts": rng.integers(0, 10**9, rows),
            "event_type": ["a"] * rows,
            "text": pa.array([rng.bytes(500).hex() for _ in range(rows)]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=10_000)
    config = IngestConfig(memory_limit_mb=512, part_rows_min=1, part_rows_max=50_000)
    assert ingest(workspace, tmp_path / "a.parquet", config).num_kept == rows
    lake = EventLake(workspace, memory_limit_mb=256, threads=1)
    num_events = 0
    previous = ""
    for batch in lake.batches(as_of=NOW, max_events=10_000):
        num_events += len(batch.ts_us)
        assert previous < batch.user_ids[0]
        previous = batch.user_ids[-1]
    assert num_events == rows


# Fingerprints.


def fingerprints(workspace: Workspace, as_of: datetime = NOW) -> dict[str, int]:
    users = EventLake(workspace).users(as_of=as_of)
    keys, values = users.column("user_id").to_pylist(), users.column("fingerprint").to_pylist()
    return dict(zip(keys, values, strict=True))


def test_a_fingerprint_depends_on_content_not_on_files(tmp_path: Path) -> None:
    rows = [event("al", number, n=number % 3) for number in range(6)]
    one, many = Workspace.create(tmp_path / "x" / "one"), Workspace.create(tmp_path / "y" / "many")
    add_events(one, "a", rows)
    for number in (4, 0, 2):
        add_events(many, f"part{number}", rows[number : number + 2])
    assert fingerprints(one) == fingerprints(many)


@pytest.mark.parametrize(
    "change",
    [
        {"ts": 2.5},
        {"event_type": "view"},
        {"n": 4},
        {"n": None},
        {"page": "q"},
        {"page": None, "other": "p"},
    ],
    ids=str,
)
def test_any_change_of_an_event_changes_the_fingerprint(
    tmp_path: Path, change: dict[str, object]
) -> None:
    before, after = Workspace.create(tmp_path / "x" / "w"), Workspace.create(tmp_path / "y" / "w")
    rows = [event("al", 1, n=1, page="p"), event("al", 2, n=2, page="p")]
    others = [event("bo", 2, n=3, page="p", other="o")]
    add_events(before, "a", rows + others)
    add_events(after, "a", [rows[0], rows[1] | change, *others])
    first, second = fingerprints(before), fingerprints(after)
    assert first["al"] != second["al"]
    assert first["bo"] == second["bo"]


def test_a_repeated_event_changes_the_fingerprint(workspace: Workspace) -> None:
    add_events(workspace, "a", [event("al", 1), event("bo", 1)])
    before = fingerprints(workspace)
    add_events(workspace, "b", [event("al", 1), event("al", 1)])
    after = fingerprints(workspace)
    assert before["al"] != after["al"]
    assert before["bo"] == after["bo"]


def test_a_new_column_changes_only_the_users_who_have_it(workspace: Workspace) -> None:
    add_events(workspace, "a", [event("al", 1, n=1), event("bo", 1, n=1)])
    before = fingerprints(workspace)
    add_events(workspace, "b", [event("bo", 2, n=1, region="eu")])
    after = fingerprints(workspace)
    assert before["al"] == after["al"]
    assert before["bo"] != after["bo"]
