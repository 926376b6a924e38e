"""`lookalike bench encoder --scale` on three small platforms, through the real command line."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from benchmarks.encoder.render import RESULTS_PATTERN, render
from benchmarks.encoder.scale import QUICK_SIZES
from jobs.cli import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ARGUMENTS = ["bench", "encoder", "--scale", "--quick"]
STEPS = ("encode", "tfidf")


def measured(output: Path, *further: str) -> dict[str, Any]:
    printed = StringIO()
    with redirect_stdout(printed):
        assert run(["--json", *ARGUMENTS, "-o", str(output), *further]) == 0
    (result,) = json.loads(printed.getvalue())["results"]
    answer: dict[str, Any] = result
    return answer


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scale")
    measured(folder, "--scale-max", str(QUICK_SIZES[-1]))
    return folder


@pytest.fixture(scope="module")
def result(output: Path) -> dict[str, Any]:
    (path,) = output.glob(RESULTS_PATTERN)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_every_platform_is_encoded_embedded_and_weighed_whole(result: dict[str, Any]) -> None:
    assert [point["events_wanted"] for point in result["points"]] == list(QUICK_SIZES)
    for point in result["points"]:
        timed = [point[step] for step in STEPS] + list(point["embed"].values())
        timed.append(point["tfidf"]["fit"])
        # events after a violation are in the lake and are not read
        assert {facts["num_events"] for facts in timed} == {point["train"]["fast"]["events_kept"]}
        assert all(0 < facts["seconds"] < 60 for facts in timed)
        assert 0.9 * point["num_events"] <= timed[0]["num_events"] <= point["num_events"]


def test_memory_is_that_of_a_process_of_its_own(result: dict[str, Any]) -> None:
    for point in result["points"]:
        trained = point["train"]["fast"]
        assert 0 < trained["start_mb"] < trained["peak_mb"] < 4_000
        assert trained["start_mb"] == pytest.approx(point["encode"]["start_mb"], rel=0.2)


def test_embedding_has_one_thread(result: dict[str, Any]) -> None:
    facts = result["points"][-1]["embed"]["standard"]
    assert facts["cpu_seconds"] <= 1.2 * facts["seconds"] + 0.05


def test_the_larger_preset_is_trained_on_the_largest_platform(result: dict[str, Any]) -> None:
    trained = [sorted(point["train"]) for point in result["points"]]
    assert trained == [["fast"]] * (len(QUICK_SIZES) - 1) + [["fast", "standard"]]


def test_slopes_are_of_all_platforms(result: dict[str, Any]) -> None:
    assert result["slopes"]["embed_standard"]["num_sizes"] == len(QUICK_SIZES)
    assert result["slopes"]["embed_standard"]["standard_error"] is not None


def test_a_result_tells_what_it_depends_on_and_no_path(
    output: Path, result: dict[str, Any]
) -> None:
    keys = {"command", "commit", "seed", "config", "simulator", "machine", "versions", "targets"}
    assert keys <= set(result)
    assert str(output.parent) not in json.dumps(result)


def test_the_page_is_made_of_the_result(output: Path) -> None:
    text = (output / "encoder.md").read_text()
    assert text == render(sorted(output.glob(RESULTS_PATTERN)))
    assert "## Cost by number of events" in text


def test_what_is_measured_is_not_measured_again(output: Path, result: dict[str, Any]) -> None:
    row = next((output / "rows").rglob("encode_*.json"))
    row.write_text(json.dumps({**json.loads(row.read_text()), "commit": "earlier"}))
    again = measured(output)
    assert again["points"] == result["points"]
    assert "commits" not in result
    assert set(again["commits"]) == {"earlier", result["commit"]}


@pytest.mark.parametrize(
    "option", [("--methods", "tfidf"), ("--users", "2000"), ("--preset", "standard")]
)
def test_an_option_that_it_would_pass_over_is_wrong_usage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    assert run([*ARGUMENTS, "-o", str(tmp_path), *option]) == 2
    assert f"leave out {option[0]}" in capfd.readouterr().err


def test_what_would_be_passed_over_is_wrong_usage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*ARGUMENTS, "-o", str(tmp_path), "--seeds", "0,1"]) == 2
    assert "--scale has one seed" in capfd.readouterr().err
    assert run(["bench", "encoder", "-o", str(tmp_path), "--scale-max", "6000"]) == 2
    assert "--scale-max is of --scale" in capfd.readouterr().err


def test_a_limit_below_the_smallest_platform_is_wrong_usage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "encoder", "--scale", "-o", str(tmp_path), "--scale-max", "6000"]
    assert run(arguments) == 2
    assert "no platform has 6,000 events or fewer" in capfd.readouterr().err
