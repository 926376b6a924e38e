"""The tables of a data set; each yields nothing where nothing was measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.ann.figures import QUERIES_TO_PROVE
from benchmarks.ann.methods import FLAT
from benchmarks.ann.rows import WHY_NOT
from benchmarks.ann.timing import ROUND_TRIP
from benchmarks.encoder.writing import percent, table

Facts = Mapping[str, Any]

NOTHING = "-"
LATENCIES = ("latency_ms_p50", "latency_ms_p95", "latency_ms_p99")
DUPLICATE_PARTS = (("anywhere", "anywhere"), ("near", "near a group"))


def fastest_table(methods: Sequence[Facts], k: int) -> Iterator[str]:
    """Yield the fastest good setting of each method, the fastest first; then those without any."""
    flat = _speed_of_flat(methods, k)
    rows = []
    for method in methods:
        points = [point for point in method["frontier"][str(k)] if has_figures(point)]
        good = method["fastest_good"][str(k)]
        if not points:
            continue
        point = good or max(points, key=lambda one: (one["recall"], -one["failed"]))
        speed = point["qps"]["median"]
        name = f"`{method['name']}`" if good else f"`{method['name']}`, none is good; its best"
        cells = [name, point["setting"], recall_text(point["recall"]), _failed_at_most(point)]
        cells += [_spread(point["qps"]), NOTHING if not flat else f"{speed / flat:.2f}"]
        cells += [f"{point[key]['median']:.3f}" for key in LATENCIES]
        rows.append((good is None, -speed, cells))
    header = ["method", "setting", f"recall@{k}", "failed", "queries per second"]
    header += [f"of {FLAT}", "p50 ms", "p95 ms", "p99 ms"]
    yield from table(header, [cells for *_, cells in sorted(rows)])


def frontier_table(methods: Sequence[Facts], k: int) -> Iterator[str]:
    """Yield all measured settings."""
    rows = []
    for method in methods:
        for point in method["frontier"][str(k)]:
            name = [f"`{method['name']}`", point["setting"]]
            if not has_figures(point):
                rows.append([*name, point[WHY_NOT], *[NOTHING] * 7])
                continue
            recalls = [recall_text(point["recall"]), _failed(point), percent(point["nothing"])]
            speeds = [_spread(point["qps"]), *(f"{point[key]['median']:.3f}" for key in LATENCIES)]
            rows.append([*name, *recalls, recall_text(point["lowest"]), *speeds])
    header = ["method", "setting", f"recall@{k}", "failed", "found nothing", "worst query"]
    yield from table([*header, "queries per second", "p50 ms", "p95 ms", "p99 ms"], rows)


def round_trips_table(methods: Sequence[Facts]) -> Iterator[str]:
    """Yield what of a search is its way there and back, where there is a connection."""
    rows = []
    for method in methods:
        for k, point in method["fastest_good"].items():
            if point is None or ROUND_TRIP not in point:
                continue
            search, trip = (point[key]["median"] for key in (LATENCIES[0], ROUND_TRIP))
            figures = [f"{value:.3f}" for value in (search, trip, search - trip)]
            rows.append([f"`{method['name']}`", k, point["setting"], *figures])
    header = ["method", "neighbors", "setting", "p50 ms", "without a search", "difference"]
    yield from table(header, rows)


def building_table(methods: Sequence[Facts]) -> Iterator[str]:
    """Yield what building, loading and serving take."""
    rows = []
    for method in methods:
        build, load, serve = method["build"], method["load"], method["serve"]
        if not has_figures(build):
            continue
        cells = [f"`{method['name']}`", f"{build['build_seconds']:,.1f}"]
        cells += [f"{build['build_cpu_seconds']:,.1f}", f"{build['build_peak_mb']:,.0f}"]
        cells += [f"{build['index_bytes'] / 2**20:,.1f}"]
        cells += (
            [f"{load['load_seconds']:.3f}", f"{load['first_query_ms']:.1f}"]
            if has_figures(load)
            else [NOTHING] * 2
        )
        cells += (
            [f"{serve['resident_mb']:,.0f}", f"{serve['mapped_mb']:,.0f}"]
            if serve
            else [NOTHING] * 2
        )
        batch = method["batch"]
        cells += [_spread(batch["qps"]) if has_figures(batch) else NOTHING]
        rows.append(cells)
    header = ["method", "build s", "CPU s", "peak MB", "on disk MB", "load s", "first query ms"]
    yield from table([*header, "serving MB", "mapped MB", "queries per second in batches"], rows)


def concurrency_table(methods: Sequence[Facts]) -> Iterator[str]:
    """Yield throughput and latency by number of searching threads."""
    threads = sorted({one for method in methods for one in method["concurrency"]}, key=int)
    rows = []
    for method in methods:
        if not method["concurrency"]:
            continue
        cells = [f"`{method['name']}`"]
        for one in threads:
            facts = method["concurrency"].get(one, {})
            if has_figures(facts):
                cells.append(f"{facts['qps']['median']:,.0f}")
                cells.append(f"{facts['latency_ms_p99']['median']:.2f}")
            else:
                cells += [NOTHING] * 2
        rows.append(cells)
    header = [cell for one in threads for cell in (f"{one}: per second", "p99 ms")]
    yield from table(["method", *header], rows)


def filters_table(methods: Sequence[Facts], filters: Sequence[Facts]) -> Iterator[str]:
    """Yield recall, failures and speed of filtered searches."""
    rows = []
    for method in methods:
        if not any(has_figures(row) for row in method["filters"].values()):
            continue
        cells = [f"`{method['name']}`"]
        for place in range(len(filters)):
            facts = method["filters"].get(f"{place:02d}", {})
            cells.append(
                f"{recall_text(facts['recall'])}, {percent(facts['failed'])}, {facts['qps']:,.0f}"
                if has_figures(facts)
                else NOTHING
            )
        rows.append(cells)
    header = [f"{one['kind']} {percent(one['share'])}" for one in filters]
    if rows:
        yield "Recall@10, share of failed queries, queries per second; by the rows that pass.\n"
    yield from table(["method", *header], rows)


def duplicates_table(methods: Sequence[Facts], variants: Facts) -> Iterator[str]:
    """Yield recall and failures among identical vectors."""
    for variant, about in variants.items():
        rows = []
        for method in methods:
            for setting, facts in method["duplicates"].get(variant, {}).items():
                if not has_figures(facts):
                    rows.append([f"`{method['name']}`", setting, facts[WHY_NOT], *[NOTHING] * 4])
                    continue
                cells = [f"`{method['name']}`", setting]
                for part, _ in DUPLICATE_PARTS:
                    found = facts.get(part)
                    cells += (
                        [recall_text(found["recall"]), percent(found["failed"])]
                        if found
                        else [NOTHING] * 2
                    )
                rows.append([*cells, f"{facts['qps']:,.0f}"])
        if rows:
            groups = "One group" if about["groups"] == 1 else f"{about['groups']} groups"
            yield f"{groups} of {about['group_size']:,} identical vectors.\n"
        parts = [cell for _, name in DUPLICATE_PARTS for cell in (f"recall@10 {name}", "failed")]
        yield from table(["method", "setting", *parts, "queries per second"], rows)


def updates_table(methods: Sequence[Facts]) -> Iterator[str]:
    """Yield the rates of changes, the searches between, and the recall after them."""
    rows = []
    for method in methods:
        facts = method["updates"]
        if not has_figures(facts):
            continue
        cells = [f"`{method['name']}`"]
        for name, after in (("removing", "after_removing"), ("adding", "after_adding")):
            rate = facts[name]
            cells += [f"{rate['changes_per_second']:,.0f}"]
            cells += [f"{rate['searches_between']['latency_ms_p99']:.2f}"]
            cells += [f"{recall_text(facts[after]['recall'])}, {percent(facts[after]['failed'])}"]
        rows.append([*cells, f"{facts['removed_but_returned']:,}"])
    header = ["method", "removed per second", "search p99 ms between", "recall@10 after, failed"]
    header += ["added per second", "search p99 ms between", "recall@10 after, failed"]
    yield from table([*header, "removed but returned"], rows)


def reasons(methods: Sequence[Facts]) -> dict[str, str]:
    """Return why methods have no figures, or lack a section."""
    found = {}
    for method in methods:
        name = method["name"]
        if WHY_NOT in method["build"]:
            found[name] = method["build"][WHY_NOT]
            continue
        lacking = {
            "with filters": next(iter(method["filters"].values()), {}),
            "with updates": method["updates"],
            "in batches": method["batch"],
        }
        found |= {
            f"{name} {where}": row[WHY_NOT] for where, row in lacking.items() if WHY_NOT in row
        }
    return {name: why.rstrip(".") for name, why in found.items()}


def has_figures(facts: Facts) -> bool:
    """Tell whether there is anything but a reason."""
    return bool(facts) and WHY_NOT not in facts


def recall_text(share: float) -> str:
    """Write a recall with as many places as tell a few failures among thousands of queries."""
    text = f"{share:.4f}"
    return text[1:] if text.startswith("0.") else text


def _speed_of_flat(methods: Sequence[Facts], k: int) -> float | None:
    for method in methods:
        points = method["frontier"][str(k)]
        if method["name"] == FLAT and points and has_figures(points[0]):
            return float(points[0]["qps"]["median"])
    return None


def _failed_at_most(point: Facts) -> str:
    """Write the share of failed queries, and of how many where these prove little."""
    text = _failed(point)
    if point["num_queries"] >= QUERIES_TO_PROVE:
        return text
    return f"{text} of {point['num_queries']:,}"


def _failed(point: Facts) -> str:
    return f"**{percent(point['failed'])}**" if point["failed"] else "0"


def _spread(figure: Facts) -> str:
    text = f"{figure['median']:,.0f}"
    return (
        text if len(figure["all"]) == 1 else f"{text} [{figure['low']:,.0f}, {figure['high']:,.0f}]"
    )
