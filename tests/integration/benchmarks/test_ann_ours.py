"""Our index and service as engines of the benchmark: all of them find what an exact scan finds."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.ann.engines.engine import (
    Engine,
    FilteringEngine,
    RoundTripEngine,
    SessionEngine,
)
from benchmarks.ann.methods import METHODS
from benchmarks.ann.ours import BuildEngine, ExactEngine, ServiceEngine, read_build
from benchmarks.ann.ours_http import HttpEngine
from benchmarks.ann.recall import recall_of
from benchmarks.ann.truth import make_filters, true_products
from tests.index_fakes import clustered_vectors

PARAMS = {"kind": "hnsw", "m": 16, "ef_construction": 100}
DRAWN = clustered_vectors(1_060, 24, num_clusters=40)
VECTORS, QUERIES = DRAWN[:1_000], DRAWN[1_000:]
FILTERS, FLAGS = make_filters(VECTORS, np.random.default_rng(0))


def loaded(engine: type[Engine], folder: Path) -> Engine:
    engine().build(VECTORS, FLAGS, folder, PARAMS, threads=1)
    found = engine()
    found.load(folder, PARAMS, threads=1)
    found.tune({"ef": 200})
    return found


@pytest.mark.parametrize("kind", [ExactEngine, BuildEngine, ServiceEngine])
def test_nearly_all_neighbors_are_found(kind: type[Engine], tmp_path: Path) -> None:
    engine = loaded(kind, tmp_path)
    truth = true_products(VECTORS, QUERIES, k=10)
    found = recall_of(VECTORS, QUERIES, engine.search(QUERIES, 10), truth, k=10)
    engine.close()
    assert found.recall > 0.99
    assert found.failed == 0


@pytest.mark.parametrize("kind", [ExactEngine, BuildEngine])
def test_filtered_searches_find_those_who_pass_and_nobody_else(
    kind: type[Engine], tmp_path: Path
) -> None:
    engine = loaded(kind, tmp_path)
    assert isinstance(engine, FilteringEngine)
    for number in range(len(FILTERS)):
        truth = true_products(VECTORS, QUERIES, k=10, passes_N=FLAGS[:, number])
        ids = engine.search_filtered(QUERIES, 10, number)
        assert FLAGS[ids[ids >= 0], number].all()
        assert recall_of(VECTORS, QUERIES, ids, truth, k=10).recall > 0.98


@pytest.mark.slow
def test_every_kind_of_our_index_is_built_as_it_is_named(tmp_path: Path) -> None:
    for method in METHODS:
        if method.engine.endswith("BuildEngine"):
            folder = tmp_path / method.name
            folder.mkdir()
            method_engine = BuildEngine()
            method_engine.build(VECTORS, FLAGS, folder, method.build, threads=1)
            method_engine.load(folder, method.build, threads=1)
            method_engine.tune(method.efforts[-1])
            truth = true_products(VECTORS, QUERIES, k=10)
            found = recall_of(VECTORS, QUERIES, method_engine.search(QUERIES, 10), truth, k=10)
            kind = read_build(folder, threads=1).manifest.index
            assert kind == method.build.get("kind", "exact")
            assert found.recall > 0.98


@pytest.mark.slow
def test_over_http_the_same_is_found_also_after_the_connection_was_closed(tmp_path: Path) -> None:
    engine = loaded(HttpEngine, tmp_path)
    assert isinstance(engine, HttpEngine)
    try:
        truth = true_products(VECTORS, QUERIES, k=10)
        ids = engine.search(QUERIES, 10)
        assert recall_of(VECTORS, QUERIES, ids, truth, k=10).recall > 0.99
        engine._connection._socket.shutdown(2)  # as the server does where it is idle
        assert np.array_equal(engine.search(QUERIES, 10), ids)
        assert isinstance(engine, SessionEngine)
        session = engine.session()
        assert np.array_equal(session.search(QUERIES[:5], 10), ids[:5])
        session.close()
        assert isinstance(engine, RoundTripEngine)
        for k in (10, 5):
            same = engine.round_trip(QUERIES[:3], k)
            assert np.array_equal(same, np.repeat(engine.search(QUERIES[:1], k), 3, axis=0))
    finally:
        engine.close()
