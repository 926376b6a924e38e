"""`encoder.md`, made from result files alone.

    python -m benchmarks.encoder.render

Of several results of a study the latest counts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.commits import commits
from benchmarks.encoder.parts_render import parts_lines
from benchmarks.encoder.scale_render import scale_lines
from benchmarks.encoder.writing import (
    APART,
    draws_members_apart,
    number,
    signed_interval,
    spread_interval,
    table,
)

RESULTS_PATTERN = "encoder_*.json"
QUALITY, SCALE, PARTS_THEME = "encoder", "encoder_scale", "encoder_parts"  # themes of results
RESULTS, PAGE = Path(__file__).parents[1] / "results", Path(__file__).parents[1] / "encoder.md"

Result = Mapping[str, Any]

HEAD = """\
# Encoder

<!-- Made by `python -m benchmarks.encoder.render` from result files; change those, not this. -->

How good the encoder is, beside simple methods, published recipes, and itself with parts off.
`lookalike bench encoder -o DIR` measures all of it; the results here name their commands.
With `--scale` it measures speed and memory instead, with `--parts` what the behavior network
learns from.
"""
NOTES = (
    "Nobody is judged who was learned from: where there is a cut, whoever is judged for risk was "
    "first seen after it; members of groups are never learned from.",
    "All methods have the same users, fields and labels; recipes may train for as many steps as "
    "our networks.",
    "`lead` is the difference to the best floor of the table on the same users, with its 95 % "
    "interval by a paired bootstrap over users, over whole groups where groups are looked for; "
    "bold is ahead beyond chance. The best floor is chosen on the users who are judged, which "
    "favors floors.",
    "Calibration error and Brier score are better when lower. `2+` is the AUC over users of two "
    "events at least, who get an answer from `lookalike`.",
    "CSLS is the hub correction that `lookalike` ranks with; the lead is in the reciprocal rank "
    "with it.",
    "Figures of several seeds are averaged; behind ± stands how far they are apart.",
    "Seconds are for all of a row: fitting, which the methods of one candidate share, and "
    "answering.",
)

RISK_COLUMNS = (
    ("average precision", "average_precision"),
    ("recall at 95 % precision", "recall_at_95_precision"),
    ("calibration error", "calibration_error"),
    ("Brier", "brier"),
)
RETRIEVAL_COLUMNS = (
    ("hit@1", "hit_at_1"),
    ("hit@10", "hit_at_10"),
    ("reciprocal rank", "mrr"),
    ("hit@1, CSLS", "hit_at_1_csls"),
    ("hit@10, CSLS", "hit_at_10_csls"),
)
FAMILIES = {"floor": "simple", "published": "published", "ours": "ours"}


def main() -> None:
    """Write the page of the results that are kept with the code."""
    PAGE.write_text(render(sorted(RESULTS.glob(RESULTS_PATTERN))), encoding="utf-8")


def render(files: Sequence[Path]) -> str:
    """Return the page of these results."""
    found = [json.loads(path.read_text()) for path in files]
    results, parts = (
        latest([result for result in found if result["theme"] == theme])
        for theme in (QUALITY, PARTS_THEME)
    )
    lines = [HEAD, *(f"- {note}" for note in NOTES), ""]
    for result in latest_scale(found):
        lines += scale_lines(result)
    for result in results:
        lines += study_lines(result)
    for result in parts:
        lines += parts_lines(result)
    lines += glossary([*parts, *results])
    return "\n".join(lines).rstrip("\n") + "\n"


def latest(results: Sequence[Result]) -> list[Result]:
    """Return the latest result of each study, studies by name."""
    found: dict[str, Result] = {}
    for result in sorted(results, key=lambda result: str(result["measured_at"])):
        found[result["study"]] = result
    return [found[name] for name in sorted(found)]


def latest_scale(results: Sequence[Result]) -> list[Result]:
    """Return the latest result of `--scale`, if there is one."""
    found = [result for result in results if result["theme"] == SCALE]
    return sorted(found, key=lambda result: str(result["measured_at"]))[-1:]


def study_lines(result: Result) -> Iterator[str]:
    """Yield the section of a study."""
    users, machine = result["users"], result["machine"]
    cut = f", cut {result['cut']}" if result["cut"] else ""
    yield f"## {result['study']}\n"
    yield (
        f"{users['all']:,} users ({users['violators']:,} violators) with {users['events']:,} "
        f"events; learned from {users['learned_from']:,} ({users['violators_learned_from']:,})"
        f"{cut}."
    )
    yield (
        f"Preset `{result['preset']}`, seeds {', '.join(map(str, result['seeds']))}, "
        f"{machine['cores']} cores ({machine['processor']}), {result['peak_mb']:,} MB at most, "
        f"{str(result['measured_at'])[:10]}, {commits(result)}:"
    )
    yield f"`{result['command']}`\n"
    for task in result["tasks"]:
        yield from task_lines(task)
    for task in result["unmeasured"]:
        yield f"Not measured: {task['title']}, because {task['reason']}.\n"


def task_lines(task: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a task."""
    counts = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in task["counts"].items()
    )
    chance = f"; chance hits at 1 in {task['chance_hit_at_1']:.4f}" if _is_ranked(task) else ""
    yield f"### {task['title']}\n"
    yield f"{counts}{chance}.\n"
    if draws_members_apart(task):
        yield f"Here {APART}\n"
    yield from _table(task)
    for method, reason in task["not_answered"].items():
        yield f"- `{method}` has no answer: {reason}."
    if task["not_answered"]:
        yield ""


def glossary(results: Sequence[Result]) -> Iterator[str]:
    """Yield what the methods are."""
    about: dict[str, str] = {}
    for result in results:
        about |= result["about"]
    if about:
        yield "## Methods\n"
    for name, text in about.items():
        yield f"- `{name}`: {text}."


def _table(task: Mapping[str, Any]) -> Iterator[str]:
    main = task["main_metric"]
    columns = RETRIEVAL_COLUMNS if _is_ranked(task) else RISK_COLUMNS
    title = "reciprocal rank, CSLS" if _is_ranked(task) else "AUC"
    extra = () if _is_ranked(task) else ("2+",)
    header = ["method", title, "lead", *extra, *(name for name, _ in columns), "seconds"]
    rows = []
    for row in task["rows"]:
        metrics = row["metrics"]
        cells = [_name(row, task), spread_interval(metrics[main]), _lead(row, main, task)]
        if extra:
            cells.append(number(metrics["auc_answered"]["value"]))
        cells += [number(metrics[key]["value"]) for _, key in columns]
        rows.append([*cells, f"{row['fit_seconds'] + row['seconds']:.0f}"])
    return table(header, rows)


def _is_ranked(task: Mapping[str, Any]) -> bool:
    return "chance_hit_at_1" in task


def _name(row: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    family = "" if row["family"] == "ours" else f" ({FAMILIES[row['family']]})"
    best = ", best floor" if row["method"] == task["best_floor"] else ""
    return f"`{row['method']}`{family}{best}"


def _lead(row: Mapping[str, Any], main: str, task: Mapping[str, Any]) -> str:
    lead = row["lead_on_best_floor"].get(main)
    if lead is None:
        return ""
    text = signed_interval(lead)
    return f"**{text}**" if lead["low"] is not None and lead["low"] > 0 else text


if __name__ == "__main__":
    main()
