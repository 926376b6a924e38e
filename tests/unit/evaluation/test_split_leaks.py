"""Lengths, persons and young labels: each is planted, and told."""

import numpy as np
import pytest

from embedder.evaluation.bootstrap import Comparison, Estimate
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.early_risk import DAY_US, TimeSplit
from embedder.evaluation.leak_checks import LeakAudit, Verdict
from embedder.evaluation.results import TaskResult, not_measurable
from embedder.evaluation.split_leaks import (
    expected_uncaught,
    judge_length,
    judge_maturity,
    judge_persons,
    note_length,
)

CONFIG = EvaluationConfig(prefixes=(3,))
NUM = 400
IS_POSITIVE = np.arange(NUM) % 2 == 0
SPLIT = TimeSplit(10 * DAY_US, np.arange(NUM), IS_POSITIVE, 0, 0)


def test_violators_of_two_events_are_told_by_their_number() -> None:
    finding = judge_length(np.where(IS_POSITIVE, 2, 9), SPLIT, CONFIG)
    assert finding.verdict is Verdict.WARN
    assert finding.figure is not None
    assert finding.figure.value == 1.0
    at_three, whole = finding.rows
    assert at_three["first_events"] == 3
    assert at_three["stopped_before"]["violators"]["value"] == 1.0
    assert whole["first_events"] == "all"


def test_violators_of_more_events_than_others_are_told_too() -> None:
    assert judge_length(np.where(IS_POSITIVE, 9, 2), SPLIT, CONFIG).verdict is Verdict.WARN


def test_equal_lengths_pass() -> None:
    sizes = np.random.default_rng(0).geometric(0.1, NUM)
    assert judge_length(sizes, SPLIT, CONFIG).verdict is Verdict.PASS


def test_too_few_tested_is_unknown() -> None:
    few = TimeSplit(0, np.arange(20), np.arange(20) < 10, 0, 0)
    assert judge_length(np.arange(20), few, CONFIG).verdict is Verdict.UNKNOWN


def test_length_is_noted_beside_the_risk_that_it_explains() -> None:
    """The number of events alone has .75, the risk 1.0: half of what is above chance."""
    sizes = np.where(IS_POSITIVE & (np.arange(NUM) % 4 == 0), 2, 9)
    audit = LeakAudit((judge_length(sizes, SPLIT, CONFIG),))
    figures = Comparison({"ours": {"auc": Estimate(1.0, None, None)}}, {})
    noted = note_length(TaskResult("risk_first_3", "?", comparison=figures), audit)
    assert noted.extra == {"auc_of_length": 0.75, "explained_by_length": 0.5}
    assert noted.notes[-1].endswith("AUC 0.750: 50% of what ours has above .5")
    other = TaskResult("groups", "?", comparison=figures)
    assert note_length(other, audit) is other
    absent = not_measurable("risk_first_3", "?", "so", {})
    assert note_length(absent, audit) is absent


def test_persons_of_before_the_cut_are_counted_among_the_tested() -> None:
    """Ten known before; of the tested violators 40 are of the groups of these."""
    first_us = np.concatenate([np.full(NUM, 20), np.zeros(10)]).astype(np.int64) * DAY_US
    group: list[str | None] = [None] * (NUM + 10)
    group[NUM:] = [f"ring {number}" for number in range(10)]
    for place in range(40):
        group[2 * place] = f"ring {place % 10}"
    group[1] = "ring 0"  # a benign one
    group[101] = group[103] = "of later users alone"
    finding = judge_persons(group, first_us, SPLIT, confidence=0.95)
    assert finding.verdict is Verdict.WARN
    assert finding.counts == {
        "test_violators": 200,
        "with_a_group": 40,
        "of_a_group_seen_before": 40,
        "groups_on_both_sides": 10,
    }
    assert finding.figure is not None
    assert finding.figure.value == pytest.approx(0.2)


def test_groups_on_one_side_alone_pass_and_no_groups_are_unknown() -> None:
    first_us = np.full(NUM, 20 * DAY_US)
    group = ["a" if place < 50 else None for place in range(NUM)]
    assert judge_persons(group, first_us, SPLIT, confidence=0.95).verdict is Verdict.PASS
    nobody: list[str | None] = [None] * NUM
    assert judge_persons(nobody, first_us, SPLIT, confidence=0.95).verdict is Verdict.UNKNOWN


def test_benign_users_of_yesterday_warn() -> None:
    """Violators are caught within 1 to 100 days; the tested are 40 days old."""
    delay_us = np.arange(1, 101) * DAY_US
    finding = judge_maturity(delay_us, np.full(NUM, 40 * DAY_US), SPLIT, confidence=0.95)
    assert finding.verdict is Verdict.WARN
    assert finding.counts["young_benign"] == 200
    assert finding.counts["violators_yet_to_be_caught"] == 200  # of 500, as 200 are 40 %
    assert "100.0 %" in finding.details[0]
    old = judge_maturity(delay_us, np.full(NUM, 100 * DAY_US), SPLIT, confidence=0.95)
    assert old.verdict is Verdict.PASS
    assert old.counts["violators_yet_to_be_caught"] == 0


def test_violators_yet_to_be_caught_are_those_whom_the_pace_leaves_out() -> None:
    delay_us = np.arange(1, 101) * DAY_US
    assert expected_uncaught(delay_us, np.full(8, 80 * DAY_US)) == pytest.approx(2.0)
    assert expected_uncaught(delay_us, np.zeros(1, dtype=np.int64)) == pytest.approx(19.0)


def test_maturity_without_times_is_unknown() -> None:
    nothing = np.empty(0, dtype=np.int64)
    ages = np.full(NUM, DAY_US)
    assert judge_maturity(nothing, ages, SPLIT, confidence=0.95).verdict is Verdict.UNKNOWN
