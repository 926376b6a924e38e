"""Result files as the model card reads them: the latest of each study, and who wins on what."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any, Literal

from benchmarks.encoder.card_words import DATA_SETS, METHODS
from benchmarks.encoder.render import QUALITY, latest, latest_scale
from benchmarks.encoder.writing import signed_interval

EARLY_RISK = "early_risk"
OURS = "lookalike"
LOWER_IS_BETTER = {"calibration_error", "brier"}
METRICS = {
    "auc": "AUC",
    "auc_answered": "AUC of users who get an answer",
    "average_precision": "average precision",
    "recall_at_95_precision": "recall at 95 % precision",
    "calibration_error": "calibration error",
    "brier": "Brier score",
    "hit_at_1": "hit@1",
    "hit_at_10": "hit@10",
    "mrr": "reciprocal rank",
    "hit_at_1_csls": "hit@1, CSLS",
    "hit_at_10_csls": "hit@10, CSLS",
    "mrr_csls": "reciprocal rank, CSLS",
}

Result = Mapping[str, Any]
Verdict = Literal["ahead", "level", "behind"]


@dataclass(frozen=True)
class Study:
    """The latest result of what was measured under one name."""

    name: str
    result: Result

    @property
    def title(self) -> str:
        """The name, and the data set where it is known."""
        for data, about in DATA_SETS.items():
            if self.name == data or self.name.startswith((f"{data}_", f"{data},")):
                return f"{self.name}: {about}"
        return self.name


@dataclass(frozen=True)
class Results:
    """All that the card is made of."""

    risks: tuple[Study, ...]
    encoders: tuple[Study, ...]
    scale: Result | None


def read_results(files: Iterable[Path]) -> Results:
    """Read result files; of several of a study the latest counts, other themes are passed over."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(files)]
    risks: dict[str, Result] = {}
    for result in sorted(found, key=lambda result: str(result.get("measured_at"))):
        if result.get("theme") == EARLY_RISK:
            risks[risk_name(result)] = result
    themed = [result for result in found if "theme" in result]
    encoders = latest([result for result in themed if result["theme"] == QUALITY])
    scales = latest_scale(themed)
    return Results(
        tuple(Study(name, risks[name]) for name in sorted(risks)),
        tuple(Study(str(result["study"]), result) for result in encoders),
        scales[0] if scales else None,
    )


def risk_name(result: Result) -> str:
    """Return the data set and track of a result of early risk, as its command says."""
    words = str(result["command"]).split()
    data = PurePath(words[1]).parent.name or PurePath(words[1]).stem
    shown = [
        f"{option.removeprefix('--').replace('-', ' ')} `{value}`"
        for option, value in pairwise(words)
        if option in ("--event-type", "--columns")
    ]
    return ", ".join([data, *shown])


def name_of(method: str) -> str:
    """Return a method's name for people."""
    return METHODS.get(method, f"`{method}`")


def verdict(lead: Mapping[str, Any], *, lower_is_better: bool = False) -> Verdict:
    """Return who is better, by the interval of our value less theirs."""
    low, high = lead["low"], lead["high"]
    if low is None or high is None or low <= 0 <= high:
        return "level"
    return "ahead" if (low > 0) is not lower_is_better else "behind"


def best_floor(task: Mapping[str, Any], metric: str) -> str | None:
    """Return the simple method with the best figure in a task of early risk."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    floors = {
        name: sign * float(figures[metric]["value"])
        for name, figures in task["metrics"].items()
        if name != OURS and metric in figures
    }
    return max(floors, key=lambda name: floors[name]) if floors else None


def measured(study: Study) -> list[Mapping[str, Any]]:
    """Return the tasks of risk from first events that have figures."""
    return [
        task
        for task in study.result["tasks"]
        if task.get("measured", True) and not task.get("refused") and OURS in task["metrics"]
    ]


def losses_of_risk(study: Study) -> Iterator[str]:
    """Yield where a simple method is ahead beyond chance, a line for each task and method."""
    for task in measured(study):
        for floor in task["differences"]:
            lost = [
                f"{figure} {signed_interval(lead)}"
                for figure, metric, lead in _leads(task, floor)
                if verdict(lead, lower_is_better=metric in LOWER_IS_BETTER) == "behind"
            ]
            yield from _loss(f"{study.name}, {moment(task)}", floor, lost)


def _leads(task: Mapping[str, Any], floor: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield all there is of our value less a simple method's: what for people, metric, lead."""
    for metric, lead in task["differences"][floor].items():
        yield METRICS.get(metric, metric), metric, lead
    for rate in task.get("base_rates", ()):
        if floor in rate["differences"] and not rate["is_natural"]:  # the natural one is above
            metric = "average_precision"
            yield f"{METRICS[metric]} {rate_name(rate)}", metric, rate["differences"][floor]
        for demand in rate["demands"]:
            if floor in demand["differences"]:
                figure = f"recall at {demand['value'] * 100:g} % precision {rate_name(rate)}"
                yield figure, "recall", demand["differences"][floor]
    for demand in task.get("false_positive_rates", ()):
        if floor in demand["differences"]:
            figure = f"recall at {demand['value'] * 100:g} % false positives"
            yield figure, "recall", demand["differences"][floor]
    for group in task.get("reliability_by_activity", ()):
        for metric, lead in group["differences"].get(floor, {}).items():
            yield f"{METRICS.get(metric, metric)} of the {group['name']}", metric, lead


def losses_of_encoder(study: Study) -> Iterator[str]:
    """Yield where the best simple method of a task is ahead beyond chance, a line for each task."""
    for task in study.result["tasks"]:
        row = row_of(task, "ours")
        lost = [
            f"{METRICS.get(metric, metric)} {signed_interval(lead)}"
            for metric, lead in (row or {}).get("lead_on_best_floor", {}).items()
            if verdict(lead, lower_is_better=metric in LOWER_IS_BETTER) == "behind"
        ]
        yield from _loss(f"{study.name}, {task['title']}", task["best_floor"], lost)


def row_of(task: Mapping[str, Any], method: str | None) -> Mapping[str, Any] | None:
    """Return a method's row, if there is one."""
    return next((row for row in task["rows"] if row["method"] == method), None)


def moment(task: Mapping[str, Any]) -> str:
    """Return what a task of early risk sees."""
    found = re.fullmatch(r"risk_first_(\d+)", str(task["name"]))
    return f"first {found[1]} events" if found else "all events before the violation"


def rate_name(rate: Mapping[str, Any]) -> str:
    """Return a base rate for people."""
    own = "their own base rate of " if rate["is_natural"] else "a base rate of "
    return f"at {own}{rate['base_rate'] * 100:.3g} %"


def _loss(where: str, floor: str | None, lost: Sequence[str]) -> Iterator[str]:
    if floor is not None and lost:
        yield f"- {where}, behind {name_of(floor)}: {'; '.join(lost)}."
