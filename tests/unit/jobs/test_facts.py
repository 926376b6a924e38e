import re
from pathlib import Path

import pytest

from jobs.report import facts


def test_the_commit_is_a_hash_or_unknown() -> None:
    commit = facts.commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit)


def test_code_that_is_no_checkout_has_no_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An installed package may lie in a folder of some other project's checkout."""
    monkeypatch.setattr(facts, "__file__", str(tmp_path / "jobs" / "report" / "facts.py"))
    assert facts.commit() is None
