"""Columns as they come: numbers only, one value only, fifty of all kinds, named like our own."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.integration.robustness.worlds import (
    DAY,
    FOUND,
    Made,
    World,
    ingest,
    invoke,
    labels_of,
    make_world,
    neighbors,
    risk_auc,
    share_of_kind,
)

pytestmark = pytest.mark.slow

DERIVED = ("hour", "weekday", "gap", "position", "popularity", "relation", "return")
OVERLAP = 0.9


def made(root: Path, world: World, **columns: Any) -> Made:
    return Made.of(root / "workspace", world.table(**columns), labels_of(world, world.told()))


def assert_told_apart(workspace: Made, world: World) -> None:
    assert workspace.rebuilt["is_live"]
    assert workspace.rebuilt["why_no_risk"] is None
    service = workspace.service()
    assert share_of_kind(service, world) > FOUND
    assert risk_auc(service, world, ~world.told()) > 0.85


def test_numbers_are_enough(tmp_path: Path) -> None:
    world = make_world(500, 1)
    columns = {"a": world.shifted(2.0), "b": np.exp(world.shifted(1.0))}
    workspace = made(tmp_path, world, **columns, c=world.rng.integers(0, 1_000, len(world.ts_E)))
    assert_told_apart(workspace, world)
    weights = workspace.trained["field_weights"]
    assert weights["event_type"] < 0.01  # all users are alike in it
    assert weights["a"] > weights["c"]


def test_when_is_enough(tmp_path: Path) -> None:
    """One event type, no other column: only the hurry tells the kinds apart."""
    world = make_world(500, 9, hasty=50.0)
    workspace = made(tmp_path, world)
    assert_told_apart(workspace, world)
    assert workspace.trained["field_weights"]["event_type"] < 0.01


def test_five_event_types_are_enough(tmp_path: Path) -> None:
    world = make_world(500, 3)
    assert_told_apart(made(tmp_path, world, event_type=world.types()), world)


def fifty_columns(world: World) -> dict[str, Any]:
    """Return columns of all kinds, none of which tells the kinds apart but `shifted`."""
    rng, count = world.rng, len(world.ts_E)
    columns: dict[str, Any] = {}
    for place in range(9):
        few = np.array([f"v{value}" for value in range(3 + place)])
        columns[f"number {place}"] = pa.array(
            rng.normal(0, 10.0**place, count), mask=rng.random(count) < 0.3
        )
        columns[f"coded {place}"] = pa.array(rng.choice(few, count)).dictionary_encode()
        columns[f"flag {place}"] = pa.array(rng.random(count) < 0.5, mask=rng.random(count) < 0.1)
    broken = world.shifted(2.0)
    broken[::7], broken[1::11], broken[2::13] = np.nan, np.inf, -np.inf
    three, text = np.arange(count) < 3, np.full(count, "x")
    small = rng.integers(0, 99, count)
    return columns | {
        "shifted": broken,
        "all inf": np.full(count, np.inf),
        "all nan": np.full(count, np.nan),
        "huge": np.where(rng.random(count) < 0.5, 1.7e308, -1.7e308),
        "null": pa.nulls(count),
        "null string": pa.nulls(count, pa.string()),
        "null number": pa.nulls(count, pa.float64()),
        "nearly null": pa.array(text, mask=~three),
        "nearly null number": pa.array(np.arange(count) * 1.0, mask=~three),
        "same string": text,
        "same number": np.full(count, 7),
        "same flag": np.full(count, True),
        "list": pa.array([[f"t{row % 3}", f"t{row % 5}"] for row in range(count)]),
        "struct": pa.array([{"x": row % 4, "y": None} for row in range(count)]),
        "map": pa.array(
            [[("a", row % 2)] for row in range(count)], pa.map_(pa.string(), pa.int64())
        ),
        "unsigned": rng.integers(0, 2**63, count).astype(np.uint64) * 2,
        "decimal": pa.array(small).cast(pa.decimal128(22, 2)),
        "time": pa.array((world.ts_E * 1e6).astype(np.int64), pa.timestamp("us")),
        "date": pa.array((world.ts_E // DAY).astype(np.int32), pa.date32()),
        "time of day": pa.array(small, pa.time64("us")),
        "duration": pa.array(small, pa.duration("s")),
        "binary": pa.array([b"\xff\x00"] * count),
        "half": rng.random(count).astype(np.float16),
    }


def test_fifty_columns_of_all_kinds_lose_no_event_and_hide_no_signal(tmp_path: Path) -> None:
    world = make_world(500, 4)
    columns = fifty_columns(world)
    assert len(columns) == 50
    workspace = made(tmp_path, world, event_type=world.types(), **columns)
    assert workspace.trained["num_events"] == len(world.ts_E)
    assert_told_apart(workspace, world)


def test_columns_named_like_what_we_derive_are_columns_of_their_own(tmp_path: Path) -> None:
    world = make_world(500, 5)
    few = np.array(["a", "b", "c"])
    columns: dict[str, Any] = {name: world.rng.choice(few, len(world.ts_E)) for name in DERIVED}
    columns |= {"hour": world.types(), "column hour": world.rng.choice(few, len(world.ts_E))}
    columns |= {"we\"ird 'name\n🦄": world.shifted(0.0), "select": world.shifted(0.0)}
    workspace = made(tmp_path, world, **columns)
    weights = workspace.trained["field_weights"]
    assert {"hour", "column hour", "column column hour", "gap", "column gap"} <= set(weights)
    assert weights["column hour"] > 5 * max(weights["hour"], weights["column column hour"])
    assert_told_apart(workspace, world)


def test_session_ids_are_left_out_and_change_no_neighbor(tmp_path: Path) -> None:
    world = make_world(500, 6)
    types, count = world.types(), len(world.ts_E)
    plain = made(tmp_path / "plain", world, event_type=types)
    drawn = world.rng.integers(0, 2**62, count)
    session = [f"{user}-{part}" for user, part in zip(world.user_E, drawn % 3, strict=True)]
    with_ids = made(
        tmp_path / "ids",
        world,
        event_type=types,
        session=np.array(session),
        number=world.user_E * 10 + drawn % 3 + 10**9,
        token=np.array([f"{value:016x}" for value in drawn]),
    )
    assert with_ids.left_out == ["number", "session"]  # `token` never comes twice: no input at all
    asked = world.ids[:100].tolist()
    before, after = (neighbors(one.service(), asked) for one in (plain, with_ids))
    shared = [len({*before[user]} & {*after[user]}) / len(before[user]) for user in asked]
    assert np.mean(shared) > OVERLAP


def test_a_random_column_that_users_share_by_chance_drowns_nothing(tmp_path: Path) -> None:
    world = make_world(500, 7)
    values = np.array([f"{value:016x}" for value in world.rng.integers(0, 2**62, 2_500)])
    token = world.rng.choice(values, len(world.ts_E))
    workspace = made(tmp_path, world, event_type=world.types(), token=token)
    # lives are short, so the clock has no weight, and what is left is shared with the types alone
    assert workspace.trained["field_weights"]["token"] < 0.2
    assert_told_apart(workspace, world)


def test_a_lake_of_strings_too_long_says_which_rows_it_puts_aside(tmp_path: Path) -> None:
    """Texts alone tell the kinds apart; some are empty, some far too long."""
    world = make_world(500, 8)
    count = len(world.ts_E)
    said = np.where(world.planted_E, "cheap coins at my site 💰 number", "see you at the lake, ünï")
    texts = [f"{what} {row * 7919 % count}" for row, what in enumerate(said.tolist())]
    texts[::9] = [""] * len(texts[::9])
    texts[1::10] = ["🦄" * 5] * len(texts[1::10])
    texts[5], texts[7] = "x" * 16_000, "   "
    far_too_long = range(50, count, 400)
    for row in far_too_long:
        texts[row] = "é " * 50_000
    root = tmp_path / "workspace"
    invoke("init", "-w", root)
    report = ingest(root, "events", world.table(message=pa.array(texts, pa.string())))
    assert report["num_rejected"] == len(far_too_long)
    assert report["num_kept"] == count - len(far_too_long)
    rejects = Path(report["rejects_file"]).read_text()
    assert rejects.count("message is longer than 16384 characters") == len(far_too_long)
    ingest(root, "labels", labels_of(world, world.told()))
    trained = invoke("train", "--preset", "fast", "-w", root)
    workspace = Made(root, trained, invoke("rebuild", "-w", root))
    assert trained["num_events"] == report["num_kept"]
    assert risk_auc(workspace.service(), world, ~world.told()) > 0.85
