"""Clocks that tell nothing, or next to nothing: event types alone tell the kinds apart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.integration.robustness.worlds import (
    DAY,
    FOUND,
    STARTS_AT,
    Made,
    World,
    labels_of,
    make_world,
    risk_auc,
    share_of_kind,
)

pytestmark = pytest.mark.slow


def equal_per_user(world: World) -> World:
    return world.at(world.ts_E[world.first_E])


def equal_overall(world: World) -> World:
    return world.at(np.full(len(world.ts_E), float(STARTS_AT)))


def evenly_spaced(world: World) -> World:
    return world.at(STARTS_AT + 3_600.0 * (np.arange(len(world.ts_E)) - world.first_E))


def of_days(world: World) -> World:
    return world.at(np.floor_divide(world.ts_E, DAY) * DAY)


@pytest.mark.parametrize(
    ("clock", "left_out"),
    [(equal_per_user, ["ts"]), (equal_overall, ["ts"]), (evenly_spaced, []), (of_days, [])],
)
def test_a_clock_of_no_use_hides_no_kind(
    tmp_path: Path, clock: Callable[[World], World], left_out: list[str]
) -> None:
    """One time for each user would name the user to an encoder that learns from halves."""
    world = clock(make_world(500, 1, gap=20_000.0))
    events = world.table(event_type=world.types())
    workspace = Made.of(tmp_path / "workspace", events, labels_of(world, world.told()))
    assert workspace.left_out == left_out
    assert workspace.rebuilt["is_live"]
    service = workspace.service()
    assert share_of_kind(service, world) > FOUND
    assert risk_auc(service, world, ~world.told()) > 0.85
    if left_out:
        weights = workspace.trained["field_weights"]
        assert max(weights["hour"], weights["weekday"], weights["gap"]) < 0.01
