"""How figures are written in the pages that are made of results."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

PROGRAMS = {
    "__main__.py": "python -m benchmarks.encoder",
    "early_risk.py": "python -m benchmarks.early_risk",
}

OF_GROUPS = frozenset({"campaigns", "groups"})  # tasks whose queries belong together
APART = (
    "intervals were drawn over users, not over groups, though members of a group tend to fare "
    "alike: they are too narrow, for pairs by a factor of up to √2, for larger groups by more."
)


def number(value: float | None) -> str:
    """Write a figure between 0 and 1 with three places and no leading zero."""
    if value is None:
        return "-"
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0.") else text


def signed(value: float | None) -> str:
    """Write a difference with its sign."""
    if value is None:
        return "-"
    return ("+" if value >= 0 else "−") + number(abs(value))


def interval(figure: Mapping[str, Any]) -> str:
    """Write a figure with its interval."""
    return f"{number(figure['value'])} [{number(figure['low'])}, {number(figure['high'])}]"


def signed_interval(figure: Mapping[str, Any]) -> str:
    """Write a difference with its interval."""
    return f"{signed(figure['value'])} [{signed(figure['low'])}, {signed(figure['high'])}]"


def spread_interval(figure: Mapping[str, Any]) -> str:
    """Write a figure with its interval, and how far its seeds are apart where it has several."""
    return f"{interval(figure)}{spread_of_seeds(figure)}"


def spread_of_seeds(figure: Mapping[str, Any]) -> str:
    """Write how far the seeds of a figure are apart; nothing where it has one."""
    by_seed = figure["by_seed"]
    return f" ± {number(max(by_seed) - min(by_seed))}" if len(by_seed) > 1 else ""


def draws_members_apart(task: Mapping[str, Any]) -> bool:
    """Tell whether intervals are of before groups were resampled, and groups are asked for."""
    return task.get("name") in OF_GROUPS and task.get("resampled") != "groups"


def apart_lines(tasks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield which tasks of a result have such intervals."""
    for task in tasks:
        if draws_members_apart(task):
            yield f"- {task['title']}: {APART}"


def percent(share: float) -> str:
    """Write a share in percent, with as many places as small ones need."""
    return f"{share * 100:.3g} %"


def line(cells: Sequence[str]) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(cells)} |"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table and an empty line after it; nothing where there are no rows."""
    if rows:
        yield line(header)
        yield line(["---"] * len(header))
        yield from (line(row) for row in rows)
        yield ""


def runnable(command: str) -> str:
    """Return the command of a result as one would type it."""
    program, _, options = command.partition(" ")
    return f"{PROGRAMS.get(PurePath(program).name, program)} {options}".strip()
