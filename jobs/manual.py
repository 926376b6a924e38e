"""`docs/cli.md`, made from the commands themselves."""

import re
from collections.abc import Iterator
from typing import Any

import typer

from jobs.cli import app

HEAD = """\
# Command line

<!-- Made by `python -m jobs.manual`; change the commands, not this page. -->

`--workspace DIR` (`-w`, or `LOOKALIKE_WORKSPACE`) and `--json` stand before or after any command.
Data goes to stdout; progress, warnings and errors go to stderr, bars on a terminal only.
With `--json` stdout is one JSON object, `{"error": "…"}` when the command failed.
Times are ISO 8601 (`2025-03-01`, `2025-03-01T12:00:00Z`) or epoch seconds, UTC if no zone is named.

| exit status | means |
|---|---|
| 0 | done |
| 1 | failed; one line on stderr says why |
| 2 | wrong usage |
| 3 | refused: by the gate (the build is not live), the audit of `evaluate` or a `--baseline` |
| 130 | interrupted; `serve` ends with 0, however it is told to stop |
"""

GLOBAL = {"workspace", "as_json", "help"}


def markdown_text() -> str:
    """Return the document."""
    return "\n".join([HEAD, *_sections(typer.main.get_command(app), "lookalike")]) + "\n"


def _sections(command: Any, name: str) -> Iterator[str]:
    """Yield the section of a command, or those of its subcommands."""
    subcommands = getattr(command, "commands", None)
    if subcommands:
        for key in subcommands:
            yield from _sections(subcommands[key], f"{name} {key}")
        return
    own = [parameter for parameter in command.params if parameter.name not in GLOBAL]
    arguments = [parameter for parameter in own if parameter.param_type_name == "argument"]
    usage = " ".join([name, *(_placeholder(argument) for argument in arguments)])
    yield f"## `{usage}`\n"
    yield f"{' '.join(command.help.split())}\n"
    if own:
        yield "| | | default |\n|---|---|---|"
        yield from (_row(parameter) for parameter in own)
        yield ""


def _placeholder(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = f"`{_placeholder(parameter)}`"
    else:
        options = [*parameter.opts, *parameter.secondary_opts]
        names = ", ".join(f"`{option}`" for option in options)
    default = parameter.default
    if parameter.required:
        shown = "required"
    elif default is None or default is False:
        shown = ""
    else:
        shown = f"`{getattr(default, 'value', default)}`"
    return f"| {names} | {re.sub(r'[|]', '/', parameter.help or '')} | {shown} |"


if __name__ == "__main__":
    print(markdown_text(), end="")
