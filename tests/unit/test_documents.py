"""The documents tell the truth, as far as a machine can check it."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_every_invariant_names_a_test_that_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text().partition("## Invariants")[2]
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(named) >= len(rows) > 5
    for path, function in named:
        tree = ast.parse((ROOT / path).read_text())
        tests = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert not function or function in tests, f"{path} has no {function}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_every_module_of_the_code_map_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = text.partition("## Code map")[2].partition("## Flows")[0]
    for line in table.splitlines():
        folder, _, modules = line.strip("| ").partition("|")
        if folder.strip().startswith("`"):
            home = ROOT / folder.strip(" `/")
            for module in re.findall(r"`([\w/]+(?:\.py|/))`", modules.rpartition("|")[2]):
                assert (home / module).exists(), f"{home.name}/{module}"


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    ("rebuild_status", "prune_status", "expected"), [(0, 0, 0), (3, 0, 3), (0, 1, 1)]
)
def test_the_nightly_job_prunes_and_ends_with_the_status_of_the_rebuild(
    tmp_path: Path, rebuild_status: int, prune_status: int, expected: int
) -> None:
    """Without it every night adds a build, refused ones too, until the volume is full."""
    manifest = (ROOT / "deploy" / "kubernetes.yaml").read_text()
    script = re.search(r"command: \[/bin/sh, -c\]\s+args:\s+- (.+)\n", manifest)
    assert script
    program = tmp_path / "lookalike"
    program.write_text(
        f'#!/bin/sh\necho "$@"\n[ "$1" = rebuild ] && exit {rebuild_status}\nexit {prune_status}\n'
    )
    program.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", script[1]],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["rebuild", "builds prune"]
    assert done.returncode == expected


def test_make_help_lists_every_target_of_the_readme() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert targets == {
        *("help", "setup", "fix", "check", "test", "test-all", "bench", "demo", "serve", "image")
    }
    assert named <= targets
