"""The section of `encoder.md` on what the encoder costs, made from a result of `--scale`."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.commits import commits
from benchmarks.encoder.writing import table

Result = Mapping[str, Any]

TITLE = "Cost by number of events"
SLOPES = {
    "train_fast": "training, `fast`",
    "encode": "encoding",
    "embed_fast": "embedding, `fast`",
    "embed_standard": "embedding, `standard`",
    "tfidf_fit": "TF-IDF, fit",
    "tfidf_transform": "TF-IDF, transform",
}
SPEED_HEADER = (
    *("events", "users", "encode", "embed, `standard`", "embed, `fast`"),
    *("TF-IDF fit", "TF-IDF transform", "MB, embed `standard`", "MB, TF-IDF"),
)
TRAINING_HEADER = ("events", "events kept", "preset", "seconds", "CPU seconds", "MB", "networks")


def scale_lines(result: Result) -> Iterator[str]:
    """Yield the section of a result."""
    machine, kept = result["machine"], result["max_training_events"]
    yield f"## {TITLE}\n"
    yield (
        f"Simulated platforms, seed {result['seed']}, {machine['cores']} cores "
        f"({machine['processor']}), load average {result['load_average_before']} before, "
        f"{str(result['measured_at'])[:10]}, {commits(result)}:"
    )
    yield f"`{result['command']}`\n"
    yield "Every figure is of a process of its own; megabytes are its peak, libraries included."
    yield (
        "Embedding, encoding (its first part) and TF-IDF have one thread, and reading the events "
        "is not in their times; in their peaks it is."
    )
    yield (
        "Short measurements are repeated: the median counts, and the highest peak. "
        "One model of each preset embeds all platforms.\n"
    )
    yield "Events a second:\n"
    yield from table(SPEED_HEADER, [_speed_cells(point) for point in result["points"]])
    yield f"Training keeps at most {kept:,} events, whole users drawn at random from there on.\n"
    rows = [
        _training_cells(point, preset, facts)
        for point in result["points"]
        for preset, facts in point["train"].items()
    ]
    yield from table(TRAINING_HEADER, rows)
    yield from _slope_lines(result)
    yield from target_lines(result)
    yield ""


def target_lines(result: Result) -> Iterator[str]:
    """Yield each target beside what was measured."""
    targets, speeds = result["targets"], embed_speeds(result)
    wanted, slowest = targets["events_per_second"], min(speeds.values())
    yield (
        f"- Target: {wanted:,} events a second and core. Embedding with `standard`: "
        f"{slowest:,.0f} to {max(speeds.values()):,.0f} on platforms of {min(speeds):,} events "
        f"or more, {_reached(slowest >= wanted)}."
    )
    for point in result["points"]:
        facts = point["train"].get("standard")
        if facts is None or point["events_wanted"] < result["config"]["model_events"]:
            continue
        is_reached = (
            facts["seconds"] < targets["train_seconds"]
            and facts["peak_mb"] < targets["train_peak_mb"]
        )
        yield (
            f"- Target: train `standard` within {targets['train_seconds']} seconds and "
            f"{targets['train_peak_mb']:,} MB at {point['events_wanted']:,} events. "
            f"At {point['num_events']:,}: {facts['seconds']:.0f} seconds, "
            f"{facts['peak_mb']:,.0f} MB, {_reached(is_reached)}."
        )


def embed_speeds(result: Result) -> dict[int, float]:
    """Return events a second of embedding with `standard`, by events of the platform.

    Platforms below the sizes of the slopes are left out, unless there are no others.
    """
    speeds = {
        int(point["num_events"]): float(_rate(point["embed"]["standard"]))
        for point in result["points"]
    }
    least = result["config"]["slope_events_min"] * 0.9
    return {events: speed for events, speed in speeds.items() if events >= least} or speeds


def _slope_lines(result: Result) -> Iterator[str]:
    yield "Slope of log(seconds) against log(events), 1 where cost is proportional to events:\n"
    rows = []
    for name, title in SLOPES.items():
        fitted = result["slopes"][name]
        if fitted["slope"] is None:
            continue
        error = fitted["standard_error"]
        low, high = fitted["events"]
        rows.append(
            [
                title,
                f"{fitted['slope']:.3f}",
                "-" if error is None else f"{error:.3f}",
                str(fitted["num_sizes"]),
                f"{low:,} to {high:,}",
            ]
        )
    yield from table(("cost", "slope", "standard error", "platforms", "events"), rows)


def _speed_cells(point: Mapping[str, Any]) -> list[str]:
    timed = [
        *(point["encode"], point["embed"]["standard"], point["embed"]["fast"]),
        *(point["tfidf"]["fit"], point["tfidf"]),
    ]
    peaks = [point["embed"]["standard"]["peak_mb"], point["tfidf"]["peak_mb"]]
    return [
        *(f"{point[key]:,}" for key in ("num_events", "num_users")),
        *(f"{_rate(facts):,.0f}" for facts in timed),
        *(f"{peak:,.0f}" for peak in peaks),
    ]


def _training_cells(point: Mapping[str, Any], preset: str, facts: Mapping[str, Any]) -> list[str]:
    networks = ", ".join(f"{role} {name}" for role, name in facts["networks"].items())
    return [
        f"{point['num_events']:,}",
        f"{facts['events_kept']:,}",
        f"`{preset}`",
        f"{facts['seconds']:.0f}",
        f"{facts['cpu_seconds']:.0f}",
        f"{facts['peak_mb']:,.0f}",
        networks,
    ]


def _rate(facts: Mapping[str, Any]) -> float:
    return float(facts["num_events"]) / float(facts["seconds"])


def _reached(is_reached: bool) -> str:
    return "reached" if is_reached else "**not reached**"
