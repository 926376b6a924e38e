"""Workers in processes of their own: what they answer, and what becomes of those that don't."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmarks.ann import methods as methods_module
from benchmarks.ann import run as run_module
from benchmarks.ann.config import BenchmarkConfig
from benchmarks.ann.methods import Method
from benchmarks.ann.process import NoAnswer, WorkerLost, WorkerProcess
from benchmarks.ann.rows import RowStore
from benchmarks.ann.run import run

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ENGINES = "tests.integration.benchmarks.ann_engines"
CONFIG = BenchmarkConfig(
    sizes=(1_000,), queries=100, repeats=2, seconds=5, sections=("frontier",), threads=1
)


def of_engine(name: str) -> Method:
    return Method(
        name.lower(), f"{ENGINES}:{name}", "numpy", f"the {name}", "own", efforts=({"ef": 200},)
    )


def measured(
    output: Path,
    methods: list[Method],
    monkeypatch: pytest.MonkeyPatch,
    config: BenchmarkConfig = CONFIG,
) -> dict[str, Any]:
    monkeypatch.setattr(run_module, "chosen", lambda names, quick: methods)
    result, _ = run(config, output, now=NOW, report=lambda line: None)
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return {each["name"]: each for each in found["methods"]} | {"whole": found}


@pytest.mark.slow
def test_failures_and_what_is_found_are_told_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["ScanEngine", "HalfBlindEngine", "CrashingEngine", "CrashingBuildEngine"]
    found = measured(tmp_path, [of_engine(name) for name in names], monkeypatch)
    (exact,) = found["scanengine"]["frontier"]["10"]
    assert exact["recall"] == 1
    assert exact["failed"] == 0
    assert len(exact["qps"]["all"]) == 2
    (blind,) = found["halfblindengine"]["frontier"]["10"]
    assert 0.1 < blind["failed"] < 0.9
    assert found["halfblindengine"]["fastest_good"]["10"] is None
    (crashed,) = found["crashingengine"]["frontier"]["10"]
    assert "it can't be loaded: it ended with status 7" in crashed["why_not"]
    assert "segmentation of the worst kind" in crashed["why_not"]
    assert "it ended with SIGABRT" in found["crashingbuildengine"]["build"]["why_not"]
    page = (tmp_path / "ann.md").read_text(encoding="utf-8")
    assert "`crashingbuildengine` is not measured: it can't be built" in page


@pytest.mark.slow
def test_the_worst_of_several_builds_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = [of_engine("ChanceEngine")]
    config = CONFIG.model_copy(update={"repeats": 3, "builds": 2})
    found = measured(tmp_path / "two", methods, monkeypatch, config)
    (point,) = found["chanceengine"]["frontier"]["10"]
    assert 0.1 < point["failed"] < 0.9
    assert len(point["qps"]["all"]) == 3
    assert len(found["chanceengine"]["all_build_seconds"]) == 2
    assert found["chanceengine"]["fastest_good"]["10"] is None
    assert "3 repeats on 2 builds" in (tmp_path / "two" / "ann.md").read_text(encoding="utf-8")
    found = measured(tmp_path / "one", methods, monkeypatch)
    (point,) = found["chanceengine"]["frontier"]["10"]
    assert point["failed"] == 0, "what one build can't tell"
    with pytest.raises(ValidationError, match="3 builds need as many repeats; there are 2"):
        BenchmarkConfig(repeats=2, builds=3)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = of_engine("ScanEngine")
    put = RowStore.put

    def put_until_interrupted(store: Any, section: str, name: str, key: str, row: Any) -> None:
        put(store, section, name, key, row)
        if key == "00.k100.0":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "put", put_until_interrupted)
        with pytest.raises(KeyboardInterrupt):
            measured(tmp_path, [method], monkeypatch)
    rows = sorted((tmp_path / "rows").rglob("*.json"))
    before = {path: path.read_bytes() for path in rows}
    assert not list(tmp_path.glob("ann_*.json"))
    found = measured(tmp_path, [method], monkeypatch)
    assert {path: path.read_bytes() for path in rows} == before, "rows are measured once"
    assert [len(found[method.name]["frontier"][k][0]["qps"]["all"]) for k in ("10", "100")] == [
        2,
        2,
    ]
    assert not (tmp_path / "scratch" / "clustered-1k").exists()


@pytest.mark.slow
def test_a_library_that_is_missing_leaves_no_row_and_is_measured_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Method("missing", "tests.no_such_engine:Engine", "none", "none", "own")
    found = measured(tmp_path, [of_engine("ScanEngine"), missing], monkeypatch)
    assert "No module named" in found["whole"]["not_measured"]["missing"]
    assert not list((tmp_path / "rows").rglob("missing"))


@pytest.mark.slow
def test_peers_without_a_python_are_not_measured_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOOKALIKE_PEERS_PYTHON", raising=False)
    peer = next(each for each in methods_module.METHODS if each.home == "peers")
    found = measured(tmp_path, [of_engine("ScanEngine"), peer], monkeypatch)
    assert "LOOKALIKE_PEERS_PYTHON" in found["whole"]["not_measured"][peer.name]


def worker(name: str, folder: Path) -> WorkerProcess:
    return WorkerProcess(sys.executable, f"{ENGINES}:{name}", threads=1, log=folder / "log.txt")


def load_arguments(folder: Path) -> dict[str, Any]:
    import numpy as np

    vectors = np.eye(8, dtype=np.float32)
    np.save(folder / "vectors.npy", vectors)
    return {
        "folder": folder,
        "params": {},
        "threads": 1,
        "effort": {},
        "queries": folder / "vectors.npy",
        "k": 3,
    }


def test_a_worker_that_runs_out_of_time_is_ended(tmp_path: Path) -> None:
    with (
        worker("EndlessEngine", tmp_path) as one,
        pytest.raises(WorkerLost, match="it ran out of time: 2 s"),
    ):
        one.ask("load", timeout=2, **load_arguments(tmp_path))
    with pytest.raises(WorkerLost):
        one.ask("versions", timeout=1, library="numpy")


def test_what_a_library_prints_is_not_taken_for_an_answer(tmp_path: Path) -> None:
    with worker("PrintingEngine", tmp_path) as one:
        told = one.ask("load", timeout=60, **load_arguments(tmp_path))
        assert told["load_seconds"] >= 0
        with pytest.raises(NoAnswer, match="can't add and remove"):
            one.ask("updates", timeout=60, **dict.fromkeys(UPDATES, "x"))
    assert "nonsense" in (tmp_path / "log.txt").read_text(encoding="utf-8")


UPDATES = ("effort", "queries", "k", "seconds", "vectors", "changed", "without", "again")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="told by Linux alone")
def test_a_worker_has_the_threads_it_was_given(tmp_path: Path) -> None:
    with worker("ScanEngine", tmp_path) as one:
        one.ask("versions", timeout=60, library="numpy")
        bounds = Path(f"/proc/{one.pid}/environ").read_bytes().split(b"\0")
    assert {b"OMP_NUM_THREADS=1", b"OPENBLAS_NUM_THREADS=1"} <= set(bounds)


def test_the_worker_of_peers_needs_nothing_of_ours() -> None:
    code = (
        "import sys, benchmarks.ann.worker, benchmarks.ann.engines.graph_engines\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    root = Path(__file__).parents[3]
    asked = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    loaded = set(asked.stdout.split())
    assert "numpy" in loaded
    assert not loaded & {"store", "embedder", "index", "api", "jobs", "pydantic", "faiss", "torch"}
