"""`lookalike serve`: hand over to the service, a process of its own that knows nothing of jobs."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from jobs.settings import Settings
from store.workspace import Workspace

Execute = Callable[[str, list[str]], NoReturn]


def run(
    workspace: Workspace,
    *,
    host: str | None,
    port: int | None,
    workers: int | None,
    execute: Execute = os.execv,
) -> NoReturn:
    """Become the service; options that are None are left to the settings.

    Raises:
        SettingsInvalid: If any section has a mistake; better told now than at the next rebuild.
    """
    Settings.read(workspace.config_file)
    options = {"--host": host, "--port": port, "--workers": workers}
    given = [
        word for name, value in options.items() if value is not None for word in (name, str(value))
    ]
    command = [sys.executable, "-m", "api", "--workspace", str(workspace.root), *given]
    sys.stdout.flush()
    execute(sys.executable, command)
