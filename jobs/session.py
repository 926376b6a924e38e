"""What every command has: the global options, before or after its name, and a way to answer."""

import functools
import inspect
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from jobs.errors import UsageError
from jobs.settings import Settings
from store.workspace import Workspace

WORKSPACE_VARIABLE = "LOOKALIKE_WORKSPACE"

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        metavar="DIR",
        help=f"The workspace; or set {WORKSPACE_VARIABLE}.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

Arguments = ParamSpec("Arguments")


@dataclass(frozen=True)
class Session:
    """The global options of one invocation."""

    directory: Path | None = None
    as_json: bool = False

    @property
    def root(self) -> Path:
        """The directory named by the option, else by the environment.

        Raises:
            UsageError: If neither names one.
        """
        named = self.directory or os.environ.get(WORKSPACE_VARIABLE)
        if not named:
            raise UsageError(f"no workspace; pass --workspace DIR or set {WORKSPACE_VARIABLE}")
        return Path(named)

    @cached_property
    def settings(self) -> Settings:
        """What `lookalike.toml` and the environment say."""
        return Settings.read(self.workspace.config_file)

    @property
    def workspace(self) -> Workspace:
        """The workspace that the command works on."""
        return Workspace.open(self.root)

    def answer(self, report: dict[str, Any], lines: Iterable[str]) -> None:
        """Print the result to stdout: the report as JSON if asked for, else the lines."""
        typer.echo(json.dumps(report, default=str) if self.as_json else "\n".join(lines))


def with_session(
    command: Callable[Concatenate[Session, Arguments], None],
) -> Callable[..., None]:
    """Give a command the global options, and hand it the session that they make.

    Typer reads a command's options off its signature, so the session is replaced by the options
    there; a value after the command's name wins over one before it.
    """
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def wrapped(
        context: typer.Context,
        *,
        workspace: Path | None,
        as_json: bool,
        **arguments: Any,
    ) -> None:
        outer = context.find_root().ensure_object(Session)
        session = replace(
            outer, directory=workspace or outer.directory, as_json=as_json or outer.as_json
        )
        context.find_root().obj = session
        command(session, **arguments)  # type: ignore[call-arg]  # Typer checked them

    _, *own = signature.parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        ),
        *(parameter.replace(kind=keyword) for parameter in own),
        inspect.Parameter("workspace", keyword, annotation=WorkspaceOption, default=None),
        inspect.Parameter("as_json", keyword, annotation=JsonOption, default=False),
    ]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped
