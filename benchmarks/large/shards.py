"""What many users would take, computed from what a measured build takes.

A platform larger than the build is parted into shards, each a build as the measured one. Every
shard is asked and the best of their answers are the best of all, so recall is no lower than that of
one build, and work grows with the shards. What asks them and merges is no part of this project.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from benchmarks.large.config import GB, MB

HOURS_PER_MONTH, BUILDS_PER_MONTH = 730, 30
BUILDS_KEPT = 3
"""On disk at once: the live one, the one before, and the one that is being made."""
WORKERS = 2
QUERIES_PER_SECOND = 100

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Prices:
    """Assumed prices in dollars, about what public clouds ask on demand; nobody's offer."""

    core_hour: float = 0.04
    memory_gb_hour: float = 0.005
    disk_gb_month: float = 0.08


@dataclass(frozen=True)
class Fleet:
    """What serves and rebuilds so many users.

    Attributes:
        users: All of them.
        shards: Builds that they are parted into.
        disk_gb: Of all builds kept.
        memory_gb: That holds all files of the builds, and the workers' own memory.
        build_core_hours: For one rebuild of all shards, once users are embedded.
        build_hours: Of one shard on a machine as the measured one; shards are built side by side.
        serving_cores: Busy with `QUERIES_PER_SECOND`, every one of which asks every shard.
        month_dollars: Serving and a rebuild a day, by the prices assumed.
    """

    users: int
    shards: int
    disk_gb: float
    memory_gb: float
    build_core_hours: float
    build_hours: float
    serving_cores: float
    month_dollars: float


def fleet(result: Result, users: int, prices: Prices) -> Fleet:
    """Compute what so many users take; shards are as large as the measured build."""
    config, build = result["config"], result["build"]
    shards = ceil(users / config["users"])
    share = users / (shards * config["users"])  # of the last shard, where it is not full
    file_bytes = sum(build["files"].values())
    disk_gb = shards * share * BUILDS_KEPT * file_bytes / GB
    memory_gb = shards * (share * file_bytes + WORKERS * worker_bytes(result)) / GB
    core_hours = shards * share * build["cpu_seconds"] / 3600
    cores = QUERIES_PER_SECOND * shards * milliseconds(result) / 1e3
    serving = (cores * prices.core_hour + memory_gb * prices.memory_gb_hour) * HOURS_PER_MONTH
    building = BUILDS_PER_MONTH * core_hours * prices.core_hour
    return Fleet(
        users=users,
        shards=shards,
        disk_gb=disk_gb,
        memory_gb=memory_gb,
        build_core_hours=core_hours,
        build_hours=share * build["seconds"] / 3600,
        serving_cores=cores,
        month_dollars=serving + building + disk_gb * prices.disk_gb_month,
    )


def worker_bytes(result: Result) -> int:
    """Return the memory that a worker holds for itself, Python and libraries included."""
    asked = result["served"]["asked"]
    return int(asked["anonymous_kb_after_recall"]) * 1024


def milliseconds(result: Result) -> float:
    """Return the processor time of a query for ten neighbors, a mean."""
    return float(result["served"]["asked"]["kinds"][0]["cpu_ms"])


def shard_build_gb(result: Result) -> float:
    """Return the most memory that building a shard holds, mapped files included."""
    return float(result["build"]["peak"]["resident_mb"]) * MB / GB
