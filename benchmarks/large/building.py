"""Builds and publishes as a rebuild does once users are embedded, in a process of its own.

Shape key: `N` users, `D` dimensions.
"""

import resource
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.large.config import GB, LargeConfig
from benchmarks.large.draw import CLUSTER, VECTORS, draw_users, read_array
from benchmarks.large.phases import Phases, memory_kb
from index import build as building
from index import choosing
from index import publish as publishing
from index.build_input import BuildInput
from index.config import GateConfig
from index.gate import gate
from index.manifest import BlockSpec
from store.workspace import Workspace

SPACE_ID = "benchmark"
WORKSPACE = "workspace"
MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)

CALLS: list[tuple[Any, str, str]] = [
    (building, "check_input", "check the input"),
    (building, "conform_users", "check the users"),
    (building, "write_users", "write the users"),
    (building, "group_identical", "find equal vectors"),
    (building, "hub_penalty", "hub correction"),
    (choosing, "ask", "true answers for tuning"),
    (choosing, "build_index", "build the index"),
    (choosing, "tune", "tune"),
    (building, "measure_costs", "measure costs"),
    (building, "describe_files", "checksums"),
]

Facts = dict[str, Any]


def limit_memory(gigabytes: float) -> None:
    """Let the system refuse this process more memory of its own (`RLIMIT_DATA`).

    It bounds what can't be dropped: private writable memory, touched or not. Pages of mapped files
    are not bounded, but the system takes them back when memory is short.
    """
    most = int(gigabytes * GB)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def build(config: LargeConfig, folder: Path) -> Facts:
    """Build, pass the gate, publish; return what each phase took and what lies on the disk."""
    limit_memory(config.memory_gb)
    start = memory_kb()
    workspace = Workspace.create(folder / WORKSPACE)
    began, cpu_began = time.perf_counter(), time.process_time()
    with Phases() as phases, phases.of_calls(CALLS):
        with phases.phase("read the users"):
            users = draw_users(config, read_array(folder / CLUSTER))
        given = BuildInput(
            SPACE_ID,
            "none",
            MADE_AT,
            (BlockSpec(name="behavior", start=0, stop=config.dim, weight=1.0),),
            users,
            np.asarray(read_array(folder / VECTORS, mapped=True)),
            {},
        )
        del users
        with phases.phase("write the build"):
            staged = building.write_build(workspace, given, config.index, now=MADE_AT)
        known = given.users["user_id"]
        del given
        with phases.phase("open the build"):
            read_back = building.load_build(staged, search_threads=config.threads)
        with phases.phase("gate"):
            report = gate(
                read_back,
                None,
                GateConfig(recall_min=min(config.recall_target, GateConfig().recall_min)),
                known_users=known,
                erased_users=(),
                violators=(),
            )
        manifest = read_back.manifest
        del read_back
        with phases.phase("publish"):
            published = publishing.publish(workspace, staged, report, now=MADE_AT)
    directory = workspace.builds_dir / published.build_id
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu_began, 1),
        "start_mb": round(start["VmRSS"] / 1024),
        **phases.to_dict(),
        "gate": report.to_dict(),
        "is_live": published.is_live,
        "num_distinct": manifest.num_distinct,
        "num_violators": manifest.num_violators,
        "index": manifest.index,
        "effort": manifest.effort,
        "refine": manifest.refine,
        "choice": manifest.choice.model_dump(mode="json"),
        "costs": None if manifest.costs is None else manifest.costs.model_dump(),
        "files": {path.name: path.stat().st_size for path in sorted(directory.iterdir())},
    }
