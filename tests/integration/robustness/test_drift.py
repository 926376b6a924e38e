"""Data that change after the training: columns come and go, types widen, values are new."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from index.answers import NeighborRequest
from index.service import LookalikeService
from tests.integration.robustness.worlds import (
    DAY,
    FOUND,
    STARTS_AT,
    Made,
    World,
    ingest,
    invoke,
    labels_of,
    make_world,
    risk_auc,
)

pytestmark = pytest.mark.slow


def renamed(events: pa.Table) -> pa.Table:
    """Return the events of other users than those of the first file."""
    names = pa.compute.replace_substring(events["user_id"], "u", "later")
    return events.set_column(0, "user_id", names)


def later_users(world: World) -> pa.Table:
    """Return events with a new column and values, without `agent`; flags and numbers are text."""
    count = len(world.ts_E)
    types = np.where(world.rng.random(count) < 0.1, "brand new", world.types())
    return renamed(
        world.table(
            event_type=types,
            flag=np.where(world.rng.random(count) < 0.5, "yes", "no"),
            size=np.char.mod("%.3f", world.shifted(2.0)),
            added=world.rng.normal(size=count),
        )
    )


@pytest.fixture
def first() -> World:
    """Return users anew for each test: every table takes draws of theirs."""
    return make_world(500, 1)


def first_users(world: World) -> pa.Table:
    count = len(world.ts_E)
    agents = np.array(["web", "phone", "console"])
    return world.table(
        event_type=world.types(),
        agent=world.rng.choice(agents, count),
        flag=world.rng.random(count) < np.where(world.planted_E, 0.9, 0.1),
        size=world.shifted(2.0),
    )


def known_at(labels: pa.Table, day: int) -> pa.Table:
    """Return labels that were known so many days after the first event."""
    seconds = np.full(labels.num_rows, STARTS_AT + day * DAY)
    return labels.append_column("known_at", pa.array(seconds * 10**6, pa.timestamp("us", "UTC")))


def vectors_of(service: LookalikeService, user_ids: list[str]) -> np.ndarray:
    return np.asarray(service.build.vectors_ND)[service.build.users.rows_of(user_ids)]


def test_a_model_embeds_what_came_after_it_without_a_new_training(
    tmp_path: Path, first: World
) -> None:
    """A column that became text leaves the users of before where they were."""
    labels = labels_of(first, first.told())
    workspace = Made.of(tmp_path / "workspace", first_users(first), labels)
    asked = first.ids[:200].tolist()
    before = vectors_of(workspace.service(), asked)
    later = make_world(200, 2)
    report = ingest(workspace.root, "events", later_users(later))
    assert report["num_kept"] == report["num_rows"]
    (workspace.root / "live.json").unlink()  # everyone is embedded again, from the wider columns
    rebuilt = invoke("rebuild", "-w", workspace.root)
    assert rebuilt["num_embedded"] == 700
    service = workspace.service()
    assert vectors_of(service, asked) == pytest.approx(before, abs=1e-5)
    planted = {
        *first.ids[first.planted_N],
        *np.char.replace(later.ids[later.planted_N], "u", "later"),
    }
    asked_later = sorted(name for name in planted if name.startswith("later"))
    answers = service.neighbors_of_users(asked_later, NeighborRequest(k=10))
    hits = [hit.user_id for answer in answers for hit in getattr(answer, "hits", ())]
    assert np.mean([hit in planted for hit in hits]) > FOUND
    assert risk_auc(service, first, ~first.told()) > 0.85


def test_a_query_with_values_and_columns_never_seen_is_answered(
    tmp_path: Path, first: World
) -> None:
    labels = labels_of(first, first.told())
    service = Made.of(tmp_path / "workspace", first_users(first), labels).service()
    event: dict[str, Any] = {"ts": "2025-04-01T10:00:00Z", "event_type": "say", "size": 4.0}
    usual = [event | {"flag": True, "agent": "web"}] * 6
    strange = [event | {"event_type": "unheard of", "agent": "☃", "added": [1], "flag": None}] * 6
    bare = [{"ts": 1_743_500_000, "event_type": "say"}] * 6
    risks = service.risk_of_events([usual, strange, bare])
    assert all(risk.log_odds is not None and np.isfinite(risk.log_odds) for risk in risks)
    found = service.neighbors_of_events([usual, strange, bare], NeighborRequest(k=10))
    planted = set(first.ids[first.planted_N].tolist())
    assert [len(answer.hits) for answer in found] == [10, 10, 10]
    assert np.mean([hit.user_id in planted for hit in found[0].hits]) > FOUND


def test_a_training_reads_columns_that_only_some_files_have(tmp_path: Path, first: World) -> None:
    root = tmp_path / "workspace"
    invoke("init", "-w", root)
    ingest(root, "events", first_users(first))
    ingest(root, "events", later_users(make_world(200, 2)))
    ingest(root, "labels", labels_of(first, first.told()))
    trained = invoke("train", "--preset", "fast", "-w", root)
    assert {"agent", "added", "event_type"} <= set(trained["field_weights"])
    assert trained["num_users"] == 700
    workspace = Made(root, trained, invoke("rebuild", "-w", root))
    assert risk_auc(workspace.service(), first, ~first.told()) > 0.85


def test_users_whose_numbers_have_become_text_are_judged_beside_simple_methods(
    tmp_path: Path, first: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags and numbers come as text from the cut on: everyone is judged nonetheless.

    The planted kind differs in types and sizes by so much that either is a sign to the audit.
    """
    monkeypatch.setenv("LOOKALIKE_EVALUATE__ACKNOWLEDGED_LEAKS", '["event_type", "size"]')
    root, later = tmp_path / "workspace", make_world(200, 2)
    later = later.at(later.ts_E + 60 * DAY)
    everyone = np.ones(200, dtype=np.bool_)
    invoke("init", "-w", root)
    ingest(root, "events", first_users(first))
    ingest(root, "events", later_users(later))
    ingest(root, "labels", known_at(labels_of(first, first.told()), 45))
    ingest(root, "labels", known_at(renamed(labels_of(later, everyone)), 120))
    report = invoke("evaluate", "-o", tmp_path / "report", "-w", root, "--cut", "2025-04-20")
    tasks = {task["name"]: task for task in report["tasks"]}
    judged = tasks["risk_first_10"]
    assert judged["measured"], judged["why_not"]
    assert judged["counts"]["users"] == 200
    assert all(figures["auc"]["value"] > 0.8 for figures in judged["metrics"].values())
