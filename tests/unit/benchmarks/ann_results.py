"""Results as the benchmark writes them, small and made up."""

from typing import Any

from benchmarks.ann.figures import fastest_good, spread

Facts = dict[str, Any]


def point(setting: str, recall: float, failed: float, *qps: float) -> Facts:
    latency = spread([1e3 / speed for speed in qps])
    return {
        "setting": setting,
        "effort": {},
        "recall": recall,
        "failed": failed,
        "nothing": 0.0,
        "lowest": 0.1,
        "num_queries": 2000,
        "qps": spread(qps),
        **{f"latency_ms_{name}": latency for name in ("p50", "p95", "p99")},
    }


def method(name: str, points: list[Facts], **changed: Any) -> Facts:
    by_k = {"10": points, "100": points}
    return {
        "name": name,
        "about": f"about {name}",
        "library": "some",
        "versions": {"library": "1.2"},
        "build": {
            "build_seconds": 12.5,
            "build_cpu_seconds": 24.0,
            "build_peak_mb": 900.0,
            "index_bytes": 50 * 2**20,
        },
        "load": {"load_seconds": 0.5, "first_query_ms": 3.0},
        "serve": {"resident_mb": 400.0, "mapped_mb": 100.0, "serve_peak_mb": 410.0},
        "frontier": by_k,
        "fastest_good": {k: fastest_good(each) for k, each in by_k.items()},
        "batch": {},
        "concurrency": {},
        "filters": {},
        "duplicates": {},
        "updates": {},
        **changed,
    }


def result(*methods: Facts, **changed: Any) -> Facts:
    return {
        "theme": "ann",
        "data": "clustered-10k",
        "measured_at": "2026-01-02T00:00:00+00:00",
        "command": "__main__.py -o out --quick",
        "commit": "0123456789abcdef",
        "seed": 0,
        "load_average_before": 0.1,
        "config": {"repeats": 2},
        "machine": {"cores": 2, "processor": "Some"},
        "about": {
            "num_vectors": 10_000,
            "dim": 128,
            "num_queries": 2_000,
            "num_distinct": 9_000,
            "queries_equal_to_a_stored_vector": 0.01,
            "intrinsic_dimension": {"two_nn": 9.5, "mle": 8.7, "queries": 2000},
            "filters": [{"kind": "random", "share": 0.01, "rows": 100}],
        },
        "duplicates": {},
        "methods": list(methods),
        "not_measured": {},
        **changed,
    }
