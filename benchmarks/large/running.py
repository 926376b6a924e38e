"""One run: draw, build, open, ask, judge; every step in a process of its own.

Shape key: `N` users, `Q` queries, `K` neighbors.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ann.memory import forget_pages
from benchmarks.ann.recall import FAILED_BELOW, recall_per_query
from benchmarks.ann.truth import true_products
from benchmarks.encoder.run import named_alone
from benchmarks.large.building import WORKSPACE
from benchmarks.large.config import LargeConfig
from benchmarks.large.draw import QUERIES, SAME_AS, VECTORS, read_array
from benchmarks.large.serving import ANSWERS, KS, mapped_parts
from index.build import PENALTIES_FILE
from index.builds import build_dir
from index.publish import live_build_id
from jobs.errors import BenchmarkFailed
from jobs.report.facts import commit, machine, versions
from store.workspace import Workspace

WORKERS = 2
OPENINGS = 3

Facts = dict[str, Any]


def run_large(config: LargeConfig, *, now: datetime, scratch: Path | None = None) -> Facts:
    """Measure one size; return the result.

    Args:
        config: What is measured.
        now: The date of the result.
        scratch: Where vectors and builds lie meanwhile; a temporary folder if absent.

    Raises:
        BenchmarkFailed: If a step fails, as where memory does not do.
    """
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="large-", dir=scratch) as name:
        folder = Path(name)
        step("draw", config, folder)
        built = step("build", config, folder)
        if not built["is_live"]:
            raise BenchmarkFailed(f"the gate refused the build: {built['gate']}")
        served = serve(config, folder)
        judged = judge(folder)
    return {
        "theme": "large",
        "measured_at": now.isoformat(timespec="seconds"),
        "command": named_alone(" ".join(["python -m benchmarks.large", *sys.argv[1:]])),
        "commit": commit(),
        "seed": config.seed,
        "load_average_before": round(load, 2),
        "load_average_after": round(os.getloadavg()[0], 2),
        "config": config.model_dump(mode="json"),
        "machine": machine(),
        "versions": versions(),
        "build": built,
        "served": served,
        "recall": judged,
    }


def serve(config: LargeConfig, folder: Path) -> Facts:
    """Open the build from disk and from memory, ask, and let two workers share it."""
    directory = build_dir(*_live(folder))
    forget_pages(directory)
    cold = step("open", config, folder)
    warm = [step("open", config, folder) for _ in range(OPENINGS)]
    asked = step("ask", config, folder)
    return {
        "cold": cold,
        "warm": sorted(warm, key=lambda one: float(one["until_first_answer_seconds"]))[
            OPENINGS // 2
        ],
        "asked": asked,
        "workers": share(config, folder),
    }


def share(config: LargeConfig, folder: Path) -> Facts:
    """Let workers hold the build at once; return what each holds, and all of them together."""
    with holding(config, folder, WORKERS) as workers:
        parts = [mapped_parts(int(worker["pid"])) for worker in workers]
    return {
        "num_workers": WORKERS,
        "parts": [
            {
                "file": name,
                **{
                    key: [int(part.get(name, {}).get(key, 0)) for part in parts]
                    for key in ("rss_kb", "pss_kb", "anonymous_kb")
                },
            }
            for name in sorted({name for part in parts for name in part})
        ],
        "queries_per_second": [one["batch"]["queries_per_second"] for one in workers],
        "anonymous_kb": [one["anonymous_kb"] for one in workers],
    }


def judge(folder: Path) -> list[Facts]:
    """Return the recall of the answers; a user who shares a vector stands for it, once."""
    workspace, build_id = _live(folder)
    vectors_ND, query_QD = read_array(folder / VECTORS, mapped=True), read_array(folder / QUERIES)
    same_as_N = read_array(folder / SAME_AS)
    penalties = build_dir(workspace, build_id) / PENALTIES_FILE
    penalty_N = read_array(penalties) if penalties.exists() else None
    true_QK = true_products(
        vectors_ND,
        query_QD,
        k=max(KS),
        passes_N=same_as_N == np.arange(len(same_as_N)),
        penalty_N=penalty_N,
    )
    judged = []
    for k in KS:
        rows_QK = read_array(folder / ANSWERS.format(k=k))
        rows_QK = np.where(rows_QK < 0, -1, same_as_N[rows_QK])
        recall_Q = recall_per_query(
            vectors_ND, query_QD, rows_QK, true_QK, k=k, penalty_N=penalty_N
        )
        judged.append(
            {
                "k": k,
                "recall": round(float(recall_Q.mean()), 5),
                "failed": int((recall_Q < FAILED_BELOW).sum()),
                "lowest": round(float(recall_Q.min()), 3),
                "num_queries": len(recall_Q),
            }
        )
    return judged


def step(name: str, config: LargeConfig, folder: Path) -> Facts:
    """Run a step in a process of its own, and return what it tells.

    Raises:
        BenchmarkFailed: If it fails; the message is its last line.
    """
    done = subprocess.run(
        _words(name, config, folder),
        env=_environment(name, config),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchmarkFailed(f"the step {name} of {config.users:,} users failed: {last}")
    facts: Facts = json.loads(done.stdout)
    return facts


@contextmanager
def holding(config: LargeConfig, folder: Path, num_workers: int) -> Iterator[Sequence[Facts]]:
    """Start workers that have opened the build and answered; they end when it is left."""
    words, environment = _words("hold", config, folder), _environment("hold", config)
    workers = [
        subprocess.Popen(
            words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(num_workers)
    ]
    try:
        told = [worker.stdout.readline() for worker in workers if worker.stdout is not None]
        if not all(told):
            raise BenchmarkFailed(f"a worker of {config.users:,} users ended early")
        yield [json.loads(line) for line in told]
    finally:
        for worker in workers:
            worker.communicate()


def _words(name: str, config: LargeConfig, folder: Path) -> list[str]:
    step_module = "benchmarks.large.step"
    return [sys.executable, "-P", "-m", step_module, name, config.model_dump_json(), str(folder)]


def _environment(name: str, config: LargeConfig) -> dict[str, str]:
    """Bound the threads: one serves, and the build has those that it asks for."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(config.threads if name == "build" else 1),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _live(folder: Path) -> tuple[Workspace, str]:
    workspace = Workspace.create(folder / WORKSPACE)
    return workspace, live_build_id(workspace)
