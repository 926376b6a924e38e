"""The frontier and the fastest setting that is good; what a page and a baseline make of them."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.ann.baseline import ratios, read_results, regressions
from benchmarks.ann.figures import (
    QUERIES_TO_PROVE,
    chosen_setting,
    failed_bound,
    fastest_good,
    figures_of,
    frontier,
    is_good,
    is_proven,
    setting_key,
    spread,
)
from benchmarks.ann.methods import FLAT, METHODS, Method, chosen
from benchmarks.ann.page import RESULTS_PATTERN, data_lines, latest, page_text, write_page
from benchmarks.ann.peers import PYTHON_VARIABLE, REQUIREMENTS, python_of, why_no_python
from benchmarks.ann.plots import pareto
from benchmarks.ann.render import FOLDER
from benchmarks.ann.rows import WHY_NOT, RowStore
from benchmarks.ann.timing import ROUND_TRIP
from jobs.errors import UsageError
from tests.unit.benchmarks.ann_results import method, point, result

GRAPH = Method("graph", "some:Engine", "some", "a graph", "peers", efforts=({"ef": 8}, {"ef": 16}))


def test_the_fastest_setting_that_is_good_counts_and_nothing_is_interpolated() -> None:
    points = [
        point("ef 8", 0.97, 0, 9000),
        point("ef 16", 0.991, 0, 5000),
        point("ef 32", 0.999, 0, 6000),
        point("ef 64", 1.0, 0, 1000),
    ]
    good = fastest_good(points)
    assert good is not None
    assert good["setting"] == "ef 32"


def test_a_good_mean_with_failed_queries_is_not_good() -> None:
    """The case that a mean hides: 9 of 2,000 queries found nothing at a recall of .9946."""
    points = [point("ef 64", 0.9946, 9 / 2000, 5000), point("ef 512", 0.999, 2 / 2000, 700)]
    good = fastest_good(points)
    assert good is not None
    assert good["setting"] == "ef 512"


@pytest.mark.parametrize(
    ("num_failed", "num", "is_expected"),
    [
        (0, 100, True),
        (1, 1_000, True),
        (2, 1_000, False),
        (2, QUERIES_TO_PROVE - 1, True),
        (0, QUERIES_TO_PROVE, True),
        (1, QUERIES_TO_PROVE, False),
        (4, 10_000, True),
        (5, 10_000, False),
    ],
)
def test_few_failures_count_where_enough_was_asked_to_prove_that_they_are_few(
    num_failed: int, num: int, is_expected: bool
) -> None:
    one = point("ef 64", 0.999, num_failed / num, 5000) | {"num_queries": num}
    assert is_good(one) == is_expected
    assert failed_bound(one) > num_failed / num


def test_so_many_queries_prove_one_in_a_thousand_and_one_less_does_not() -> None:
    proving, missing = (
        point("ef 64", 0.999, 0, 5000) | {"num_queries": QUERIES_TO_PROVE - less} for less in (0, 1)
    )
    assert is_proven(proving)
    assert not is_proven(missing)


def test_without_a_good_setting_the_best_recall_is_gone_on_with() -> None:
    points = [point("a", 0.7, 0.1, 900), point("b", 0.9, 0.1, 90), {"setting": "c", WHY_NOT: "x"}]
    assert fastest_good(points) is None
    setting = chosen_setting(points)
    assert setting is not None
    assert setting["setting"] == "b"
    assert chosen_setting([{"setting": "c", WHY_NOT: "x"}]) is None


def row(recall: float, qps: float) -> dict[str, float]:
    judged = {"recall": recall, "failed": 0.0, "nothing": 0.0, "lowest": 0.5, "num_queries": 10}
    return judged | {f"latency_ms_{name}": 1.0 for name in ("p50", "p95", "p99")} | {"qps": qps}


def test_speed_is_the_median_over_repeats_and_recall_that_of_the_worst(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    for repeat, (recall, qps) in enumerate([(0.99, 100.0), (0.98, 500.0), (0.99, 200.0)]):
        failed = 0.002 if repeat == 2 else 0.001
        one = row(recall, qps) | {"failed": failed}
        store.put("frontier", "graph", setting_key(0, 10, repeat), one)
    store.put("frontier", "graph", setting_key(0, 100, 0), row(0.5, 7.0))
    store.put("frontier", "graph", setting_key(1, 10, 0), {WHY_NOT: "it ended with SIGSEGV"})
    first, second = frontier(store, GRAPH, 10)
    assert first["setting"] == "ef 8"
    assert first["recall"] == 0.98
    assert first["failed"] == 0.002, "the worst, too, though its recall is not"
    assert first["qps"] == {"median": 200, "low": 100, "high": 500, "all": [100, 500, 200]}
    assert second[WHY_NOT] == "it ended with SIGSEGV", "a crash is a row, not a gap"


def test_of_several_builds_the_median_is_told_and_the_seconds_of_all(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    for key, seconds in (("data", 3.0), ("data.1", 9.0), ("data.2", 4.0), ("twenty_groups", 99.0)):
        store.put("build", "graph", key, {"build_seconds": seconds})
    told = figures_of(store, GRAPH, "data", {})
    assert told["build"] == {"build_seconds": 4.0}
    assert sorted(told["all_build_seconds"]) == [3.0, 4.0, 9.0]


def test_a_run_that_goes_on_tells_the_commits_of_all_that_measured(tmp_path: Path) -> None:
    RowStore(tmp_path, "a").put("frontier", "graph", "00.k10.0", row(0.9, 1.0))
    second = RowStore(tmp_path, "b")
    assert second.commits() == ["a"]
    for place in range(2):
        second.put("frontier", "graph", f"01.k10.{place}", row(0.9, 1.0))
    assert second.commits() == ["a", "b"]
    (tmp_path / "commits.json").unlink()
    assert second.commits() == [None]
    assert RowStore(tmp_path / "new", "c").commits() == []


def test_rows_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    store.claim({"seed": 0})
    store.claim({"seed": 0})
    with pytest.raises(UsageError, match="choose another folder"):
        store.claim({"seed": 1})


def test_names_are_unique_and_the_flat_search_is_always_measured() -> None:
    names = [each.name for each in METHODS]
    assert len(names) == len(set(names))
    assert [each.name for each in chosen(["scann"], quick=False)] == [FLAT, "scann"]
    assert {each.home for each in chosen([], quick=True)} == {"own"}
    with pytest.raises(UsageError, match="there is no method magic"):
        chosen(["magic"], quick=False)


def test_peers_are_asked_in_the_python_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    assert python_of(GRAPH) is None
    assert PYTHON_VARIABLE in why_no_python()
    monkeypatch.setenv(PYTHON_VARIABLE, "/somewhere/python")
    assert python_of(GRAPH) == "/somewhere/python"


def test_every_peer_is_pinned_exactly() -> None:
    lines = [
        line
        for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    pinned = {line.partition("==")[0] for line in lines}
    assert {each.library for each in METHODS if each.home == "peers"} <= pinned | {"lookalike"}


def test_the_page_is_what_the_results_say() -> None:
    files = sorted((FOLDER / "results").glob(RESULTS_PATTERN))
    results = latest([json.loads(path.read_text(encoding="utf-8")) for path in files])
    page = (FOLDER / "ann.md").read_text(encoding="utf-8")
    assert page == page_text(results), "run: python -m benchmarks.ann.render"


def test_the_page_tells_speed_with_recall_failures_and_the_ratio_to_the_flat_search() -> None:
    flat = method(FLAT, [point("exact", 1.0, 0, 100, 200)])
    fast = method("fast", [point("ef 16", 0.995, 0.0005, 1000, 1100)])
    poor = method("poor", [point("ef 16", 0.995, 0.02, 5000)])
    lines = list(data_lines(result(flat, fast, poor)))
    assert any(
        "| `fast` | ef 16 | .9950 | **0.05 %** of 2,000 | 1,050 [1,000, 1,100] | 7.00 |" in line
        for line in lines
    )
    assert any(
        "| `poor`, none is good; its best | ef 16 | .9950 | **2 %** of 2,000 |" in line
        for line in lines
    )
    names = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert names[:3] == ["fast", FLAT, "poor"], "good ones first, the fastest before others"


def test_the_way_there_and_back_is_told_where_there_is_one() -> None:
    near = method("near", [point("ef 16", 0.995, 0.0, 5_000.0)])
    far = method("far", [point("ef 16", 0.995, 0.0, 1_000.0) | {ROUND_TRIP: spread([0.3])}])
    lines = list(data_lines(result(near, far)))

    title = lines.index("### There and back\n")
    assert "| `far` | 10 | ef 16 | 1.000 | 0.300 | 0.700 |" in lines[title:]
    assert not any("`near`" in line for line in lines[title : title + 5])
    assert "### There and back\n" not in list(data_lines(result(near)))


def test_what_is_not_measured_is_told_with_its_reason() -> None:
    crashed = method(
        "crashed",
        [],
        build={WHY_NOT: "it can't be built: it ended with SIGKILL"},
        load={},
        serve={},
    )
    one = result(method(FLAT, []), crashed, not_measured={"scann": why_no_python()})
    text = page_text([one])
    assert "- `crashed` is not measured: it can't be built: it ended with SIGKILL." in text
    assert f"- `scann` is not measured: {why_no_python()}." in text


def test_page_and_pictures_are_written_and_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    one = result(
        method(FLAT, [point("exact", 1.0, 0, 100)]), method("x", [point("a", 0.9, 0.1, 9)])
    )
    written = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "ann_some.json").write_text(json.dumps(one), encoding="utf-8")
        page = write_page([folder / "ann_some.json"], folder)
        picture = folder / "plots" / "ann_clustered-10k.svg"
        assert "plots/ann_clustered-10k.svg" in page.read_text(encoding="utf-8")
        written.append((page.read_bytes(), picture.read_bytes()))
    assert written[0] == written[1]
    assert b"<svg" in written[0][1]


def test_a_line_joins_what_no_other_setting_beats() -> None:
    points = [
        point("a", 0.9, 0, 900),
        point("b", 0.95, 0, 1000),
        point("c", 0.99, 0, 500),
        point("d", 0.99, 0, 400),
    ]
    assert [each["setting"] for each in pareto(points)] == ["c", "b"]


def measured(*qps: float, recall: float = 0.99, failed: float = 0.0) -> dict[str, object]:
    flat = method(FLAT, [point("exact", 1.0, 0, 100, 110, 90)])
    return result(flat, method("graph", [point("ef 16", recall, failed, *qps)]))


def test_ratios_refer_to_the_flat_search_of_the_same_repeat() -> None:
    one = measured(1000, 990, 900)
    found = ratios(one, one["methods"][1])  # type: ignore[index]  # JSON
    assert found["ef 16, 10"] == pytest.approx([10, 9, 10])


def test_slower_beyond_the_noise_between_repeats_is_a_regression() -> None:
    (slower,) = regressions([measured(1000, 1100, 900)], [measured(700, 770, 630)])
    assert slower.startswith("clustered-10k: graph is 30% slower")


@pytest.mark.parametrize(
    "qps",
    [
        (950.0, 1045.0, 855.0),  # beyond the noise, but less than a tenth
        (700.0, 770.0, 1000.0),  # one repeat as fast as ever
        (2000.0, 2200.0, 1800.0),  # faster
    ],
)
def test_noise_and_gains_are_no_regression(qps: tuple[float, ...]) -> None:
    assert regressions([measured(1000, 1100, 900)], [measured(*qps)]) == []


def test_a_slower_machine_is_no_regression() -> None:
    before, now = measured(1000, 1100, 900), measured(100, 110, 90)
    now["methods"][0] = method(FLAT, [point("exact", 1.0, 0, 10, 11, 9)])  # type: ignore[index]  # JSON
    assert regressions([before], [now]) == []


def test_lost_recall_and_more_failures_are_regressions() -> None:
    before = measured(1000, 1100, 900)
    lost = regressions([before], [measured(1000, 1100, 900, recall=0.97)])
    assert any("has recall 0.9700 at ef 16, 10 neighbors, had 0.9900" in each for each in lost)
    failed = regressions([before], [measured(1000, 1100, 900, failed=0.01)])
    assert any("fails 1.00% at ef 16, 10 neighbors" in each for each in failed)


def test_a_baseline_of_other_data_or_of_another_theme_is_wrong_usage(tmp_path: Path) -> None:
    other = result(method(FLAT, [point("exact", 1.0, 0, 100)]), data="something-else")
    with pytest.raises(UsageError, match="none of the data sets"):
        regressions([other], [measured(1)])
    path = tmp_path / "encoder.json"
    path.write_text('{"theme": "encoder"}', encoding="utf-8")
    with pytest.raises(UsageError, match="no result of lookalike bench ann"):
        read_results(path)
