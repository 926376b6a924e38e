from pathlib import Path

import pytest

from jobs.manual import markdown_text

ROOT = Path(__file__).parents[3]

COMMANDS = [
    "init",
    "ingest events FILE...",
    "ingest labels FILE",
    "train",
    "rebuild",
    "builds list",
    "builds show [BUILD]",
    "builds promote BUILD",
    "builds rollback",
    "builds prune",
    "serve",
    "search USER",
    "export vectors",
    "export features",
    "evaluate",
    "audit",
    "erase USER...",
    "keys create NAME",
    "keys list",
    "keys revoke NAME",
    "demo [DIR]",
    "bench encoder",
]


def test_the_document_is_what_the_commands_say() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert text == markdown_text(), "run: python -m jobs.manual > docs/cli.md"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_promised_command_is_documented(command: str) -> None:
    assert f"## `lookalike {command}`\n" in markdown_text()
