import re
from collections.abc import Mapping
from typing import Any

from benchmarks.commits import commits
from benchmarks.encoder.render import PAGE, RESULTS, RESULTS_PATTERN, latest, render, task_lines


def test_the_page_is_what_the_results_say() -> None:
    text = render(sorted(RESULTS.glob(RESULTS_PATTERN)))
    assert PAGE.read_text() == text, "run: python -m benchmarks.encoder.render"


def test_the_latest_result_of_a_study_counts() -> None:
    results = [
        {"study": "b", "measured_at": "2026-01-02", "n": 1},
        {"study": "a", "measured_at": "2026-01-03", "n": 2},
        {"study": "b", "measured_at": "2026-01-01", "n": 3},
    ]
    assert [result["n"] for result in latest(results)] == [2, 1]


def figure(value: float, *by_seed: float) -> dict[str, object]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "by_seed": list(by_seed)}


def test_a_lead_beyond_chance_is_bold_and_the_best_floor_is_named() -> None:
    keys = ["auc", "auc_answered", "average_precision", "recall_at_95_precision"]
    keys += ["calibration_error", "brier"]

    def row(method: str, family: str, lead: Mapping[str, object]) -> dict[str, object]:
        metrics = {key: figure(0.9, 0.89, 0.91) for key in keys}
        return {
            "method": method,
            "family": family,
            "metrics": metrics,
            "lead_on_best_floor": lead,
            "fit_seconds": 1.2,
            "seconds": 2.0,
        }

    ahead = {"auc": {"value": 0.02, "low": 0.01, "high": 0.03}}
    behind = {"auc": {"value": -0.02, "low": -0.03, "high": -0.01}}
    task = {
        "title": "Risk",
        "counts": {"users": 1234, "positives": 500},
        "main_metric": "auc",
        "best_floor": "tfidf",
        "rows": [
            row("count", "floor", behind),
            row("tfidf", "floor", {}),
            row("ours", "ours", ahead),
        ],
        "not_answered": {"ours_labels_1": "too few labels"},
    }
    lines = list(task_lines(task))
    assert "1,234 users, 500 positives.\n" in lines
    assert any("`tfidf` (simple), best floor | .900 [.890, .910] ± .020 |  |" in x for x in lines)
    assert any("**+.020 [+.010, +.030]**" in line for line in lines)
    assert any("| −.020 [−.030, −.010] |" in line for line in lines)
    assert "- `ours_labels_1` has no answer: too few labels." in lines


def test_all_commits_of_a_result_are_named() -> None:
    assert commits({"commit": "a" * 40}) == f"commit `{'a' * 12}`"
    assert commits({}) == "commit not recorded"
    several = {"commit": "b" * 40, "commits": ["a" * 40, "b" * 40]}
    assert commits(several) == f"commits `{'a' * 12}`, `{'b' * 12}`"


def test_a_task_that_nobody_answers_has_reasons_and_no_table() -> None:
    task: dict[str, object] = {
        "title": "Risk",
        "counts": {"users": 1},
        "main_metric": "auc",
        "best_floor": None,
        "rows": [],
        "not_answered": {"coles": "too few users"},
    }
    lines = ["### Risk\n", "1 users.\n", "- `coles` has no answer: too few users.", ""]
    assert list(task_lines(task)) == lines


def test_a_result_of_before_groups_were_resampled_says_that_its_intervals_are_too_narrow() -> None:
    task: dict[str, Any] = {
        "name": "campaigns",
        "title": "Campaigns",
        "counts": {"queries": 1},
        "main_metric": "mrr_csls",
        "best_floor": None,
        "rows": [],
        "not_answered": {},
        "chance_hit_at_1": 0.1,
    }
    lines = list(task_lines(task))
    assert any(re.search(r"drawn over users, not over groups.* √2", line) for line in lines)
    for changed in ({"resampled": "groups"}, {"name": "split_halves"}):
        assert not any("√2" in line for line in task_lines(task | changed))
