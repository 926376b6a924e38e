"""`ann.md` and its pictures, made from result files alone.

Of several results of a data set the latest counts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ann.figures import CONFIDENCE, FAILED_MAX, KS, QUERIES_TO_PROVE, RECALL_TARGET
from benchmarks.ann.plots import frontier_svg
from benchmarks.ann.tables import (
    building_table,
    concurrency_table,
    duplicates_table,
    fastest_table,
    filters_table,
    frontier_table,
    reasons,
    round_trips_table,
    updates_table,
)
from benchmarks.commits import commits
from benchmarks.encoder.writing import percent
from store.durable import write_atomic

RESULTS_PATTERN = "ann_*.json"
PAGE_NAME, PLOTS_NAME = "ann.md", "plots"

Result = Mapping[str, Any]

HEAD = """\
# Nearest neighbors

<!-- Made by `python -m benchmarks.ann.render` from result files; change those, not this. -->

How fast the nearest vectors are found and how many of them, beside other libraries and databases.
`lookalike bench ann -o DIR` measures all of it; the results here name their commands.
With `--peers-venv DIR` it installs the other libraries there, in the versions of
[peers.txt](ann/peers.txt); without them ours and FAISS are measured alone.
"""
NOTES = (
    "Queries are held out: no stored vector is asked for.",
    "Recall is judged by distances that the benchmark computes itself, with a tolerance for ties; "
    "no library is asked for distances.",
    "A query *failed* where it found less than half of its neighbors. A mean hides failures, so "
    "their share stands beside it.",
    f"*Good* is a setting with a mean recall of {RECALL_TARGET} at least where the queries prove, "
    f"with {CONFIDENCE:.0%} confidence, that at most {FAILED_MAX * 1000:.0f} in 1,000 fails. Fewer "
    f"than {QUERIES_TO_PROVE:,} queries can't prove it: there it is enough that no larger share of "
    "them failed, and of how many is told. The fastest measured setting counts, nothing is "
    "interpolated.",
    "Every method runs in a process of its own, with one thread for single queries. All are loaded "
    "first and measured in turns; figures are medians over the repeats, with their ends in "
    "brackets; recall and failures are those of the worst repeat. Where methods build several "
    "indexes, each repeat asks the next.",
    "Latencies are those of the library's Python interface, one query at a time. Where there is a "
    "connection, the way *there and back* is measured too: the same query is sent and as many "
    "neighbors come back, without a search.",
    "Vectors have length one, so that inner product, cosine and Euclidean distance rank alike, and "
    "each library has the metric that it is best at.",
    "Wider settings are not measured once a narrower one finds everything.",
    "Peak memory of building includes the vectors; *mapped* are pages of files in the memory of "
    "serving, which processes share.",
    "Loading and the first query are cold: the system was asked to forget the files.",
)


def write_page(files: Sequence[Path], folder: Path) -> Path:
    """Write the page of these results and their pictures into a folder, and return the page."""
    results = latest([json.loads(path.read_text(encoding="utf-8")) for path in files])
    plots = folder / PLOTS_NAME
    if results:
        plots.mkdir(parents=True, exist_ok=True)
    for result in results:
        write_atomic(plots / plot_name(result), frontier_svg(result))
    page = folder / PAGE_NAME
    write_atomic(page, page_text(results).encode())
    return page


def page_text(results: Sequence[Result]) -> str:
    """Return the page of these results."""
    lines = [HEAD, *(f"- {note}" for note in NOTES), ""]
    for result in results:
        lines += data_lines(result)
    lines += glossary(results)
    return "\n".join(lines).rstrip("\n") + "\n"


def latest(results: Sequence[Result]) -> list[Result]:
    """Return the latest result of each data set, by name."""
    found = {
        result["data"]: result for result in sorted(results, key=lambda one: one["measured_at"])
    }
    return [found[name] for name in sorted(found)]


def plot_name(result: Result) -> str:
    """Return the file of a result's picture."""
    return f"ann_{result['data']}.svg"


def data_lines(result: Result) -> Iterator[str]:
    """Yield the section of a data set."""
    yield f"## {result['data']}\n"
    yield from _circumstances(result)
    methods = result["methods"]
    for k in KS:
        yield f"### Fastest good setting, {k} neighbors\n"
        yield from fastest_table(methods, k)
    yield f"![recall against queries per second]({PLOTS_NAME}/{plot_name(result)})\n"
    for title, lines in (
        ("There and back", round_trips_table(methods)),
        ("Building and serving", building_table(methods)),
        ("Several threads of one process", concurrency_table(methods)),
        ("Filters", filters_table(methods, result["about"]["filters"])),
        ("Identical vectors", duplicates_table(methods, result["duplicates"])),
        ("Updates", updates_table(methods)),
    ):
        found = list(lines)
        if found:
            yield f"### {title}\n"
            yield from found
    yield "<details><summary>All settings</summary>\n"
    for k in KS:
        yield from frontier_table(methods, k)
    yield "</details>\n"
    missing = {**reasons(methods), **result["not_measured"]}
    for name, why in sorted(missing.items()):
        yield f"- `{name}` is not measured: {why}."
    if missing:
        yield ""


def glossary(results: Sequence[Result]) -> Iterator[str]:
    """Yield what the methods are, with the versions that were measured."""
    about: dict[str, str] = {}
    for result in results:
        for method in result["methods"]:
            version = f"{method['library']} {method['versions']['library']}"
            about[method["name"]] = f"{method['about']} ({version})"
    if about:
        yield "## Methods\n"
    for name, text in sorted(about.items()):
        yield f"- `{name}`: {text}."


def _circumstances(result: Result) -> Iterator[str]:
    about, machine = result["about"], result["machine"]
    dimension = about["intrinsic_dimension"]
    equal = about["queries_equal_to_a_stored_vector"]
    yield (
        f"{about['num_vectors']:,} vectors of {about['dim']} dimensions "
        f"({about['num_distinct']:,} distinct), {about['num_queries']:,} queries, of which "
        f"{percent(equal)} equal a stored vector all the same. Intrinsic dimension "
        f"{dimension['two_nn']} (two nearest neighbors), {dimension['mle']} (maximum likelihood)."
    )
    yield (
        f"{result['config']['repeats']} repeats{_builds(result)}, seed {result['seed']}, "
        f"{machine['cores']} cores ({machine['processor']}), "
        f"load {result['load_average_before']} before, "
        f"{str(result['measured_at'])[:10]}, {commits(result)}:"
    )
    yield f"`{runnable(result['command'])}`\n"


def _builds(result: Result) -> str:
    """Return how many indexes each method built, if several."""
    num = result["config"].get("builds", 1)
    return f" on {num} builds" if num > 1 else ""


def runnable(command: str) -> str:
    """Return the command of a result as one would type it."""
    return f"python -m benchmarks.ann {command.partition(' ')[2]}".strip()
