import json

import numpy as np

from embedder.evaluation.bootstrap import compare_classifiers
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.leak_checks import (
    ALL_TASKS,
    RISK_TASKS,
    Finding,
    LeakAudit,
    Verdict,
    at_most,
    unknown,
)
from embedder.evaluation.results import TaskResult, not_measurable, refuse


def finding(name: str, verdict: Verdict, concerns: tuple[str, ...] = RISK_TASKS) -> Finding:
    return Finding(name, verdict, "so much", None, "", "do it", concerns, details=(f"see {name}",))


def measured(name: str) -> TaskResult:
    is_positive = np.arange(40) % 2 == 0
    comparison = compare_classifiers(
        {"ours": np.linspace(0, 1, 40)}, is_positive, EvaluationConfig(num_resamples=50)
    )
    return TaskResult(name, "?", None, {"users": 40}, comparison, ("AUC 0.5",), extra={"auc": 0.5})


def test_the_worst_verdict_is_that_of_the_audit() -> None:
    passed, warned = finding("a", Verdict.PASS), finding("b", Verdict.WARN)
    assert LeakAudit((passed,)).verdict is Verdict.PASS
    assert LeakAudit((passed, warned)).verdict is Verdict.WARN
    assert LeakAudit((passed, unknown("c", "", "so", ALL_TASKS))).verdict is Verdict.WARN
    assert LeakAudit((warned, finding("d", Verdict.FAIL))).verdict is Verdict.FAIL


def test_a_failed_check_refuses_the_tasks_that_it_is_about() -> None:
    audit = LeakAudit((finding("fields", Verdict.FAIL), finding("length", Verdict.WARN)))
    reason = audit.why_refused("risk_first_3")
    assert reason == "refused, because the leak audit failed: fields (see fields)"
    assert audit.why_refused("groups") is None
    every = LeakAudit((finding("time", Verdict.FAIL, ALL_TASKS),))
    assert every.why_refused("groups") is not None


def test_refused_figures_are_nowhere_but_where_it_says_so() -> None:
    task = measured("risk_first_3")
    refused = refuse(task, "because")
    content = refused.to_dict()
    kept = content.pop("refused")
    assert "0.5" not in json.dumps(content)
    assert (content["measured"], content["why_not"], content["metrics"]) == (False, "because", {})
    assert kept == task.to_dict()
    assert content["counts"] == {"users": 40}


def test_what_was_not_measured_is_not_refused() -> None:
    task = not_measurable("groups", "?", "of that", {})
    assert refuse(task, "because") is task


def test_no_more_details_than_a_person_reads() -> None:
    assert at_most(["a"] * 3) == ("a", "a", "a")
    assert at_most(["a"] * 20)[-1] == "and 8 more"


def test_the_early_detection_is_refused_with_the_risks() -> None:
    """It has no comparison of methods, and figures all the same."""
    task = TaskResult("early_detection", "When violators are seen", counts={"users": 3})
    assert task.name.startswith(RISK_TASKS)
    refused = refuse(task, "because")
    assert refused.why_not == "because"
    assert refused.refused is task
