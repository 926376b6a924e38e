import sys
from pathlib import Path

import pytest

from jobs import bench
from jobs.bench import BenchReport, option_words
from jobs.errors import BenchmarkFailed, BenchmarkRegressed, UsageError

Patch = pytest.MonkeyPatch


def test_options_become_words() -> None:
    options = {"a": "1", "b": None, "c": False, "d": True, "e": ["x", "y"]}
    assert option_words(options) == ["--a", "1", "--d", "--e", "x", "--e", "y"]


def replaced(monkeypatch: Patch, code: str) -> None:
    """Let a few lines of Python stand for the measurement."""
    run = bench._run
    monkeypatch.setattr(bench, "_run", lambda words: run([sys.executable, "-c", code]))


@pytest.mark.parametrize(
    ("status", "error"), [(1, BenchmarkFailed), (2, UsageError), (3, BenchmarkRegressed)]
)
def test_a_failure_is_told_in_the_words_of_the_measurement(
    monkeypatch: Patch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    status: int,
    error: type[Exception],
) -> None:
    told = "print('working', file=sys.stderr); print('error: no such thing', file=sys.stderr)"
    replaced(monkeypatch, f"import sys; {told}; sys.exit({status})")
    with pytest.raises(error, match=r"^no such thing$"):
        bench.run("encoder", tmp_path, {})
    assert capsys.readouterr().err == "working\n"


def test_an_interruption_is_passed_on(monkeypatch: Patch, tmp_path: Path) -> None:
    replaced(monkeypatch, "import sys; sys.exit(130)")
    with pytest.raises(KeyboardInterrupt):
        bench.run("encoder", tmp_path, {})


def test_what_was_written_is_reported(monkeypatch: Patch, tmp_path: Path) -> None:
    replaced(monkeypatch, "pass")
    (tmp_path / "encoder_x.json").write_text('{"study": "x"}')
    (tmp_path / "encoder.md").write_text("# Encoder\n")
    report = bench.run("encoder", tmp_path, {})
    assert isinstance(report, BenchReport)
    assert report.to_dict()["results"] == [{"study": "x"}]
    assert report.lines()[0] == "# Encoder"
