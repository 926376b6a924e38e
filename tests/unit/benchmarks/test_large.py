import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.large.page import RESULTS_PATTERN, page_text
from benchmarks.large.shards import BUILDS_KEPT, WORKERS, Prices, fleet

ROOT = Path(__file__).parents[3]


def result(users: int = 1_000) -> dict[str, Any]:
    return {
        "config": {"users": users},
        "build": {
            "files": {"vectors.npy": 3 * 2**30, "users.arrow": 2**30},
            "seconds": 7_200.0,
            "cpu_seconds": 3_600.0,
        },
        "served": {
            "asked": {"anonymous_kb_after_recall": 2**20, "kinds": [{"cpu_ms": 5.0}]},
        },
    }


def test_the_page_is_what_the_results_say() -> None:
    files = sorted((ROOT / "benchmarks" / "results").glob(RESULTS_PATTERN))
    results = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert page == page_text(results), "run: python -m benchmarks.large.render"


def test_ten_times_the_users_take_ten_times_of_all_but_hours() -> None:
    one, ten = (fleet(result(), users, Prices()) for users in (1_000, 10_000))
    assert (one.shards, ten.shards) == (1, 10)
    assert one.disk_gb == pytest.approx(BUILDS_KEPT * 4)
    assert one.memory_gb == pytest.approx(4 + WORKERS)
    assert one.build_core_hours == pytest.approx(1)
    assert one.serving_cores == pytest.approx(0.5)
    for name in ("disk_gb", "memory_gb", "build_core_hours", "serving_cores", "month_dollars"):
        assert getattr(ten, name) == pytest.approx(10 * getattr(one, name))
    assert one.build_hours == ten.build_hours == pytest.approx(2)


def test_users_beyond_full_shards_take_another_one_that_is_not_full() -> None:
    two = fleet(result(), 1_500, Prices())
    assert two.shards == 2
    assert two.disk_gb == pytest.approx(1.5 * BUILDS_KEPT * 4)


def test_each_price_counts() -> None:
    free = Prices(core_hour=0, memory_gb_hour=0, disk_gb_month=0)
    assert fleet(result(), 1_000, free).month_dollars == 0
    month = {
        "core_hour": 0.5 * 730 + 30,
        "memory_gb_hour": (4 + WORKERS) * 730,
        "disk_gb_month": BUILDS_KEPT * 4,
    }
    for name, dollars in month.items():
        priced = fleet(result(), 1_000, replace(free, **{name: 1}))
        assert priced.month_dollars == pytest.approx(dollars)
