"""From rows to figures: medians over repeats, the frontier, and the fastest setting that is good.

A setting is good where its mean recall reaches the target and the queries prove that at most one in
a thousand fails; where they are too few to prove it, it is enough that no more of them failed. What
counts is the fastest of the measured ones: nothing is interpolated.
"""

import sys
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.ann.bench import BUILD, LOAD
from benchmarks.ann.methods import Method, effort_name
from benchmarks.ann.rows import WHY_NOT, Row, RowStore, is_measured
from benchmarks.ann.timing import ROUND_TRIP
from index.recall import share_upper_bound

KS = (10, 100)
RECALL_TARGET, FAILED_MAX, CONFIDENCE = 0.99, 0.001, 0.95
LATENCIES = ("latency_ms_p50", "latency_ms_p95", "latency_ms_p99")
QUERIES_TO_PROVE = 2_995
"""So many prove with 95 % confidence that at most one in a thousand fails, if none does."""
JUDGED = ("recall", "failed", "nothing", "lowest", "num_queries")

Facts = dict[str, Any]


def setting_key(number: int, k: int, repeat: int) -> str:
    """Return the key of a row of the frontier."""
    return f"{number:02d}.k{k}.{repeat}"


def frontier(store: RowStore, method: Method, k: int) -> list[Facts]:
    """Return the measured settings of a method, in ascending effort."""
    rows, points = store.of("frontier", method.name), []
    for number, effort in enumerate(method.efforts):
        start = setting_key(number, k, 0)[:-1]
        found = [row for key, row in sorted(rows.items()) if key.startswith(start)]
        measured = [row for row in found if is_measured(row)]
        if measured:
            points.append(
                {"setting": effort_name(effort), "effort": dict(effort), **merged(measured)}
            )
        elif found:
            points.append(
                {
                    "setting": effort_name(effort),
                    "effort": dict(effort),
                    WHY_NOT: found[0][WHY_NOT],
                }
            )
    return points


def merged(rows: Sequence[Row]) -> Facts:
    """Return medians over repeats, with every repeat; recall and failures are of the worst."""
    worst = min(rows, key=lambda row: (row["recall"], -row["failed"]))
    failing = max(rows, key=lambda row: row["failed"])
    return {
        **{key: worst[key] for key in JUDGED if key in worst},
        **{key: failing[key] for key in ("failed", "num_queries") if key in failing},
        "qps": spread([row["qps"] for row in rows]),
        **{
            key: spread([row[key] for row in rows])
            for key in (*LATENCIES, ROUND_TRIP)
            if all(key in row for row in rows)
        },
    }


def spread(values: Sequence[float]) -> Facts:
    """Return the median, the ends, and all values in the order of the repeats."""
    return {
        "median": round(median(values), 5),
        "low": min(values),
        "high": max(values),
        "all": list(values),
    }


def failed_bound(point: Mapping[str, Any]) -> float:
    """Return the share of queries that fails at most, with 95 % confidence, as far as these tell.

    Queries are drawn from more than any benchmark asks, so no share of them is all.
    """
    num = point["num_queries"]
    return share_upper_bound(
        round(point["failed"] * num), num=num, population=sys.maxsize, confidence=CONFIDENCE
    )


def is_good(point: Mapping[str, Any]) -> bool:
    """Tell whether a setting reaches the target with hardly any failure."""
    if WHY_NOT in point or point["recall"] < RECALL_TARGET:
        return False
    can_prove = point["num_queries"] >= QUERIES_TO_PROVE
    return is_proven(point) if can_prove else point["failed"] <= FAILED_MAX


def is_proven(point: Mapping[str, Any]) -> bool:
    """Tell whether so few queries failed that at most one in a thousand does."""
    return failed_bound(point) <= FAILED_MAX


def fastest_good(points: Sequence[Facts]) -> Facts | None:
    """Return the fastest good setting, None where none is."""
    good = [point for point in points if is_good(point)]
    return max(good, key=lambda point: point["qps"]["median"]) if good else None


def chosen_setting(points: Sequence[Facts]) -> Facts | None:
    """Return the fastest good setting, else that of the best recall; None without any."""
    measured = [point for point in points if WHY_NOT not in point]
    if not measured:
        return None
    return fastest_good(measured) or max(
        measured, key=lambda point: (point["recall"], -point["failed"])
    )


def figures_of(store: RowStore, method: Method, data_key: str, versions: Facts) -> Facts:
    """Return all there is to say of a method on a data set, as JSON."""
    by_k = {str(k): frontier(store, method, k) for k in KS}
    return {
        "name": method.name,
        "about": method.about,
        "home": method.home,
        "library": method.library,
        "versions": versions,
        "params": dict(method.build),
        **_building(store, method, data_key),
        "load": store.get(LOAD, method.name, LOAD) or {},
        "serve": _serving(store, method),
        "frontier": by_k,
        "fastest_good": {k: fastest_good(points) for k, points in by_k.items()},
        "chosen": chosen_setting(by_k["10"]),
        "batch": _repeated(store, method, "batch"),
        "concurrency": _concurrency(store, method),
        "filters": dict(store.of("filters", method.name)),
        "duplicates": _duplicates(store, method),
        "updates": store.get("updates", method.name, "updates") or {},
    }


def _building(store: RowStore, method: Method, data_key: str) -> Facts:
    """Return the build of median time, and the seconds of all."""
    rows = [
        row
        for key, row in sorted(store.of(BUILD, method.name).items())
        if key == data_key or key.rpartition(".")[0] == data_key
    ]
    measured = sorted(filter(is_measured, rows), key=lambda row: float(row["build_seconds"]))
    if not measured:
        return {"build": dict(rows[0]) if rows else {}}
    seconds = [row["build_seconds"] for row in rows if is_measured(row)]
    return {
        "build": dict(measured[(len(measured) - 1) // 2]),
        "all_build_seconds": seconds,
    }


def _serving(store: RowStore, method: Method) -> Facts:
    """Return the memory of a worker that has answered; the most it held at any time."""
    rows = [row for row in store.of("frontier", method.name).values() if is_measured(row)]
    names = ("resident_mb", "mapped_mb", "serve_peak_mb")
    return {name: max(row[name] for row in rows) for name in names} if rows else {}


def _repeated(store: RowStore, method: Method, section: str) -> Facts:
    rows = list(store.of(section, method.name).values())
    measured = [row for row in rows if is_measured(row)]
    if measured:
        return merged(measured)
    return dict(rows[0]) if rows else {}


def _concurrency(store: RowStore, method: Method) -> Facts:
    """Return figures by number of threads."""
    rows = store.of("concurrency", method.name)
    found: Facts = {}
    for threads in sorted({key.partition(".")[0] for key in rows}, key=int):
        repeats = [row for key, row in sorted(rows.items()) if key.partition(".")[0] == threads]
        measured = [row for row in repeats if is_measured(row)]
        found[threads] = (
            {name: spread([row[name] for row in measured]) for name in ("qps", *LATENCIES)}
            if measured
            else dict(repeats[0])
        )
    return found


def _duplicates(store: RowStore, method: Method) -> Facts:
    """Return figures by variant and setting."""
    found: Facts = {}
    for key, row in store.of("duplicates", method.name).items():
        variant, _, setting = key.partition(".")
        found.setdefault(variant, {})[setting] = dict(row)
    return found
