"""A deployment whose vectors are in Milvus, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from index.build import load_build
from index.milvus.collections import MilvusCollections
from jobs.cli import run
from jobs.settings import Settings
from store.workspace import Workspace
from tests.integration.jobs.conftest import invoke
from tests.milvus_servers import embedded_milvus

pytestmark = pytest.mark.slow

EARLIER = "2025-05-01T00:00:00Z"


def collections_of_settings(workspace: Path) -> MilvusCollections:
    settings = Settings.read(Workspace.open(workspace).config_file)
    return MilvusCollections(settings.index)


@pytest.fixture
def in_milvus(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose settings say that its vectors are in Milvus."""
    monkeypatch.setenv("LOOKALIKE_INDEX__BACKEND", "milvus")
    monkeypatch.setenv("LOOKALIKE_INDEX__MILVUS__URI", embedded_milvus(tmp_path))
    return workspace


def test_a_rebuild_publishes_the_collection_that_searches_answer_from(in_milvus: Path) -> None:
    first = invoke("rebuild", "-w", in_milvus)
    assert first["is_live"] is True
    checks = {check["name"]: check for check in first["gate"]["checks"]}
    assert checks["recall_at_10_lower_bound"]["passed"] is True
    second = invoke("rebuild", "-w", in_milvus)
    collections = collections_of_settings(in_milvus)
    server = collections.server
    assert server.alias_target("lookalike") == collections.name_of(second["build_id"])

    live = json.loads((in_milvus / "live.json").read_text())["live"]
    assert live == second["build_id"]
    user = first_user(in_milvus)
    found = invoke("search", user, "-k", "5", "-w", in_milvus)
    assert found["search_mode"] == "milvus"
    assert len(found["neighbors"]) == 5
    assert user not in {hit["user_id"] for hit in found["neighbors"]}
    violators = invoke("search", user, "--known-violators", "-w", in_milvus)
    assert violators["search_mode"] == "exact"
    assert all(hit["known_violator"] for hit in violators["neighbors"])

    assert invoke("builds", "rollback", "-w", in_milvus)["live"] == first["build_id"]
    assert server.alias_target("lookalike") == collections.name_of(first["build_id"])
    assert invoke("search", user, "-w", in_milvus)["build_id"] == first["build_id"]


def test_a_refused_build_and_an_erased_user_leave_no_collection(in_milvus: Path) -> None:
    old = invoke("rebuild", "-w", in_milvus)["build_id"]
    live = invoke("rebuild", "-w", in_milvus)["build_id"]
    refused = invoke("rebuild", "--as-of", EARLIER, "-w", in_milvus, status=3)["build_id"]
    collections = collections_of_settings(in_milvus)
    has = collections.server.has
    assert not has(collections.name_of(refused))
    report = invoke("erase", first_user(in_milvus), "-w", in_milvus)
    assert set(report["builds_removed"]) >= {old}
    assert not has(collections.name_of(old))
    assert has(collections.name_of(live))


def test_a_server_that_is_away_is_one_line_and_keeps_what_is_live(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    live = invoke("rebuild", "-w", workspace)["build_id"]
    monkeypatch.setenv("LOOKALIKE_INDEX__BACKEND", "milvus")
    monkeypatch.setenv("LOOKALIKE_INDEX__MILVUS__URI", "http://127.0.0.1:1")
    monkeypatch.setenv("LOOKALIKE_INDEX__MILVUS__TIMEOUT_SECONDS", "1")
    assert run(["rebuild", "-w", str(workspace)]) == 1
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "Milvus at http://127.0.0.1:1" in error
    assert json.loads((workspace / "live.json").read_text())["live"] == live


def first_user(workspace: Path) -> str:
    live = json.loads((workspace / "live.json").read_text())["live"]
    (name,) = load_build(workspace / "builds" / live).users.ids_of(np.arange(1))
    return name
