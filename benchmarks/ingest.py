"""How fast events get into the lake, and with how much memory.

    python -m benchmarks.ingest --events 10000000 -o results/ingest.json

Every case ingests a synthetic file in a process of its own, so that the peak memory is that of
the ingest and not of making the file.
"""

import argparse
import json
import multiprocessing
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from store.config import IngestConfig
from store.ingest import ingest_events
from store.manifests import read_manifests
from store.workspace import Workspace

_CHUNK_ROWS = 500_000
_START_US = 1_577_836_800_000_000
_DAY_US = 86_400_000_000
_NOW = datetime(2031, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """One file to ingest.

    Attributes:
        name: What the case shows.
        num_events: Rows of the file.
        num_days: Over how many days they are spread, evenly.
        ordered: Whether the rows are in the order of time.
        event_ids: Whether there is an `event_id` column, which costs a search for duplicates.
        suffix: Format of the file.
    """

    name: str
    num_events: int
    num_days: int
    ordered: bool
    event_ids: bool = False
    suffix: str = ".parquet"


@dataclass(frozen=True)
class Measurement:
    """What one ingest took.

    `cpu_seconds` are those of all threads: on a busy machine they say more than `seconds`.
    """

    case: Case
    file_megabytes: float
    seconds: float
    cpu_seconds: float
    events_per_second: float
    peak_rss_megabytes: float
    num_part_files: int


def cases(num_events: int) -> list[Case]:
    """Return the cases; text formats, which have no target, get a tenth of the events."""
    few = max(num_events // 10, 1)
    return [
        Case("sorted", num_events, 90, ordered=True),
        Case("shuffled", num_events, 90, ordered=False),
        Case("ten years, shuffled", num_events, 3650, ordered=False),
        Case("shuffled, with event_id", num_events, 90, ordered=False, event_ids=True),
        Case("csv, shuffled", few, 90, ordered=False, suffix=".csv"),
        Case("jsonl, shuffled", few, 90, ordered=False, suffix=".jsonl"),
    ]


def write_events(case: Case, file: Path, *, seed: int) -> None:
    """Write a case's file chunk by chunk."""
    chunks = _chunks(case, np.random.default_rng(seed))
    first = next(chunks)
    if case.suffix == ".jsonl":
        with file.open("w") as out:
            for table in (first, *chunks):
                out.writelines(
                    json.dumps(row | {"ts": row["ts"].isoformat()}) + "\n"
                    for row in table.to_pylist()
                )
        return
    writer = (
        pa_csv.CSVWriter(file, first.schema)
        if case.suffix == ".csv"
        else pq.ParquetWriter(file, first.schema)
    )
    with writer:
        for table in (first, *chunks):
            writer.write_table(table)


def _chunks(case: Case, rng: np.random.Generator) -> Iterator[pa.Table]:
    """Yield events of users and pages as unevenly frequent as on real platforms."""
    span_us = case.num_days * _DAY_US
    num_users = max(case.num_events // 50, 1)
    for first in range(0, case.num_events, _CHUNK_ROWS):
        num_rows = min(_CHUNK_ROWS, case.num_events - first)
        share = (
            np.linspace(first, first + num_rows, num_rows) / case.num_events
            if case.ordered
            else rng.random(num_rows)
        )
        users = (num_users * rng.random(num_rows) ** 2).astype(np.int64)
        pages = (200_000 * rng.random(num_rows) ** 3).astype(np.int64)
        columns = {
            "user_id": _names("user", users),
            "ts": pa.array(
                _START_US + (share * span_us).astype(np.int64), pa.timestamp("us", "UTC")
            ),
            "event_type": _names("kind", rng.integers(0, 20, num_rows)),
            "page": _names("page", pages),
            "region": _names("region", rng.integers(0, 30, num_rows)),
            "num_items": pa.array(rng.integers(0, 1000, num_rows)),
            "amount": pa.array(rng.random(num_rows)),
            "is_mobile": pa.array(rng.random(num_rows) < 0.5),
        }
        if case.event_ids:
            columns["event_id"] = _names("event", np.arange(first, first + num_rows))
        yield pa.table(columns)


def _names(prefix: str, numbers: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> pa.Array:
    return pa.array(np.char.add(f"{prefix}_", numbers.astype(np.str_)), pa.string())


def measure(case: Case, directory: Path, *, seed: int) -> Measurement:
    """Make a case's file and ingest it in a fresh process."""
    file = directory / f"events{case.suffix}"
    write_events(case, file, seed=seed)
    root = directory / "workspace"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds, cpu_seconds, peak_kilobytes = pool.apply(ingest_once, (root, file))
    measurement = Measurement(
        case=case,
        file_megabytes=round(file.stat().st_size / 1e6, 1),
        seconds=round(seconds, 2),
        cpu_seconds=round(cpu_seconds, 2),
        events_per_second=round(case.num_events / seconds),
        peak_rss_megabytes=round(peak_kilobytes / 1e3, 1),
        num_part_files=sum(len(each.parts) for each in read_manifests(Workspace(root))),
    )
    shutil.rmtree(root)
    file.unlink()
    return measurement


def ingest_once(root: Path, file: Path) -> tuple[float, float, int]:
    """Ingest a file into a new workspace; return seconds, CPU seconds and peak kilobytes."""
    workspace = Workspace.create(root)
    start, cpu_start = time.perf_counter(), time.process_time()
    ingest_events(workspace, [file], IngestConfig(), now=_NOW)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    status = Path("/proc/self/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return seconds, cpu_seconds, int(peak)


def run(num_events: int, *, seed: int, directory: Path | None) -> dict[str, object]:
    """Measure all cases and return the result as JSON."""
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        measurements = []
        for case in cases(num_events):
            measurement = measure(case, Path(scratch), seed=seed)
            measurements.append(asdict(measurement))
            print(
                f"{case.name}: {measurement.events_per_second:,} events/s, "
                f"{measurement.cpu_seconds:.1f} CPU seconds, "
                f"{measurement.peak_rss_megabytes:,.0f} MB, "
                f"{measurement.num_part_files} part files",
                file=sys.stderr,
            )
    return {
        "command": " ".join(["python -m benchmarks.ingest", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {multiprocessing.cpu_count()} cores",
        "versions": {name: version(name) for name in ("duckdb", "pyarrow", "numpy")},
        "seed": seed,
        "config": IngestConfig().model_dump(mode="json"),
        "measurements": measurements,
    }


def main() -> None:
    """Read the command line, measure, and write the result."""
    parser = argparse.ArgumentParser(description="Measures the ingest of events.")
    parser.add_argument("--events", type=int, default=10_000_000, help="events of a Parquet case")
    parser.add_argument("--seed", type=int, default=1, help="seed of the synthetic events")
    parser.add_argument("--scratch", type=Path, help="where to make files; else the system's place")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    result = run(arguments.events, seed=arguments.seed, directory=arguments.scratch)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
