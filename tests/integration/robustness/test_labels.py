"""Labels as they come: none, few, of one class, of one policy that hardly anybody broke."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from index.answers import Filter, NeighborRequest, RiskAnswer
from index.errors import RiskUnavailable
from tests.integration.robustness.worlds import (
    FOUND,
    Made,
    World,
    invoke,
    labels_of,
    make_world,
    neighbors,
    risk_auc,
    share_of_kind,
)

pytestmark = pytest.mark.slow


def made(root: Path, world: World, labels: pa.Table | None = None) -> Made:
    return Made.of(root / "workspace", world.table(event_type=world.types()), labels)


def test_without_labels_kinds_are_found_and_no_risk_is_said(tmp_path: Path) -> None:
    world = make_world(500, 1, gap=30_000.0)
    workspace = made(tmp_path, world)
    service = workspace.service()
    assert not {"conduct", "opinion"} & set(service.channel_names)
    assert share_of_kind(service, world) > FOUND
    assert "there are 0 and 0, 0 and 0" in workspace.rebuilt["why_no_risk"]
    with pytest.raises(RiskUnavailable, match="too few labels"):
        service.risk_of_users(["u00001"])
    assert neighbors(service, ["u00001"], known_violators=True) == {"u00001": []}
    report = invoke("evaluate", "-o", tmp_path / "report", "-w", workspace.root)
    tasks = {task["name"]: task for task in report["tasks"]}
    assert tasks["split_halves"]["measured"]
    risks = [task for name, task in tasks.items() if "risk" in name or "detection" in name]
    assert risks
    assert all("violators were first seen after the cut" in task["why_not"] for task in risks)


@pytest.mark.parametrize("with_benign", [True, False])
def test_fourteen_violators_are_found_again_without_a_risk(
    tmp_path: Path, with_benign: bool
) -> None:
    world = make_world(500, 2)
    violators = np.flatnonzero(world.planted_N & world.told())[:14]
    chosen_N = world.told() & ~world.planted_N & with_benign
    chosen_N[violators] = True
    workspace = made(tmp_path, world, labels_of(world, chosen_N))
    service = workspace.service()
    assert service.num_violators == 14
    assert workspace.rebuilt["is_live"]
    assert "a risk model needs 10 violators" in workspace.rebuilt["why_no_risk"]
    assert share_of_kind(service, world) > FOUND
    known = set(world.ids[violators].tolist())
    for user_id, hits in neighbors(service, ["u00001", "u00002"], known_violators=True).items():
        assert set(hits) <= known - {user_id}
        assert len(hits) == 10


def test_labels_of_violators_alone_make_a_risk(tmp_path: Path) -> None:
    """Whoever is not a known violator counts as benign, as the manual says."""
    world = make_world(500, 3)
    known_N = world.told() & world.planted_N
    workspace = made(tmp_path, world, labels_of(world, known_N))
    assert workspace.rebuilt["why_no_risk"] is None
    assert risk_auc(workspace.service(), world, ~known_N) > 0.85


def test_where_all_are_violators_there_is_no_risk_to_tell(tmp_path: Path) -> None:
    world = make_world(500, 4)
    everyone = World(np.ones_like(world.planted_N), world.user_E, world.ts_E, world.rng)
    workspace = made(tmp_path, world, labels_of(everyone, everyone.planted_N))
    service = workspace.service()
    assert service.num_violators == 500
    assert "and 0" in workspace.rebuilt["why_no_risk"]
    assert share_of_kind(service, world) > FOUND


def test_a_policy_that_one_user_broke_is_searched_and_judged_by_the_rule_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(500, 5)
    monkeypatch.setenv("LOOKALIKE_RISK__LIKELY_PRECISION_BY_POLICY", '{"rare": 0.97, "gone": 0.9}')
    workspace = made(tmp_path, world, labels_of(world, world.told(), ("rare", "spam")))
    assert workspace.rebuilt["why_no_risk"] is None
    bands = {band["policy"]: band for band in workspace.rebuilt["policy_bands"]}
    assert set(bands) == {"rare", "gone"}
    assert all(band["note"] and band["fitted_on"] == "everyone" for band in bands.values())
    service = workspace.service()
    assert risk_auc(service, world, ~world.told()) > 0.85
    rare = world.ids[np.flatnonzero(world.planted_N & world.told())[0]]
    request = NeighborRequest(k=5, filter=Filter(policies=("rare",)))
    (answer,) = service.neighbors_of_users([world.ids[-1]], request)
    assert [hit.user_id for hit in answer.hits] == [rare]  # type: ignore[union-attr]  # a known user
    (own,) = service.risk_of_users([rare])
    assert isinstance(own, RiskAnswer)
    assert own.known_violator
