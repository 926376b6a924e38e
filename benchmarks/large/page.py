"""`docs/scale.md`, made from result files alone: what a user costs, and what many would.

Of several results of a size the latest counts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.large.config import GB, MB
from benchmarks.large.shards import (
    BUILDS_KEPT,
    QUERIES_PER_SECOND,
    WORKERS,
    Prices,
    fleet,
    milliseconds,
    shard_build_gb,
    worker_bytes,
)

RESULTS_PATTERN = "large_*.json"
FLEETS = (10_000_000, 100_000_000, 1_000_000_000)
PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("vectors", ("vectors.npy",)),
    ("users: ids, times, labels", ("users.arrow",)),
    ("who shares a vector", ("entry_",)),
    ("the index", ("ivf", "hnsw")),
    ("hub corrections", ("penalties",)),
    ("vectors of known violators again", ("violators.npy",)),
)
HEAD = """\
# Scale

<!-- Made by `python -m benchmarks.large.render` from result files; change those, not this. -->
"""
NOTES = (
    "What a user costs in an index of millions, on the disk and in memory, measured, and what a "
    "hundred million and a billion would cost, computed from that.",
    "",
    "`python -m benchmarks.large -o benchmarks/results --users 10000000 --dim 64` draws users, "
    "builds and publishes them as `lookalike rebuild` does once they are embedded (`write_build`, "
    "the gate, `publish`), and serves them as a worker of the service does "
    "(`LookalikeService.open`).",
    "Every step is a process of its own.",
    "Vectors lie in overlapping clusters of unequal size, each in ten dimensions of its own; 2 % "
    "of the users are copies of others, half of these but for float noise, one vector is shared by "
    "0.1 % of all, and about 0.8 % are known violators, most of them in one cluster of twenty.",
    "Queries are drawn as the vectors are and never stored.",
    "Recall is judged by an exact search of all vectors that the benchmark does itself, by the "
    "ranking that the service promises: cosine less the hub correction, of distinct vectors; a "
    "query *failed* where less than half of its neighbors were found.",
    "Libraries are loaded before a build is opened, and none of them counts as the build's.",
    "",
)


def write_page(files: Sequence[Path], path: Path) -> None:
    """Write the page of these results."""
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    path.write_text(page_text(results), encoding="utf-8")


def page_text(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the page; the largest build is told part by part."""
    latest = {
        tuple(result["config"][name] for name in ("users", "dim", "kind")): result
        for result in sorted(results, key=lambda one: str(one["measured_at"]))
    }
    ordered = [latest[size] for size in sorted(latest)]
    lines = [HEAD, *NOTES]
    lines += ["## Measured", "", *measured_lines(ordered), ""]
    if ordered:
        largest = ordered[-1]
        title = f"{largest['config']['users']:,} users of {largest['config']['dim']} dimensions"
        lines += [f"## {title}", "", *run_lines(largest), ""]
        lines += ["### Bytes of a user", "", *parts_lines(largest), ""]
        lines += ["### Phases of the build", "", *phases_lines(largest), ""]
        lines += ["### Queries", "", *queries_lines(largest), ""]
        lines += ["## A hundred million, and a billion", "", *fleet_lines(largest)]
    return "\n".join(lines).rstrip() + "\n"


def measured_lines(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table with a build in every column."""
    rows: dict[str, list[str]] = {}
    for result in results:
        for name, cell in _figures(result):
            rows.setdefault(name, []).append(cell)
    names = [f"{one['config']['users']:,} users × {one['config']['dim']}" for one in results]
    yield from _table(["", *names], [[name, *cells] for name, cells in rows.items()])


def _figures(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    build, served = result["build"], result["served"]
    num_users, peak = result["config"]["users"], build["peak"]
    file_bytes = sum(build["files"].values())
    named = " (named in the settings)" if result["config"]["kind"] != "auto" else ""
    yield "index, as the build chose it", f"`{build['index']}`{named}"
    for judged in result["recall"]:
        name = f"recall@{judged['k']} (failed of {judged['num_queries']:,})"
        yield name, f"{judged['recall']:.4f} ({judged['failed']})"
    yield "build, gate and publish, seconds", f"{build['seconds']:,.0f}"
    yield "processor seconds of the build", f"{build['cpu_seconds']:,.0f}"
    yield "peak of the build: its own memory, MB", f"{peak['anonymous_mb']:,}"
    yield "peak with mapped files, MB", f"{peak['resident_mb']:,}"
    yield "build on disk, MB", f"{file_bytes / MB:,.0f}"
    yield "bytes a user on disk", f"{file_bytes / num_users:.0f}"
    yield "opened until the first answer, seconds", _opened(served["warm"])
    yield "processor seconds of opening", f"{served['warm']['cpu_seconds']:.2f}"
    yield "the same from the disk, seconds", _opened(served["cold"])
    yield "query for 10, ms p50 / p95 / p99", _latency(served["asked"]["kinds"][0])
    yield "query for 100, ms p50 / p95 / p99", _latency(served["asked"]["kinds"][1])
    yield "a worker's own memory, MB", f"{worker_bytes(result) / MB:,.0f}"
    yield (
        "load of the machine before and after",
        (f"{result['load_average_before']:.1f}, {result['load_average_after']:.1f}"),
    )


def run_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was measured, where, and what bounded it."""
    build, config, machine = result["build"], result["config"], result["machine"]
    yield f"Measured {result['measured_at'][:10]} at commit `{result['commit']}`:"
    yield f"{machine['processor']}, {machine['cores']} cores, {machine['memory_mb']:,} MB;"
    yield (
        f"`python -m benchmarks.large --users {config['users']} --dim {config['dim']} "
        f"--threads {config['threads']}`, with a load of {result['load_average_before']:.1f} "
        f"before and {result['load_average_after']:.1f} after."
    )
    yield (
        f"{build['num_distinct']:,} distinct vectors, {build['num_violators']:,} known violators. "
        f"{build['choice']['reason'].capitalize()}."
    )
    limit = config["memory_gb"]
    yield (
        f"No step may have more than {limit:g} GB of its own: the system refuses it "
        "(`RLIMIT_DATA`, private writable memory, touched or not). Pages of mapped files are not "
        "bounded by that, for the system takes them back where memory is short; with them the "
        f"build held {shard_build_gb(result):.1f} GB at most (`VmHWM`), and serving "
        f"{result['served']['asked']['peak_kb'] * 1024 / GB:.1f} GB."
    )


def parts_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the bytes of a user on disk and in memory, by part, and what workers share."""
    num_users, files = result["config"]["users"], result["build"]["files"]
    held = {part["file"]: part for part in result["served"]["workers"]["parts"]}
    rows = []
    for name, starts in PARTS:
        disk = sum(size for file, size in files.items() if file.startswith(starts))
        ours = [part for file, part in held.items() if file.startswith(starts)]
        resident, shared = (
            sum(sum(part[key]) for part in ours) * 1024 for key in ("rss_kb", "pss_kb")
        )
        rows.append(
            [
                name,
                f"{disk / num_users:.1f}",
                f"{resident / WORKERS / num_users:.1f}",
                f"{shared / num_users:.1f}",
            ]
        )
    own = [int(kb) * 1024 for kb in result["served"]["workers"]["anonymous_kb"]]
    rows.append(
        [
            "a worker's own: labels, who is hidden",
            "",
            f"{sum(own) / WORKERS / num_users:.1f}",
            f"{sum(own) / num_users:.1f}",
        ]
    )
    yield from _table(
        ["part", "on disk", "in one worker's memory", f"in that of {WORKERS} together"], rows
    )
    yield ""
    yield (
        f"Memory is what {WORKERS} workers held at the same time after "
        f"{result['config']['queries']:,} queries each. Files are mapped, so what both hold is "
        "there once: the last column counts every page once (`Pss`). What a worker holds of its "
        "own is what opening adds; Python and the libraries come to it once a worker, whatever the "
        f"users: {_start_mb(result):,.0f} MB."
    )


def phases_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what each phase of the build took."""
    rows = [
        [
            one["phase"],
            f"{one['seconds']:,.1f}",
            f"{one['cpu_seconds']:,.1f}",
            f"{one['anonymous_mb']:,}",
        ]
        for one in result["build"]["phases"]
    ]
    yield from _table(["phase", "seconds", "processor seconds", "own memory, MB"], rows)
    yield ""
    yield (
        "*write the build* holds the phases below it up to the checksums. The users' table that is "
        "handed over, as a rebuild reads it from the lake, is part of the build's own memory; "
        "vectors are handed over in a mapped file."
    )


def queries_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the latency of each kind of query."""
    asked = result["served"]["asked"]
    rows = [
        [
            one["kind"],
            _latency(one),
            f"{one['cpu_ms']:.2f}",
            f"{one['first_ms']:,.0f}",
            f"{one['second_ms']:,.0f}",
            ", ".join(f"`{mode}`" for mode in one["modes"]),
            f"{one['added_mb']:,.0f}",
        ]
        for one in asked["kinds"]
    ]
    yield from _table(
        [
            *("query", "ms p50 / p95 / p99", "processor ms", "first, ms", "second, ms"),
            *("mode", "memory added, MB"),
        ],
        rows,
    )
    batch = asked["batch"]
    yield ""
    yield (
        f"One at a time, {result['config']['timed_queries']:,} of each kind, through the service "
        f"without HTTP; in batches of {batch['at_once']} a thread answers "
        f"{batch['queries_per_second']:,.0f} a second. The first query with a filter sorts the "
        "column that it names, and the second one may index the slice; both are kept."
    )


def fleet_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what more users would take, with every assumption."""
    prices = Prices()
    size = result["config"]["users"]
    fleets = [fleet(result, users, prices) for users in FLEETS]
    yield (
        f"Computed, not measured: shards as the build above, {size:,} users each. "
        "Every query asks every shard, and the best of their answers are the best of all, so "
        "recall is no lower than one shard's. **What asks the shards and merges is no part of this "
        "project**; embedding and events are not counted either. Everything is there once: "
        "replicas multiply memory, cores and their price."
    )
    yield ""
    yield from _table(
        [
            *("users", "shards", "disk, GB", "memory, GB", "rebuild, core hours"),
            *("rebuild, hours", f"cores for {QUERIES_PER_SECOND} queries/s", "dollars a month"),
        ],
        [
            [
                f"{one.users:,}",
                f"{one.shards:,}",
                f"{one.disk_gb:,.0f}",
                f"{one.memory_gb:,.0f}",
                f"{one.build_core_hours:,.1f}",
                f"{one.build_hours:,.2f}",
                f"{one.serving_cores:,.1f}",
                f"{one.month_dollars:,.0f}",
            ]
            for one in fleets
        ],
    )
    yield ""
    yield "With S shards and B bytes of files in a shard:"
    yield ""
    yield f"- disk = S × B × {BUILDS_KEPT} builds: the live one, the last one, the one being made."
    yield (
        f"- memory = S × (B + {WORKERS} workers × {worker_bytes(result) / MB:,.0f} MB): all files "
        "stay in memory. They need not: pages that no query touches may go, at the price of reads "
        "from the disk."
    )
    yield (
        f"- rebuild = S × {result['build']['cpu_seconds']:,.0f} processor seconds, at "
        f"{shard_build_gb(result):.1f} GB each; hours are those of one shard on a machine as the "
        "measured one, as busy, with all shards side by side."
    )
    yield (
        f"- cores = {QUERIES_PER_SECOND} × S × {milliseconds(result):.2f} ms, the processor time "
        "of one query for ten neighbors."
    )
    yield (
        f"- dollars = cores and memory all month, 30 rebuilds, and the disk, at assumed prices of "
        f"{prices.core_hour:g} for a core hour, {prices.memory_gb_hour:g} for a GB of memory and "
        f"hour, {prices.disk_gb_month:g} for a GB of disk and month: about what public clouds ask "
        "on demand, an offer of nobody."
    )


def _opened(opened: Mapping[str, Any]) -> str:
    return f"{opened['until_first_answer_seconds']:.2f}"


def _latency(one: Mapping[str, Any]) -> str:
    return " / ".join(f"{one[f'ms_{name}']:.2f}" for name in ("p50", "p95", "p99"))


def _start_mb(result: Mapping[str, Any]) -> float:
    return float(result["served"]["warm"]["start_anonymous_kb"]) * 1024 / MB


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
