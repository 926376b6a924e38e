"""Filtered searches beside a sort of all users who pass, whichever way they are found."""

import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from index.answers import Filter, NeighborRequest
from index.build import Build, load_build, write_build
from index.config import IndexConfig
from index.costs import SearchCosts
from index.filters import FilterTable
from index.search import find_neighbors
from index.slice_indexes import SliceIndexes
from index.slices import SliceCache
from index.tombstones import Tombstones
from index.vectors import Rows, Vectors
from store.workspace import Workspace
from tests.index_fakes import FIRST_TS, NOW, build_input, user_name
from tests.property.index.strategies import galleries

SCANS_ARE_DEAR = SearchCosts(exact_us=1e9, exact_row_us=1, approximate_us=1, approximate_hit_us=0)
WHOLE_SAMPLE = IndexConfig(tuning_queries=200, recall_target=1.0, poor_share_target=0.0)
"""Of so few users all are asked, so an index is proven to find everybody or not used."""
SCANS_ARE_CHEAP = SearchCosts(exact_us=0, exact_row_us=0, approximate_us=1, approximate_hit_us=1)
LAST_DAY = 70
MAKING_SECONDS_MAX = 60.0


@st.composite
def filters(draw: Any) -> Filter:
    number = st.none() | st.integers(0, LAST_DAY)
    moment = number.map(lambda day: None if day is None else FIRST_TS + timedelta(days=day))
    policies = st.none() | st.sampled_from([("spam",), ("cheating",), ("cheating", "spam")])
    return Filter(
        policies=draw(policies),
        label=draw(st.sampled_from([None, 0, 1])),
        min_events=draw(number),
        max_events=draw(number),
        first_seen_after=draw(moment),
        first_seen_before=draw(moment),
        last_seen_after=draw(moment),
        last_seen_before=draw(moment),
    )


def passing_by_definition(build: Build, condition: Filter, *, known_violators: bool) -> list[int]:
    """Ask one user after the other."""
    users: list[dict[str, Any]] = build.users.table.to_pylist()

    def passes(user: dict[str, Any]) -> bool:
        first, last = (
            FIRST_TS + timedelta(microseconds=user[name] - int(FIRST_TS.timestamp() * 1_000_000))
            for name in ("first_ts_us", "last_ts_us")
        )
        return (
            (condition.label is None or user["label"] == condition.label)
            and (not known_violators or user["label"] == 1)
            and (
                condition.policies is None
                or (user["label"] == 1 and user["policy"] in condition.policies)
            )
            and (condition.min_events is None or user["num_events"] >= condition.min_events)
            and (condition.max_events is None or user["num_events"] <= condition.max_events)
            and (condition.first_seen_after is None or first >= condition.first_seen_after)
            and (condition.first_seen_before is None or first < condition.first_seen_before)
            and (condition.last_seen_after is None or last >= condition.last_seen_after)
            and (condition.last_seen_before is None or last < condition.last_seen_before)
        )

    return [row for row, user in enumerate(users) if passes(user)]


def build_of(folder: str, vectors: Vectors, violators: list[int]) -> Build:
    """Return a build with a graph wide enough to find everybody of so few."""
    given_input = build_input(vectors, violators=violators)
    number = np.arange(len(vectors))
    policies = np.where(number % 2 == 0, "spam", "cheating").tolist()
    named = pa.array(
        [policies[row] if row in violators or row % 3 == 0 else None for row in number.tolist()],
        pa.string(),
    )
    column = given_input.users.column_names.index("policy")
    users = given_input.users.set_column(column, "policy", named)
    config = IndexConfig(kind="hnsw", ef_search=256)
    workspace = Workspace.create(Path(folder))
    return load_build(write_build(workspace, replace(given_input, users=users), config, now=NOW))


def with_own_indexes(build: Build, condition: Filter, *, known_violators: bool) -> Build:
    """Return the build when it has made an index of the slice, if one was proven."""
    slices = SliceCache(
        FilterTable(build.users),
        build.everyone,
        build.entries,
        max_bytes=2**24,
        indexes=SliceIndexes(build.everyone, build.entries, SCANS_ARE_DEAR, WHOLE_SAMPLE),
    )
    for _ in range(2):
        slices.get(condition, known_violators=known_violators)
    assert slices.settle(MAKING_SECONDS_MAX)
    return replace(build, slices=slices)


def check(build: Build, found: Rows, query: Vectors, allowed: list[int], k: int) -> None:
    """Compare scores, not rows: which of two behaviors as near is found may differ."""
    assert set(found.tolist()) <= set(allowed)
    entries = build.entries
    entry_K, among = entries.entry_N[found], np.unique(entries.entry_N[allowed])
    assert len(np.unique(entry_K)) == len(entry_K) == min(k, len(among))
    score = np.sort(build.everyone.score(query, entries.first_rows_E[among]))[::-1]
    reached = build.everyone.score(query, entries.first_rows_E[entry_K])
    np.testing.assert_allclose(reached, score[: len(found)], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(galleries(min_size=2, max_size=60), filters(), st.data())
def test_a_filtered_search_is_a_sort_of_the_behaviors_of_those_who_pass(
    vectors: Vectors, condition: Filter, data: st.DataObject
) -> None:
    rows = st.sets(st.integers(0, len(vectors) - 1))
    violators, hidden = sorted(data.draw(rows)), sorted(data.draw(rows))
    known_violators, k = data.draw(st.booleans()), data.draw(st.integers(1, 12))
    own_rows = np.array(data.draw(st.lists(st.integers(0, len(vectors) - 1), min_size=1)))
    with tempfile.TemporaryDirectory() as folder:
        build = build_of(folder, vectors, violators)
        names = [user_name(row) for row in hidden]
        tombstones = Tombstones.none(len(vectors)).adding(build.users, names)
        passing = passing_by_definition(build, condition, known_violators=known_violators)
        allowed = sorted(set(passing) - set(hidden))
        request = NeighborRequest(
            k=k, filter=condition, known_violators=known_violators, count="behaviors"
        )
        queries = np.ascontiguousarray(build.vectors_ND[own_rows])
        for costs in (SCANS_ARE_DEAR, SCANS_ARE_CHEAP, None):
            priced = replace(build, manifest=build.manifest.model_copy(update={"costs": costs}))
            found, modes = find_neighbors(priced, queries, request, tombstones, own_rows_Q=own_rows)
            if costs is None or (costs is SCANS_ARE_CHEAP and len(passing) < len(vectors)):
                assert set(modes) == {"exact_filtered"}
            for query, own in enumerate(own_rows.tolist()):
                others = [row for row in allowed if row != own]
                check(build, found[query].rows_K, queries[query], others, k)


@settings(max_examples=15, deadline=None)
@given(galleries(min_size=10, max_size=60), st.integers(1, 10), st.data())
def test_so_is_one_of_very_many_known_violators(
    vectors: Vectors, k: int, data: st.DataObject
) -> None:
    rows = st.sets(st.integers(0, len(vectors) - 1), min_size=k)
    violators = sorted(data.draw(rows))
    with tempfile.TemporaryDirectory() as folder:
        build = build_of(folder, vectors, violators)
        priced = build.manifest.model_copy(update={"costs": SCANS_ARE_DEAR})
        build = with_own_indexes(replace(build, manifest=priced), Filter(), known_violators=True)
        part = build.slices.get(Filter(), known_violators=True)
        request = NeighborRequest(k=k, known_violators=True, count="behaviors")
        nobody = Tombstones.none(len(vectors))
        for row in range(0, len(vectors), 7):
            query = np.ascontiguousarray(build.vectors_ND[[row]])
            found, modes = find_neighbors(build, query, request, nobody)
            check(build, found[0].rows_K, query[0], violators, k)
            if part.index is None or len(part.rows_M) < k:
                assert modes == ["exact"]
            else:
                assert modes == [part.index.kind]
            exactly = replace(request, exact=True)
            assert find_neighbors(build, query, exactly, nobody)[1] == ["exact"]


@settings(max_examples=25, deadline=None)
@given(galleries(min_size=10, max_size=60), filters(), st.data())
def test_so_is_one_by_an_index_of_the_slice(
    vectors: Vectors, condition: Filter, data: st.DataObject
) -> None:
    """Asked by stored users, as the index was proven with all of them."""
    violators = sorted(data.draw(st.sets(st.integers(0, len(vectors) - 1))))
    known_violators, k = data.draw(st.booleans()), data.draw(st.integers(1, 10))
    with tempfile.TemporaryDirectory() as folder:
        build = with_own_indexes(
            build_of(folder, vectors, violators), condition, known_violators=known_violators
        )
        allowed = passing_by_definition(build, condition, known_violators=known_violators)
        request = NeighborRequest(
            k=k, filter=condition, known_violators=known_violators, count="behaviors"
        )
        for row in range(0, len(vectors), 7):
            query = np.ascontiguousarray(build.vectors_ND[[row]])
            nobody = Tombstones.none(len(vectors))
            found, _ = find_neighbors(build, query, request, nobody)
            check(build, found[0].rows_K, query[0], allowed, k)
