"""The sections of `encoder.md` on what the behavior network learns from, made from `--parts`."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.commits import commits
from benchmarks.encoder.writing import (
    APART,
    draws_members_apart,
    signed_interval,
    spread_interval,
    spread_of_seeds,
    table,
)

Result = Mapping[str, Any]
Row = Mapping[str, Any]

BEHAVIOR_ALONE = ".behavior_alone"
TITLES = {
    "campaigns": "campaigns",
    "groups": "persons",
    "split_halves": "halves",
    "split_halves_target_disjoint": "halves at new targets",
    "split_halves_behavior_only": "halves without targets",
}


def parts_lines(result: Result) -> Iterator[str]:
    """Yield the section of a study: the block alone, then the whole vector."""
    machine, tasks = result["machine"], result["tasks"]
    yield f"## {result['study']}: what the behavior network learns from\n"
    yield (
        f"Preset `{result['preset']}`, seeds {', '.join(map(str, result['seeds']))}, "
        f"{machine['cores']} cores ({machine['processor']}), "
        f"{str(result['measured_at'])[:10]}, {commits(result)}:"
    )
    yield f"`{result['command']}`\n"
    yield (
        "Reciprocal rank with CSLS; whoever is altered in one thing has the difference to whom it "
        "was made of, on the same users and seeds, with its interval over users or groups "
        "and behind ± how far its seeds are apart."
    )
    yield (
        "Bold is beyond chance and beyond how far the seeds of the unaltered one are apart, which "
        "takes two.\n"
    )
    queries = (f"{TITLES[task['name']]} {task['counts']['queries']:,}" for task in tasks)
    yield f"Queries: {', '.join(queries)}.\n"
    apart = [TITLES[task["name"]] for task in tasks if draws_members_apart(task)]
    if apart:
        yield f"For {' and '.join(apart)}, {APART}\n"
    for title, ending in (("Behavior block alone", BEHAVIOR_ALONE), ("Whole vector", "")):
        header = [title, *(TITLES[task["name"]] for task in tasks)]
        found = [{row["method"]: row for row in task["rows"]} for task in tasks]
        methods = [name for name in found[0] if name.endswith(BEHAVIOR_ALONE) == bool(ending)]
        rows = [
            [
                f"`{name.removesuffix(ending)}`",
                *(
                    _cell(by_name, name, task["main_metric"])
                    for by_name, task in zip(found, tasks, strict=True)
                ),
            ]
            for name in methods
        ]
        yield from table(header, rows)


def _cell(rows: Mapping[str, Row], name: str, metric: str) -> str:
    row = rows[name]
    if "altered_from" not in row:
        return spread_interval(row["metrics"][metric])
    lead = row["lead_on_unaltered"][metric]
    text = f"{signed_interval(lead)}{spread_of_seeds(lead)}"
    return f"**{text}**" if is_beyond_seeds(row, rows[row["altered_from"]], metric) else text


def is_beyond_seeds(row: Row, unaltered: Row, metric: str) -> bool:
    """Tell whether a difference is beyond chance, and beyond how far the unaltered's seeds are.

    One seed can't tell that.
    """
    lead, by_seed = row["lead_on_unaltered"][metric], unaltered["metrics"][metric]["by_seed"]
    if len(by_seed) < 2 or lead["low"] is None or lead["low"] <= 0 <= lead["high"]:
        return False
    return bool(abs(lead["value"]) > max(by_seed) - min(by_seed))
