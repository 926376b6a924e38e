import sys
from pathlib import Path
from typing import NoReturn

import pytest

from jobs.init import run as init
from jobs.serve import run
from store.errors import SettingsInvalid
from store.workspace import Workspace


class Executed(Exception):
    """Stands for the process that was replaced."""


def execute(path: str, command: list[str]) -> NoReturn:
    raise Executed(path, command)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    init(tmp_path)
    return Workspace.open(tmp_path)


def test_the_process_becomes_the_service_with_the_options_given(workspace: Workspace) -> None:
    with pytest.raises(Executed) as executed:
        run(workspace, host="0.0.0.0", port=9000, workers=None, execute=execute)
    path, command = executed.value.args
    assert path == sys.executable
    assert command[1:] == [
        *("-m", "api", "--workspace", str(workspace.root)),
        *("--host", "0.0.0.0", "--port", "9000"),
    ]


def test_a_mistake_in_any_section_is_told_before_the_service_starts(workspace: Workspace) -> None:
    workspace.config_file.write_text("[rings]\nnonsense = 1\n")
    with pytest.raises(SettingsInvalid, match="nonsense"):
        run(workspace, host=None, port=None, workers=None, execute=execute)
