"""Runs the benchmark: every data set, every method, every section; then the figures."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from benchmarks.ann.bench import Bench, Report
from benchmarks.ann.config import CLUSTERED, PLATFORM, SENTENCES, BenchmarkConfig
from benchmarks.ann.data import DataSet, make_data_set
from benchmarks.ann.figures import figures_of
from benchmarks.ann.methods import chosen
from benchmarks.ann.page import RESULTS_PATTERN, write_page
from benchmarks.ann.rows import RowStore
from benchmarks.ann.sections import measure_sections
from benchmarks.ann.simulated import embedded_platform
from benchmarks.ann.sources import Blocks, clustered, read_blocks, sentences
from benchmarks.commits import commit_facts
from benchmarks.encoder.positions import SENTENCE_PACKAGE, find_sentence_model
from benchmarks.encoder.run import named_alone, result_name
from jobs.errors import UsageError
from jobs.report.facts import command, commit, machine, versions
from store.durable import write_atomic

Source = Callable[[], tuple[Blocks, Blocks | None]]


def run(config: BenchmarkConfig, output: Path, *, now: datetime, report: Report) -> list[Path]:
    """Measure what is not measured yet, and write a result per data set and `ann.md`.

    Args:
        config: What is measured.
        output: Folder of data, rows and results; a run of the same settings goes on where it was.
        now: The date of the results.
        report: Told what goes on, line by line.

    Raises:
        UsageError: If a method is unknown, a file can't be read, or the folder has other rows.
    """
    methods, written = chosen(config.methods, quick=config.quick), []
    sources = dict(data_sources(config, now=now))
    output.mkdir(parents=True, exist_ok=True)
    own_commit = commit()
    for name, source in sources.items():
        store = RowStore(output / "rows" / name, own_commit)
        store.claim(config.identity() | {"data": name})
        report(f"{name}: vectors, queries and true neighbors")
        data = make_data_set(
            name,
            output / "data" / name,
            source,
            queries=config.num_queries,
            rows_max=config.rows_max,
            seed=config.seed,
        )
        scratch = output / "scratch" / name
        bench = Bench(config, data, store, scratch, report)
        load = os.getloadavg()[0]
        there, missing = bench.probe(methods)
        for method, why in missing.items():
            report(f"{name}: {method} is not measured: {why}")
        measure_sections(bench, there)
        result = {
            "theme": "ann",
            "data": name,
            "measured_at": now.isoformat(timespec="seconds"),
            "command": named_alone(command()),
            **commit_facts(own_commit, store.commits()),
            "seed": config.seed,
            "load_average_before": round(load, 2),
            "config": config.model_dump(mode="json", exclude={"data", "texts"}),
            "machine": machine(),
            "versions": versions(),
            "about": data.about,
            "duplicates": _copies(data),
            "methods": [
                figures_of(store, method, data.folder.name, bench.versions[method.name])
                for method in there
            ],
            "not_measured": missing,
        }
        path = output / result_name(name, now).replace("encoder_", "ann_", 1)
        write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
        written.append(path)
        shutil.rmtree(scratch, ignore_errors=True)
    return [*written, write_page(sorted(output.glob(RESULTS_PATTERN)), output)]


def data_sources(config: BenchmarkConfig, *, now: datetime) -> Iterator[tuple[str, Source]]:
    """Yield the name of each data set and what opens it.

    Raises:
        UsageError: If a name is neither a kind of data set nor a file.
    """
    for kind in config.data:
        if kind == CLUSTERED:
            for size in config.clustered_sizes:
                yield f"clustered-{_short(size)}", partial(_clustered, config, size)
        elif kind == SENTENCES:
            if config.texts is None:
                raise UsageError("--data sentences needs --texts FILE")
            yield f"sentences-{config.texts.stem}", partial(_sentences, config)
        elif kind == PLATFORM:
            for users in config.platform_users:
                yield f"platform-{_short(users)}", partial(_platform, config, users, now)
        elif Path(kind).is_file():
            yield Path(kind).stem, partial(read_blocks, Path(kind))
        else:
            raise UsageError(
                f"there is no data set {kind}; name {CLUSTERED}, {SENTENCES}, {PLATFORM} or a file"
            )


def _clustered(config: BenchmarkConfig, size: int) -> tuple[Blocks, None]:
    num = size + config.num_queries
    return clustered(num, clusters_for=size, seed=config.seed), None


def _sentences(config: BenchmarkConfig) -> tuple[Blocks, None]:
    folder = find_sentence_model()
    if folder is None:
        raise UsageError(f"no sentence model is installed; {SENTENCE_PACKAGE} has one")
    assert config.texts is not None, "checked when the sources are listed"
    return sentences(config.texts, config.texts_column, folder, most=config.texts_max), None


def _platform(config: BenchmarkConfig, users: int, now: datetime) -> tuple[Blocks, None]:
    return embedded_platform(users, seed=config.seed, now=now, quick=config.quick), None


def _copies(data: DataSet) -> dict[str, object]:
    """Return the sizes of the groups of identical vectors, of the variants that were made."""
    files = sorted(data.folder.glob("*/about.json"))
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in files}


def _short(num: int) -> str:
    """Return a round number as people write it: 200k."""
    for unit, size in (("m", 1_000_000), ("k", 1_000)):
        if num >= size and num % size == 0:
            return f"{num // size}{unit}"
    return str(num)
