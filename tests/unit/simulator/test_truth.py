"""What is true on the simulated platform: bans, evaders, rings, households, labels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import Chunk, make_chunk

CONFIG = SimulatorConfig(num_users=4000, users_per_chunk=4000, seed=2)
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """First and last event of every user, by id."""

    first_us: dict[str, int]
    last_us: dict[str, int]
    num_events: dict[str, int]


@pytest.fixture(scope="module")
def chunk() -> Chunk:
    return make_chunk(CONFIG, 0)


@pytest.fixture(scope="module")
def truth(chunk: Chunk) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = chunk.truth.to_pydict()
    return columns


@pytest.fixture(scope="module")
def seen(chunk: Chunk) -> Seen:
    events = chunk.events.select(["user_id", "ts"])
    events = events.set_column(0, "user_id", events["user_id"].cast(pa.string()))
    events = events.set_column(1, "ts", events["ts"].cast(pa.int64()))
    table = events.group_by("user_id").aggregate([("ts", "min"), ("ts", "max"), ("ts", "count")])
    users = table["user_id"].to_pylist()
    return Seen(
        *(
            dict(zip(users, table[name].to_pylist(), strict=True))
            for name in ("ts_min", "ts_max", "ts_count")
        )
    )


def ban_times(chunk: Chunk) -> dict[str, int]:
    banned = chunk.truth.filter(pc.is_valid(chunk.truth["banned_at"]))
    times = banned["banned_at"].cast(pa.int64()).to_pylist()
    return dict(zip(banned["user_id"].to_pylist(), times, strict=True))


def places_of(chunk: Chunk, user: str) -> set[str]:
    own = chunk.events.filter(pc.equal(chunk.events["user_id"].cast(pa.string()), user))
    return set(own["place"].cast(pa.string()).unique().to_pylist())


def test_evaders_appear_after_the_ban_of_their_predecessor(chunk: Chunk, seen: Seen) -> None:
    bans = ban_times(chunk)
    pairs = chunk.truth.filter(pc.is_valid(chunk.truth["evader_of"]))
    assert pairs.num_rows >= 50
    for user, before in zip(
        pairs["user_id"].to_pylist(), pairs["evader_of"].to_pylist(), strict=True
    ):
        assert seen.first_us[user] > bans[before]


def test_each_banned_user_has_one_successor_at_most(chunk: Chunk) -> None:
    predecessors = chunk.truth["evader_of"].drop_null()
    assert pc.count_distinct(predecessors).as_py() == len(predecessors)


def test_evaders_keep_some_places_and_change_others(chunk: Chunk, seen: Seen) -> None:
    pairs = chunk.truth.filter(pc.is_valid(chunk.truth["evader_of"])).to_pylist()
    long = [
        pair
        for pair in pairs
        if min(seen.num_events[pair["user_id"]], seen.num_events[pair["evader_of"]]) >= 20
    ]
    shared, kept = [], []
    for pair in long:
        new, old = places_of(chunk, pair["user_id"]), places_of(chunk, pair["evader_of"])
        shared.append(len(new & old) > 0)
        kept.append(len(new & old) / len(new))
    assert np.mean(shared) > 0.8
    assert 0.1 < np.mean(kept) < 0.7


def test_ring_members_share_policy_and_start_within_days(chunk: Chunk, seen: Seen) -> None:
    members = chunk.truth.filter(pc.is_valid(chunk.truth["ring"])).to_pylist()
    rings: dict[str, list[dict[str, object]]] = {}
    for member in members:
        rings.setdefault(str(member["ring"]), []).append(member)
    assert min(map(len, rings.values())) >= 4
    spreads = []
    for ring in rings.values():
        assert len({member["policy"] for member in ring}) == 1
        starts = [seen.first_us[str(member["user_id"])] for member in ring]
        spreads.append((max(starts) - min(starts)) / 86.4e9)
    assert np.median(spreads) < 10


def test_households_are_pairs_of_innocents(chunk: Chunk) -> None:
    members = chunk.truth.filter(pc.is_valid(chunk.truth["household"]))
    assert not pc.any(members["is_violator"]).as_py()
    counts = [item["counts"] for item in members["household"].value_counts().to_pylist()]
    assert set(counts) == {2}


def test_newcomers_stay_in_the_tutorial(chunk: Chunk) -> None:
    newcomers = chunk.truth.filter(pc.equal(chunk.truth["part"], "newcomer"))["user_id"]
    users = chunk.events["user_id"].cast(pa.string())
    theirs = chunk.events.filter(pc.is_in(users, value_set=newcomers.combine_chunks()))
    counts = theirs["place"].cast(pa.string()).value_counts().to_pylist()
    top = sum(sorted((item["counts"] for item in counts), reverse=True)[:3])
    assert top / theirs.num_rows > 0.9


def test_few_events_follow_a_ban(chunk: Chunk) -> None:
    bans = ban_times(chunk)
    users = chunk.events["user_id"].cast(pa.string()).to_pylist()
    times = chunk.events["ts"].cast(pa.int64()).to_pylist()
    theirs = [(time, bans[user]) for user, time in zip(users, times, strict=True) if user in bans]
    late = np.mean([time >= ban for time, ban in theirs])
    assert 0 < late < 0.1


def test_labels_are_known_after_the_violation_and_before_the_end(chunk: Chunk) -> None:
    violators = chunk.labels.filter(pc.equal(chunk.labels["label"], 1))
    assert pc.all(pc.greater(violators["known_at"], violators["occurred_at"])).as_py()
    end = pc.max(chunk.events["ts"])
    assert pc.all(pc.less_equal(chunk.labels["known_at"], end)).as_py()


def test_some_labels_are_wrong_some_late_and_some_missing(chunk: Chunk) -> None:
    truth = {row["user_id"]: row for row in chunk.truth.to_pylist()}
    caught = chunk.labels.filter(pc.equal(chunk.labels["label"], 1)).to_pylist()
    assert any(not truth[row["user_id"]]["is_violator"] for row in caught)
    assert any(row["policy"] != truth[row["user_id"]]["policy"] for row in caught)
    assert any(row["revoked_at"] is not None for row in caught)
    labelled = set(chunk.labels["user_id"].to_pylist())
    assert 0.02 < 1 - len(labelled) / len(truth) < 0.4


def test_benign_labels_come_after_the_review_time(chunk: Chunk, seen: Seen) -> None:
    benign = chunk.labels.filter(pc.equal(chunk.labels["label"], 0))
    known = benign["known_at"].cast(pa.int64()).to_pylist()
    for user, time in zip(benign["user_id"].to_pylist(), known, strict=True):
        assert time - seen.first_us[user] >= 6.9 * 86.4e9


def test_groups_name_members_of_one_ring(chunk: Chunk) -> None:
    truth = {row["user_id"]: row["ring"] for row in chunk.truth.to_pylist()}
    named = chunk.labels.filter(pc.is_valid(chunk.labels["group"])).to_pylist()
    assert len(named) >= 10
    assert all(row["group"] == truth[row["user_id"]] for row in named)


def test_users_of_one_region_play_at_other_hours_than_those_far_away(chunk: Chunk) -> None:
    hours = pc.hour(chunk.events["ts"]).to_numpy()
    regions = np.array(chunk.events["region"].cast(pa.string()).to_pylist())

    def usual_hour(region: str) -> float:
        angle = np.exp(1j * hours[regions == region] * 2 * np.pi / 24).mean()
        return float(np.angle(angle) * 12 / np.pi % 24)

    ahead = (usual_hour("europe_west") - usual_hour("east_asia")) % 24
    assert 5 < ahead < 11


def test_violators_that_come_in_too_large_numbers_to_evade_act_alone() -> None:
    """Without bans nobody can come back, and evaders become loners."""
    config = SimulatorConfig(num_users=400, users_per_chunk=400, share_caught=0.0)
    chunk = make_chunk(config, 0)
    assert chunk.truth["evader_of"].null_count == 400
    assert "evader" not in chunk.truth["part"].to_pylist()
