"""What came since the build: a running service answers for it without a rebuild."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from index.answers import UserProfile
from index.arrivals import Arrivals
from index.config import IndexConfig
from index.live import LiveService
from index.service import LookalikeService, utc_now
from index.vectors import Vectors
from store.clock import to_us
from store.database import Database
from store.labels import LabelChanges
from store.tables import labels
from store.workspace import Workspace
from tests.integration.api.serving import make_key, serving
from tests.integration.bad_input.conftest import SERVE
from tests.integration.jobs.conftest import invoke
from tests.integration.jobs.test_rebuild import some_users, write_events

SEEN_WITHIN_SECONDS = 5.0
DEADLINE_SECONDS = 30.0
LATER = [("2025-06-20T10:00:00Z", "chat"), ("2025-06-20T10:05:00Z", "trade")]
EVEN_LATER = [("2025-06-21T10:00:00Z", "chat"), ("2025-06-21T10:05:00Z", "trade")]
LAST = [("2025-06-22T10:00:00Z", "chat")]


def followed(root: Path, *, config: IndexConfig | None = None) -> tuple[LiveService, Arrivals]:
    workspace = Workspace.open(root)
    database = Database(workspace.ops_url)
    read_labels = LabelChanges(database, clock=utc_now).read
    live = LiveService(workspace, config or IndexConfig(), read_labels=read_labels)
    assert live.refresh(), live.status()
    return live, Arrivals(workspace, database, live)


def add_events(
    root: Path, name: str, user_ids: list[str], *, at: list[tuple[str, str]] = LATER
) -> None:
    rows = [(user_id, ts, kind) for user_id in user_ids for ts, kind in at]
    invoke("ingest", "events", write_events(root / f"{name}.csv", rows), "-w", root)


def add_label(root: Path, user_id: str, **fields: str) -> None:
    names, values = ["user_id", "label", *fields], [user_id, "1", *fields.values()]
    file = root / f"labels-{len(list(root.glob('labels-*')))}.csv"
    file.write_text(f"{','.join(names)}\n{','.join(values)}\n")
    invoke("ingest", "labels", file, "-w", root)


def vectors_of(service: LookalikeService, user_ids: list[str]) -> Vectors:
    population = service.population
    rows = population.rows_of(user_ids)
    assert (rows >= 0).all()
    return population.vectors_of(rows)


def test_who_came_or_changed_has_the_vector_of_the_next_rebuild(workspace: Path) -> None:
    invoke("rebuild", "-w", workspace)
    live, arrivals = followed(workspace)
    num_users = live.current().num_users
    assert arrivals.poll() == 0
    old, violator = some_users(live.current().build, 2)
    since = ["newcomer", old]
    add_events(workspace, "more", since)
    add_label(workspace, violator, policy="spam", occurred_at=occurred_at(live, violator))
    assert live.follow_labels()
    assert arrivals.poll() == 3
    assert arrivals.poll() == 0
    assert live.current().num_users == num_users + 1
    assert live.current().search_mode == "exact"
    changed = [*since, violator]
    before = vectors_of(live.current(), changed)
    profiles = [live.current().profile(user_id) for user_id in changed]

    invoke("rebuild", "-w", workspace)
    assert live.refresh()
    live.follow_labels()
    assert live.current().population.delta.num_users == 0
    np.testing.assert_allclose(vectors_of(live.current(), changed), before, atol=1e-5)
    assert [live.current().profile(user_id) for user_id in changed] == profiles
    assert arrivals.poll() == 0


def occurred_at(live: LiveService, user_id: str) -> str:
    """Return the time of the last event, which is thereby left out."""
    build = live.current().build
    row = int(build.users.rows_of([user_id])[0])
    return datetime.fromtimestamp(build.users.last_ts_us_N[row] / 1e6, UTC).isoformat()


def test_who_has_no_event_left_is_gone(workspace: Path) -> None:
    invoke("rebuild", "-w", workspace)
    live, arrivals = followed(workspace)
    (violator,) = some_users(live.current().build, 1)
    add_label(workspace, violator, policy="spam", occurred_at="2020-01-01T00:00:00Z")
    assert live.follow_labels()
    assert arrivals.poll() == 1
    assert live.current().population.rows_of([violator]).tolist() == [-1]
    assert arrivals.poll() == 0


def test_a_newcomer_has_the_label_that_was_there_before_them(workspace: Path) -> None:
    """The label came in long before the build, in which there was nobody to bear it."""
    add_label(workspace, "newcomer", policy="spam", known_at="2025-05-01T00:00:00Z")
    database = Database(Workspace.open(workspace).ops_url)
    with database.begin() as connection:
        long_ago = to_us(utc_now() - timedelta(days=10))
        connection.execute(update(labels).values(recorded_at_us=long_ago))
    invoke("rebuild", "-w", workspace)
    live, arrivals = followed(workspace)
    num_violators = live.current().population.num_violators
    add_events(workspace, "more", ["newcomer", "another"])
    assert arrivals.poll() == 2

    def told(user_id: str) -> tuple[int | None, str | None]:
        profile = live.current().profile(user_id)
        assert isinstance(profile, UserProfile)
        return profile.label, profile.policy

    assert told("newcomer") == (1, "spam")
    assert told("another") == (None, None)
    assert live.current().population.num_violators == num_violators + 1
    revoke = {"policy": "spam", "known_at": "2025-05-01T00:00:00Z"}
    add_label(workspace, "newcomer", **revoke, revoked_at="2025-06-01T00:00:00Z")
    assert live.follow_labels()
    assert told("newcomer") == (None, None)
    assert live.current().population.num_violators == num_violators


def test_who_was_hidden_by_a_label_is_there_once_it_is_revoked(workspace: Path) -> None:
    ban = {"policy": "spam", "occurred_at": "2025-01-01T00:00:00Z"}
    add_events(workspace, "more", ["banned"])
    add_label(workspace, "banned", **ban)
    invoke("rebuild", "-w", workspace)
    live, arrivals = followed(workspace)
    live.follow_labels()
    arrivals.poll()
    assert live.current().population.rows_of(["banned"]).tolist() == [-1]
    add_label(workspace, "banned", **ban, revoked_at="2025-06-01T00:00:00Z")
    assert live.follow_labels()
    assert arrivals.poll() == 1
    assert (live.current().population.rows_of(["banned"]) >= 0).all()
    assert arrivals.poll() == 0


def test_newcomers_come_before_whom_a_label_may_have_hidden(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.arrivals.USERS_PER_POLL", 2)
    monkeypatch.setattr("index.arrivals.CLOCKS_APART_MAX", timedelta(0))  # the platform came before
    invoke("rebuild", "-w", workspace)
    live, arrivals = followed(workspace)
    for user_id in ("a-stranger", "b-stranger"):
        add_label(workspace, user_id, policy="spam")
    add_events(workspace, "many", ["x", "y", "z"])
    assert live.follow_labels()
    assert [arrivals.poll() for _ in range(4)] == [2, 1, 0, 0]
    add_events(workspace, "strangers", ["a-stranger", "b-stranger"], at=EVEN_LATER)
    assert arrivals.poll() == 2


def test_newcomers_are_served_a_bounded_number_at_a_time(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.arrivals.USERS_PER_POLL", 2)
    monkeypatch.setattr("index.arrivals.CLOCKS_APART_MAX", timedelta(0))  # the platform came before
    invoke("rebuild", "-w", workspace)
    _, arrivals = followed(workspace)
    add_events(workspace, "many", [f"newcomer-{number}" for number in range(5)])
    assert [arrivals.poll() for _ in range(4)] == [2, 2, 1, 0]


def test_users_served_beside_the_build_change_where_there_is_no_room_for_others(
    workspace: Path,
) -> None:
    invoke("rebuild", "-w", workspace)
    live, arrivals = followed(workspace, config=IndexConfig(delta_users_max=1))
    add_events(workspace, "first", ["zoe"])
    assert arrivals.poll() == 1
    before = live.current().profile("zoe")
    assert isinstance(before, UserProfile)
    add_events(workspace, "second", ["adam", "bea", "zoe"], at=EVEN_LATER)
    assert arrivals.poll() == 1
    after = live.current().profile("zoe")
    assert isinstance(after, UserProfile)
    assert after.num_events == before.num_events + len(EVEN_LATER)
    assert live.status().num_left_out == 2
    add_events(workspace, "third", ["zoe"], at=LAST)
    assert arrivals.poll() == 1
    assert live.status().num_left_out == 2


def test_new_users_and_labels_are_seen_by_a_running_service(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_SERVE__DELTA_SECONDS", "0.2")
    invoke("rebuild", "-w", workspace)
    secret = make_key(Workspace.open(workspace), "everything", "*")
    log = tmp_path / "server.log"
    with (
        serving(Workspace.open(workspace), log, program=SERVE) as server,
        server.client(secret) as client,
    ):
        path = "/v1/users/newcomer/neighbors"
        assert client.get(path).status_code == 404
        add_events(workspace, "more", ["newcomer", "another"])
        wait_until(lambda: client.get(path).status_code == 200, DEADLINE_SECONDS)
        assert "another" in {hit["user_id"] for hit in client.get(path).json()["neighbors"]}
        add_label(workspace, "another", policy="spam", known_at="2025-06-21T00:00:00Z")

        def is_known_violator() -> bool:
            hits = client.get(f"{path}?known_violators=true&k=1000").json()["neighbors"]
            return ("another", "spam") in {(hit["user_id"], hit["policy"]) for hit in hits}

        wait_until(is_known_violator, SEEN_WITHIN_SECONDS)
    assert "Traceback" not in log.read_text()


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
