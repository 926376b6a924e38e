"""The page of an evaluation stands alone, and says what the figures say."""

import re
from html import escape

import numpy as np
import pytest

from embedder.evaluation.results import TaskResult, not_measurable
from jobs.evaluate import task_lines
from jobs.measure import Trial, measure_halves
from jobs.measure_detection import measure_early_detection
from jobs.measure_risk import measure_risk
from jobs.report.facts import machine, versions
from jobs.report.figures import base_rate_lines, format_estimate
from jobs.report.page import render_page
from store.clock import from_us
from tests.integration.evaluation.conftest import Platform, RuleRisk

FACTS = {"seed": 0, "machine": machine(), "versions": versions(), "command": "lookalike <evaluate>"}


@pytest.fixture(scope="module")
def tasks(platform: Platform, trial: Trial) -> list[TaskResult]:
    at_cut = platform.people(from_us(trial.cut_us))
    risks = measure_risk(trial, at_cut, RuleRisk(), with_trees=False)
    return [
        *measure_halves(trial),
        *risks,
        measure_early_detection(trial, at_cut, RuleRisk()),
        not_measurable("x", "A question", "of <that>", {"n": 3}),
    ]


def test_page_asks_nothing_of_the_network(tasks: list[TaskResult]) -> None:
    page = render_page("Evaluation", FACTS, tasks)
    loaded = re.findall(r"""(?:src|href|url\()\s*=?\s*["']?([^"'\s)>]+)""", page)
    assert [link for link in loaded if not link.startswith("#")] == []
    assert "<script" not in page
    assert "@import" not in page


def test_page_has_a_plot_and_a_table_for_every_measured_task(tasks: list[TaskResult]) -> None:
    page = render_page("Evaluation", FACTS, tasks)
    num_measured = sum(task.comparison is not None for task in tasks)
    num_risks = sum(task.operating is not None for task in tasks)
    over_all = 3  # AUC over events, reliability by age and by activity
    assert page.count("<svg") == num_measured + num_risks + over_all + 1  # and early detection
    assert page.count("<caption>Figures</caption>") == num_measured
    for task in tasks:
        assert escape(task.title).replace("&#x27;", "&#39;") in page


def test_page_shows_the_figures_with_intervals_and_the_counts(tasks: list[TaskResult]) -> None:
    page = render_page("Evaluation", FACTS, tasks)
    assert tasks[0].comparison is not None
    estimate = tasks[0].comparison.metrics["tfidf"]["hit_at_1"]
    assert format_estimate(estimate) in page
    assert f"queries: <strong>{tasks[0].counts['queries']:,}</strong>" in page


def test_page_says_why_a_task_was_not_measured_and_escapes_it(tasks: list[TaskResult]) -> None:
    page = render_page("Evaluation", FACTS, tasks)
    assert "not measurable here, because of &lt;that&gt;" in page
    assert "lookalike &lt;evaluate&gt;" in page


def test_page_says_what_so_few_benign_users_cannot_tell(tasks: list[TaskResult]) -> None:
    page = render_page("Evaluation", FACTS, tasks)
    risk = next(task for task in tasks if task.operating is not None)
    assert risk.operating is not None
    permille = risk.operating.base_rates[-1]
    unknown = [demand for demand in permille.demands if demand.why_not is not None]
    assert unknown
    needed = f"it takes {unknown[0].num_benign_needed:,} benign test users"
    assert f"not measurable: {needed}, there are {permille.num_negatives:,}" in page
    assert any("not measurable" in line for line in base_rate_lines(risk))


def test_early_detection_is_on_the_page_and_on_the_terminal(tasks: list[TaskResult]) -> None:
    page = render_page("Evaluation", FACTS, tasks)
    detection = next(task for task in tasks if task.detection is not None)
    assert detection.detection is not None
    likely = detection.detection.thresholds[0]
    assert f"{likely.num_detected:,} of {likely.num_positives:,}" in page
    lines = task_lines(detection)
    assert lines[0] == detection.title
    assert any(line.strip().startswith("likely") for line in lines)
    assert max(map(len, lines)) < 140


def test_what_likely_meant_is_on_the_page_and_on_the_terminal(tasks: list[TaskResult]) -> None:
    page = render_page("Evaluation", FACTS, tasks)
    risks = [task for task in tasks if task.by_policy]
    assert page.count("<caption>What likely meant") == len(risks) > 0
    spam = next(policy for policy in risks[-1].by_policy if policy.policy == "spam")
    assert spam.precision is not None
    assert f'<th scope="row">spam</th><td class="figure">{spam.num_users:,}</td>' in page
    assert format_estimate(spam.precision) in page
    assert '0.99<br><span class="note">proven on policy</span>' in page
    (line,) = (line for line in task_lines(risks[-1]) if line.strip().startswith("spam"))
    assert f"{spam.num_likely_positives:,} of {spam.num_likely:,}" in line
    assert "0.99, proven on policy" in line


def test_equal_figures_give_the_same_page(tasks: list[TaskResult]) -> None:
    assert render_page("Evaluation", FACTS, tasks) == render_page("Evaluation", FACTS, tasks)


def test_an_evaluation_without_any_figure_has_a_page() -> None:
    page = render_page("Evaluation", FACTS, [not_measurable("x", "A question", "of that", {})])
    assert "<svg" not in page
    assert "A question" in page


def test_facts_name_machine_and_versions() -> None:
    assert {"processor", "cores", "memory_mb"} <= set(machine())
    assert versions()["numpy"] == np.__version__
