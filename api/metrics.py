"""Prometheus metrics.

Counters and histograms of all workers are added up: `python -m api` sets the folder through which
prometheus_client shares them. What describes the present (build, age, queue) is read at the moment
of the scrape from the worker that answers it; all workers follow the same `live.json`.
"""

import os
from collections.abc import Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_REQUEST_BUCKETS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_SEARCH_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
)  # fmt: skip


class ServiceMetrics:
    """The metrics of one worker."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "lookalike_requests",
            "Requests answered",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "lookalike_request_seconds",
            "Time from a request's arrival to the end of its answer",
            ("route",),
            buckets=_REQUEST_BUCKETS,
            registry=self._registry,
        )
        self._of_requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._search_seconds = Histogram(
            "lookalike_search_seconds",
            "Time of a search, without HTTP",
            ("mode",),
            buckets=_SEARCH_BUCKETS,
            registry=self._registry,
        )
        self._of_searches: dict[str, Histogram] = {}
        self._swaps = Counter(
            "lookalike_build_swaps",
            "Builds that a worker began to serve, the first included",
            registry=self._registry,
        )
        self._refused = Counter(
            "lookalike_requests_refused",
            "Requests refused for lack of room",
            ("reason",),
            registry=self._registry,
        )

    def request_done(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        labels = method, route, status
        series = self._of_requests.get(labels)
        if series is None:
            series = (
                self._requests.labels(method, route, str(status)),
                self._request_seconds.labels(route),
            )
            self._of_requests[labels] = series
        counted, timed = series
        counted.inc()
        timed.observe(seconds)

    def search_done(self, *, mode: str, seconds: float) -> None:
        """Count a search."""
        timed = self._of_searches.get(mode)
        if timed is None:
            timed = self._of_searches[mode] = self._search_seconds.labels(mode)
        timed.observe(seconds)

    def build_swapped(self) -> None:
        """Count a change of the build that this worker serves."""
        self._swaps.inc()

    def request_refused(self, *, reason: str) -> None:
        """Count a request that found no room."""
        self._refused.labels(reason).inc()

    def exposition(self, gauges: Iterable[Metric]) -> bytes:
        """Return everything in Prometheus' text format, with this moment's gauges."""
        registry = CollectorRegistry()
        registry.register(_Snapshot(gauges))
        if MULTIPROCESS_FOLDER in os.environ:
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # untyped upstream
            return generate_latest(registry)
        return generate_latest(self._registry) + generate_latest(registry)


class _Snapshot(Collector):
    """Metrics that were computed for this scrape."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        yield from self._metrics


def gauge(name: str, help_text: str, value: float, **labels: str) -> Metric:
    """Return one number of this moment."""
    family = GaugeMetricFamily(name, help_text, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family
