"""Users as they come: of one event, of ten thousand, all events alike, all users alike."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from embedder import embedder as at_work
from embedder.embedder import EVENTS_AT_ONCE, EVENTS_PER_USER
from index.answers import RiskAnswer
from index.sharing import SHARE_OF_PLACES
from store.sequences import SequenceBatch
from tests.integration.robustness.worlds import (
    FOUND,
    STARTS_AT,
    K,
    Made,
    ingest,
    invoke,
    labels_of,
    make_world,
    neighbors,
    risk_auc,
    share_of_kind,
)

pytestmark = pytest.mark.slow

NUM_BOTS, BOT_EVENTS = 120, 8


def test_users_of_one_or_two_events_are_placed_and_not_judged_too_soon(tmp_path: Path) -> None:
    sizes = np.random.default_rng(0).integers(1, 3, 700)
    world = make_world(sizes, 1)
    events = world.table(event_type=world.types(), size=world.shifted(3.0))
    workspace = Made.of(tmp_path / "workspace", events, labels_of(world, world.told()))
    assert workspace.rebuilt["num_users"] == 700
    service = workspace.service()
    assert share_of_kind(service, world) > FOUND
    answers = service.risk_of_users(world.ids.tolist())
    bands = np.array([one.band for one in answers if isinstance(one, RiskAnswer)])
    assert ((bands == "insufficient_data") == (sizes < 2)).all()
    assert "likely" not in bands
    assert risk_auc(service, world, ~world.told()) > 0.8


def test_users_of_one_event_each_are_too_little_to_train_on_and_it_is_said(tmp_path: Path) -> None:
    world = make_world(np.ones(300, dtype=np.int64), 2)
    root = tmp_path / "workspace"
    invoke("init", "-w", root)
    ingest(root, "events", world.table(event_type=world.types()))
    error = invoke("train", "--preset", "fast", "-w", root, status=1)["error"]
    assert "0 users with two events or more, and 300 events of all" in error
    assert 'run "lookalike train' in invoke("rebuild", "-w", root, status=1)["error"]


def test_users_of_many_events_cost_no_more_than_their_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is embedded at once is bounded, and no event is embedded twice."""
    sizes = np.full(300, 16)
    sizes[:4] = 10_500, 12_000, 25_000, 30_000
    world = make_world(sizes, 3, gap=20_000.0)
    start_E = world.ts_E[world.first_E]
    busy_E = np.where(sizes > 16, 100.0, 1.0)[world.user_E]
    world = world.at(start_E + (world.ts_E - start_E) / busy_E)
    workspace = Made.of(tmp_path / "workspace", world.table(event_type=world.types()))
    seen: list[int] = []
    whole = at_work.raw_blocks

    def counting(*args: object, **options: object) -> dict[str, np.ndarray]:
        batch = args[1]
        assert isinstance(batch, SequenceBatch)
        seen.append(len(batch.ts_us))
        return whole(*args, **options)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(at_work, "raw_blocks", counting)
    (workspace.root / "live.json").unlink()
    invoke("rebuild", "-w", workspace.root)
    assert max(seen) <= EVENTS_AT_ONCE
    assert sum(seen) == np.minimum(sizes, EVENTS_PER_USER).sum()
    assert share_of_kind(workspace.service(), world) > FOUND


def bots() -> pa.Table:
    """Return users who all say the same every minute from the same time on."""
    place = np.tile(np.arange(BOT_EVENTS), NUM_BOTS)
    names = np.repeat([f"bot{row:03d}" for row in range(NUM_BOTS)], BOT_EVENTS)
    ts_us = (STARTS_AT + 60 * place) * 1_000_000
    times = pa.array(ts_us, pa.timestamp("us", "UTC"))
    return pa.table({"user_id": names, "ts": times, "event_type": np.full(len(place), "say")})


def test_equal_users_are_nearest_to_each_other_and_crowd_nobody_out(tmp_path: Path) -> None:
    world = make_world(500, 4)
    events = pa.concat_tables([world.table(event_type=world.types()), bots()])
    workspace = Made.of(tmp_path / "workspace", events, labels_of(world, world.told()))
    service = workspace.service()
    rows = service.build.users.rows_of(["bot000", "bot007"])
    same = np.asarray(service.build.vectors_ND)[rows]
    assert same[0] == pytest.approx(same[1], abs=1e-6)
    near = neighbors(service, ["bot000", "bot007"])
    most = -(-K // SHARE_OF_PLACES)  # the other places are for others
    for hits in near.values():
        assert [hit.startswith("bot") for hit in hits] == [place < most for place in range(K)]
    assert share_of_kind(service, world) > FOUND
    assert risk_auc(service, world, ~world.told()) > 0.85


def test_where_all_users_are_equal_nothing_is_made_up(tmp_path: Path) -> None:
    """The risk of everyone is the share of violators, and nobody is likely."""
    world = make_world(np.full(500, 6), 5)
    same = world.at(STARTS_AT + 60.0 * (np.arange(len(world.ts_E)) - world.first_E))
    told = labels_of(same, same.told())
    workspace = Made.of(tmp_path / "workspace", same.table(), told)
    assert workspace.rebuilt["is_live"]
    service = workspace.service()
    answers = service.risk_of_users(same.ids.tolist())
    risks = np.array([one.probability for one in answers if isinstance(one, RiskAnswer)])
    assert len(risks) == 500
    assert risks == pytest.approx(np.mean(told["label"].to_numpy()), abs=0.1)
    assert {one.band for one in answers if isinstance(one, RiskAnswer)} <= {"possible", "unlikely"}
