"""The sections of the model card that are figures, each made of the results alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.commits import commits
from benchmarks.encoder.card_results import (
    LOWER_IS_BETTER,
    METRICS,
    OURS,
    Result,
    Results,
    Study,
    best_floor,
    losses_of_encoder,
    losses_of_risk,
    measured,
    moment,
    name_of,
    row_of,
    verdict,
)
from benchmarks.encoder.scale_render import SLOPES, target_lines
from benchmarks.encoder.writing import (
    apart_lines,
    interval,
    number,
    percent,
    runnable,
    signed_interval,
    table,
)
from jobs.report.figures import PROMISES

LOOKS = (2, 3, 4, 5, 6, 10, 20)  # ages that risk was fitted at, and some between them


def data_lines(results: Results) -> Iterator[str]:
    """Yield what was learned from and who was judged."""
    yield "## Data\n"
    for study in results.risks:
        users = study.result["users"]
        yield (
            f"- {study.title}. Risk, users split at {str(study.result['cut'])[:10]}: "
            f"{users['all']:,} users, learned from the {users['learned_from']:,} first seen or "
            "known as violators before."
        )
        counts = [task["counts"] for task in measured(study)]
        if not counts:
            continue
        judged = max(counts, key=lambda some: int(some["users"]))
        yield (
            f"  Judged: {judged['users']:,} users, {judged['positives']:,} of them violators"
            + (
                f"; {judged['answered']:,} of them, {judged['answered_positives']:,} violators "
                "among these, got an answer."
                if "answered" in judged
                else "."
            )
        )
    for study in results.encoders:
        users, cut = study.result["users"], study.result["cut"]
        split = f"users split at {str(cut)[:10]}" if cut else "users drawn by the hash of their ids"
        yield (
            f"- {study.title}. Encoder, {split}: {users['all']:,} users "
            f"({users['violators']:,} known violators), {users['events']:,} events, learned from "
            f"{users['learned_from']:,} ({users['violators_learned_from']:,})."
        )
    yield ""


def risk_lines(results: Results) -> Iterator[str]:
    """Yield early risk beside the best simple method, and what it is at rare base rates."""
    for study in results.risks:
        yield f"### Early risk, {study.name}\n"
        yield (
            "Over the users who got an answer; *over all* counts those who got none, too. "
            "The simple methods have a model for each row, `lookalike` one for all.\n"
        )
        rows = [_risk_row(task) for task in measured(study)]
        header = ("risk from", "AUC", "best simple method", "lead", "verdict", "over all")
        yield from table((*header, "recall at 95 % precision"), rows)
        yield from _verdict_lines("AUC", [row[4] for row in rows])
        yield from _base_rate_lines(study)


def detection_lines(results: Results) -> Iterator[str]:
    """Yield who is seen how early, event by event."""
    yield "## Early detection\n"
    looked = [(study, found) for study in results.risks if (found := _thresholds(study))]
    if not looked:
        yield "Not measured: no result looks at users event by event.\n"
        return
    yield (
        "Users are looked at after every event; one look over the threshold is a detection, or a "
        "false alarm, for good. Precision is of those ever over it. "
        "No simple method was measured this way.\n"
    )
    for study, thresholds in looked:
        rows = [_detection_row(each) for each in thresholds if not each["why_not"]]
        yield f"{study.name}:\n"
        header = ("threshold", "violators seen", "benign users alarmed", "median hours before")
        yield from table((*header, "median events before", "precision at base rates"), rows)
        for each in thresholds:
            if each["why_not"]:
                yield f"- {each['name']}: not measurable, {each['why_not']}."
        yield from _look_lines(thresholds[0])
        yield ""


def calibration_lines(results: Results) -> Iterator[str]:
    """Yield how far probabilities are off, by number of events and by activity."""
    yield "## Calibration by age\n"
    yield "Calibration error; age is the number of events that were seen. Lower is better.\n"
    for study in results.risks:
        tasks = measured(study)
        yield f"{study.name}:\n"
        yield from table(
            ("risk from", "lookalike", "best simple method", "lead", "verdict"),
            [_metric_row(task, "calibration_error") for task in tasks],
        )


def factor_lines(results: Results) -> Iterator[str]:
    """Yield what figures depend on."""
    yield "## Factors\n"
    yield "- **By number of events**: the rows of the tables of early risk and of calibration."
    yield (
        "- **By kind of column** (strict track): studies whose name says what was kept or left "
        "out; compare them with the study of the full data."
    )
    by_policy = [(study, rows) for study in results.risks if (rows := _policy_rows(study))]
    yield (
        "- **By policy**: "
        + ("the tables of what `likely` meant" if by_policy else "not measured by any result here")
        + "; `rebuild` says for each policy on how many users its precision was proven."
    )
    yield "- **By group of people**: not measured; no data set here tells groups.\n"
    for study in results.risks:
        rows = [
            [
                moment(task),
                f"{group['name']} ({group['about']})",
                f"{group['num_users']:,} ({group['num_positives']:,})",
                number(group["metrics"][OURS]["calibration_error"]["value"]),
                number(group["metrics"][OURS]["brier"]["value"]),
            ]
            for task in measured(study)
            for group in task.get("reliability_by_activity", ())
            if not group["why_not"] and OURS in group["metrics"]
        ]
        if rows:
            yield f"By activity, {study.name}:\n"
        header = ("risk from", "users by pace", "users (violators)", "calibration error", "Brier")
        yield from table(header, rows)
    for study, rows in by_policy:
        yield f"What `likely` meant, {study.name}:\n"
        header = ("risk from", "policy", "violators of the likely", "precision", "promised")
        yield from table((*header, "promise"), rows)


def encoder_lines(results: Results) -> Iterator[str]:
    """Yield the encoder as shipped beside the best simple method and the best recipe."""
    header = ("task", "figure", "lookalike", "best simple method", "lead", "verdict")
    for study in results.encoders:
        yield f"### Encoder, {study.name}\n"
        rows = [row for task in study.result["tasks"] if (row := _encoder_row(task))]
        yield from table((*header, "best published recipe"), rows)
        yield from _verdict_lines("these figures", [row[5] for row in rows])
        missing = [task for task in study.result["tasks"] if row_of(task, "ours") is None]
        for task in missing:
            yield f"- {task['title']}: `lookalike` has no answer there."
        reasons = {task["reason"] for task in study.result["unmeasured"]}
        for reason in sorted(reasons):
            titles = [t["title"] for t in study.result["unmeasured"] if t["reason"] == reason]
            yield f"- Not measured because {reason}: {'; '.join(titles)}."
        apart = list(apart_lines(study.result["tasks"]))
        yield from apart
        if missing or reasons or apart:
            yield ""


def loss_lines(results: Results) -> Iterator[str]:
    """Yield every comparison that a simple method wins."""
    yield "## Where a simple method wins\n"
    found = [loss for study in results.risks for loss in losses_of_risk(study)]
    found += [loss for study in results.encoders for loss in losses_of_encoder(study)]
    if not found:
        yield "In no comparison of these results is a simple method ahead beyond chance.\n"
        return
    yield (
        "All comparisons of risk with a simple method, and of the encoder with the best one by a "
        "task's main figure, in which it is ahead beyond chance, our value less theirs "
        "(calibration error and Brier score are better when lower):\n"
    )
    yield from found
    yield ""


def cost_lines(scale: Result | None) -> Iterator[str]:
    """Yield what training and embedding cost."""
    yield "## Cost\n"
    if scale is None:
        yield "Not measured yet; `lookalike bench encoder --scale -o DIR` does.\n"
        return
    yield from target_lines(scale)
    parts = []
    for name, title in SLOPES.items():
        fitted = scale["slopes"][name]
        if fitted["slope"] is not None:
            error = fitted["standard_error"]
            parts.append(f"{title} {fitted['slope']:.2f}" + (f" ± {error:.2f}" if error else ""))
    yield (
        "- Slope of log(seconds) against log(events), 1 where cost is proportional, ± its standard "
        f"error: {'; '.join(parts)}."
    )
    yield f"- Training keeps at most {scale['max_training_events']:,} events.\n"


def reproduction_lines(results: Results) -> Iterator[str]:
    """Yield the command of each result."""
    yield "## How to make each figure again\n"
    shown = [(study.name, study.result) for study in (*results.risks, *results.encoders)]
    if results.scale is not None:
        shown.append(("cost", results.scale))
    for name, result in shown:
        seeds = result.get("seeds") or [result.get("seed")]
        machine = result["machine"]
        yield (
            f"- {name}: {str(result['measured_at'])[:10]}, {commits(result)}, "
            f"seed {', '.join(map(str, seeds))}, {machine['cores']} cores ({machine['processor']})."
        )
        yield f"  `{runnable(str(result['command']))}`"
    yield ""
    yield (
        "Paths are folders of the data sets in the input format. "
        "[Every method on every task](../benchmarks/encoder.md) of the encoder's results."
    )


def _risk_row(task: Mapping[str, Any]) -> list[str]:
    recalls = task["metrics"][OURS]["recall_at_95_precision"]
    over_all = task["extra"].get(f"auc_with_unanswered.{OURS}")
    return [*_metric_row(task, "auc"), number(over_all), interval(recalls)]


def _verdict_lines(what: str, verdicts: Sequence[str]) -> Iterator[str]:
    """Yield how often `lookalike` is ahead, in words."""
    known = [said for said in verdicts if said != "-"]
    if known:
        ahead, level, behind = (known.count(said) for said in ("ahead", "level", "behind"))
        yield (
            f"In {what} `lookalike` is ahead of the best simple method in {ahead} of {len(known)} "
            f"rows, level with it in {level}, behind it in {behind}.\n"
        )


def _metric_row(task: Mapping[str, Any], metric: str) -> list[str]:
    floor = best_floor(task, metric)
    cells = [moment(task), interval(task["metrics"][OURS][metric])]
    if floor is None:
        return [*cells, "-", "-", "-"]
    lead = task["differences"][floor][metric]
    said = verdict(lead, lower_is_better=metric in LOWER_IS_BETTER)
    theirs = f"{name_of(floor)} {interval(task['metrics'][floor][metric])}"
    return [*cells, theirs, signed_interval(lead), said]


def _base_rate_lines(study: Study) -> Iterator[str]:
    rows: list[list[str]] = []
    unmeasurable: dict[float, str] = {}
    for task in measured(study):
        for rate in task.get("base_rates", ()):
            if rate["is_natural"]:
                continue
            for demand in rate["demands"]:
                if demand["why_not"]:
                    unmeasurable.setdefault(rate["base_rate"], demand["why_not"])
                else:
                    rows.append(_demand_row(task, rate, demand))
    if not rows and not unmeasurable:
        yield "At rare base rates: not measured.\n"
        return
    yield "Recall where violators are rarer than among those judged:\n"
    header = ("risk from", "base rate", "precision asked", "recall", "best simple method", "lead")
    yield from table((*header, "verdict"), rows)
    for why in unmeasurable.values():
        yield f"- Not measurable from there on: {why}."
    yield ""


def _demand_row(
    task: Mapping[str, Any], rate: Mapping[str, Any], demand: Mapping[str, Any]
) -> list[str]:
    recalls = demand["recall"]
    floors = [name for name in recalls if name != OURS]
    cells = [moment(task), f"{rate['base_rate'] * 100:g} %", f"{demand['value'] * 100:g} %"]
    cells.append(interval(recalls[OURS]))
    if not floors:
        return [*cells, "-", "-", "-"]
    floor = max(floors, key=lambda name: float(recalls[name]["value"]))
    lead = demand["differences"][floor]
    theirs = f"{name_of(floor)} {interval(recalls[floor])}"
    return [*cells, theirs, signed_interval(lead), verdict(lead)]


def _thresholds(study: Study) -> list[Mapping[str, Any]]:
    return [
        threshold
        for task in study.result["tasks"]
        if not task.get("refused")
        for threshold in task.get("early_detection", ())
    ]


def _detection_row(threshold: Mapping[str, Any]) -> list[str]:
    shares = [
        f"{some:,} of {every:,} ({percent(some / every)})"
        for some, every in (
            (threshold["num_detected"], threshold["num_positives"]),
            (threshold["num_alarmed"], threshold["num_benign"]),
        )
    ]
    rates = [
        f"{percent(float(rate))}: {interval(figure)}"
        for rate, figure in threshold["precision"].items()
    ]
    return [
        f"`{threshold['name']}`" if threshold["probability"] is None else threshold["name"],
        *shares,
        _plain(threshold["lead_hours"]),
        _plain(threshold["lead_events"]),
        "; ".join(rates),
    ]


def _plain(lead: Mapping[str, Any] | None) -> str:
    if not lead or lead["median"]["value"] is None:
        return "-"
    return f"{lead['median']['value']:.2g}"


def _look_lines(threshold: Mapping[str, Any]) -> Iterator[str]:
    """Yield the share of benign users over the threshold at some looks, those between ages too."""
    looks = {int(look["num_events"]): look for look in threshold["curve"]}
    shares = [
        f"{count}: {percent(looks[count]['num_benign_over'] / looks[count]['num_benign_alive'])}"
        for count in LOOKS
        if count in looks and looks[count].get("num_benign_alive")
    ]
    if shares:
        yield (
            f"- Benign users over the threshold `{threshold['name']}` at the look after so many "
            f"events: {', '.join(shares)}."
        )


def _policy_rows(study: Study) -> list[list[str]]:
    """Return a row for each policy; none where no user has one, as all are told elsewhere."""
    return [
        [
            moment(task),
            "all users" if policy.get("is_total") else policy["policy"] or "none",
            f"{policy['num_likely_positives']:,} of {policy['num_likely']:,}",
            "-" if policy["precision"] is None else interval(policy["precision"]),
            f"{policy['promised']:g}, proven on {policy['fitted_on']}",
            PROMISES[policy["verdict"]],
        ]
        for task in measured(study)
        for policy in task.get("likely_by_policy", ())
        if len(task["likely_by_policy"]) > 1
    ]


def _encoder_row(task: Mapping[str, Any]) -> list[str] | None:
    ours, floor, metric = (
        row_of(task, "ours"),
        row_of(task, task["best_floor"]),
        task["main_metric"],
    )
    if ours is None:
        return None
    published = [row for row in task["rows"] if row["family"] == "published"]
    recipe = max(published, key=lambda row: float(row["metrics"][metric]["value"]), default=None)
    lead = ours["lead_on_best_floor"].get(metric)
    return [
        task["title"],
        METRICS.get(metric, metric),
        interval(ours["metrics"][metric]),
        "-" if floor is None else _beside(floor, metric),
        "-" if lead is None else signed_interval(lead),
        "-" if lead is None else verdict(lead),
        "-" if recipe is None else _beside(recipe, metric),
    ]


def _beside(row: Mapping[str, Any], metric: str) -> str:
    return f"`{row['method']}` {interval(row['metrics'][metric])}"
