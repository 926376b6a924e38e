"""A fresh workspace for every test."""

from pathlib import Path

import pytest

from store.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "workspace")
