"""The lake against a few lines of Python: what is visible, in which order, however it arrived."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from store.clock import from_us, to_us
from store.lake import EventLake
from store.view import CUTOFF_SCHEMA
from store.workspace import Workspace
from tests.integration.store.files import NOW, add_events, event, read_rows

SECONDS_MAX = 12
users = st.sampled_from(["al", "bo", "ä", "\U0001f600", " lead"])
attributes = st.fixed_dictionaries(
    {},
    optional={
        "n": st.one_of(st.none(), st.integers(-5, 5)),
        "page": st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=5)),
        "mixed": st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.just("text")),
    },
)
events = st.builds(
    lambda user, seconds, values: event(user, seconds, **values),
    users,
    st.integers(0, SECONDS_MAX),
    attributes,
)
files = st.lists(st.lists(events, min_size=1, max_size=12), min_size=1, max_size=4)
cutoffs = st.dictionaries(users, st.integers(0, SECONDS_MAX), max_size=3)


@contextmanager
def filled(files: list[list[dict[str, Any]]]) -> Iterator[Workspace]:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "workspace")
        for number, rows in enumerate(files):
            add_events(workspace, str(number), rows)
        yield workspace


def expected(
    files: list[list[dict[str, Any]]], as_of: int, cut: dict[str, int]
) -> list[tuple[str, int]]:
    unique = list({repr(rows): rows for rows in files}.values())
    rows = [
        (row["user_id"], row["ts"], number, position)
        for number, rows in enumerate(unique)
        for position, row in enumerate(rows)
        if row["ts"] < min(as_of, cut.get(row["user_id"], as_of))
    ]
    rows.sort(key=lambda row: (row[0].encode(), *row[1:]))
    return [(user, seconds * 1_000_000) for user, seconds, _, _ in rows]


@settings(max_examples=25, deadline=None)
@given(files, st.integers(0, SECONDS_MAX + 1), cutoffs, st.integers(1, 20))
def test_the_visible_events_are_those_that_time_allows(
    files: list[list[dict[str, Any]]], as_of: int, cut: dict[str, int], max_events: int
) -> None:
    table = pa.table(
        [list(cut), [seconds * 1_000_000 for seconds in cut.values()]], schema=CUTOFF_SCHEMA
    )
    time = from_us(as_of * 1_000_000)
    wanted = expected(files, as_of, cut)
    with filled(files) as workspace:
        rows = read_rows(workspace, time, cutoffs=table, max_events=max_events)
        assert [(row["user_id"], row["ts_us"]) for row in rows] == wanted
        counted = EventLake(workspace).users(as_of=time, cutoffs=table).to_pylist()
    assert {row["user_id"]: row["num_events"] for row in counted} == {
        user: sum(other == user for other, _ in wanted) for user, _ in wanted
    }


@settings(max_examples=20, deadline=None)
@given(files, files)
def test_a_view_is_blind_to_whatever_comes_later(
    past: list[list[dict[str, Any]]], future: list[list[dict[str, Any]]]
) -> None:
    as_of = NOW - timedelta(days=1)
    later = [[row | {"ts": to_us(as_of) / 1e6 + row["ts"]} for row in rows] for rows in future]
    with filled(past) as workspace:
        lake = EventLake(workspace)
        before = (lake.users(as_of=as_of), lake.columns(as_of=as_of), read_rows(workspace, as_of))
        for number, rows in enumerate(later):
            add_events(workspace, f"later {number}", rows)
        after = (lake.users(as_of=as_of), lake.columns(as_of=as_of), read_rows(workspace, as_of))
    assert before == after
