import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from store.workspace import Workspace
from tests.unit.api.fakes import World, make_world


class FakeCollector:
    """Stands for the module `gc`."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def collect(self) -> int:
        self.calls.append("collect")
        return 0

    def freeze(self) -> None:
        self.calls.append("freeze")

    def get_freeze_count(self) -> int:
        return self.calls.count("freeze")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> FakeCollector:
    collector = FakeCollector()
    monkeypatch.setattr("api.app.gc", collector)
    return collector


def serve_three_builds(world: World, monkeypatch: pytest.MonkeyPatch, *, owns: bool) -> None:
    """Serve until a third build was swapped in."""
    swaps: list[float] = []

    def refresh() -> bool:
        swaps.append(time.monotonic())
        return True

    monkeypatch.setattr(world.live, "refresh", refresh)
    with TestClient(create_app(world.services, owns_process=owns)):
        deadline = time.monotonic() + 20
        while len(swaps) < 4 and time.monotonic() < deadline:  # the third is done, then
            time.sleep(0.01)
    assert len(swaps) >= 4


def test_what_lives_once_a_build_is_served_is_no_longer_collected(
    tmp_path: Path, collector: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_three_builds(make_world(Workspace(tmp_path)), monkeypatch, owns=True)

    assert collector.calls == ["collect", "freeze"]  # before the first answer, never again


def test_collections_stay_as_they_are_in_a_process_of_others(
    tmp_path: Path, collector: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_three_builds(make_world(Workspace(tmp_path)), monkeypatch, owns=False)

    assert collector.calls == []


def test_nothing_is_spared_while_no_build_is_served(
    tmp_path: Path, collector: FakeCollector
) -> None:
    with TestClient(create_app(make_world(Workspace(tmp_path)).services, owns_process=True)):
        time.sleep(0.2)  # a few looks for a build

    assert collector.calls == []
