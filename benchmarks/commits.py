"""Which commits measured what a result shows: its own, and those of runs that it went on from."""

from collections.abc import Iterable, Mapping
from typing import Any


def commit_facts(own: str | None, of_rows: Iterable[str | None]) -> dict[str, object]:
    """Return the commit of a run for its result, and all where earlier ones measured rows of it."""
    commits = {own, *of_rows}
    several = sorted(commits, key=lambda each: each or "")
    return {"commit": own} | ({"commits": several} if len(several) > 1 else {})


def commits(result: Mapping[str, Any]) -> str:
    """Write the commit of a result, or all where an earlier one measured some of it."""
    several = result.get("commits")
    if several is None:
        return _commit(result.get("commit"))
    return f"commits {', '.join(_commit(each).removeprefix('commit ') for each in several)}"


def _commit(name: str | None) -> str:
    return f"commit `{name[:12]}`" if name else "commit not recorded"
