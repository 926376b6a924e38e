"""A leak of time of each kind is planted, and found; what is hidden as it should be passes."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from embedder.evaluation.leak_checks import Finding, Verdict
from embedder.evaluation.time_leaks import (
    ReadEvents,
    count_after,
    judge_events,
    judge_labels,
    judge_times,
    violated_times,
)
from tests.unit.evaluation.sequences import HOUR_US, at, make_batch

WRITTEN = ("user_id", "label", "occurred_at_us", "known_at_us", "revoked_at_us")
CUT = 100
Row = tuple[str, int | None, int | None, int | None, int | None]


def history(*rows: Row) -> pa.Table:
    kinds = (pa.string(), pa.int8(), pa.int64(), pa.int64(), pa.int64())
    columns = [[row[place] for row in rows] for place in range(len(WRITTEN))]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(arrays, names=list(WRITTEN))


def learned(**labels: int | None) -> pa.Table:
    return pa.table(
        {
            "user_id": pa.array(list(labels), pa.string()),
            "label": pa.array(list(labels.values()), pa.int8()),
        }
    )


def times_of(table: pa.Table) -> dict[str, int]:
    return dict(zip(table["user_id"].to_pylist(), table["violated_us"].to_pylist(), strict=True))


def test_violations_are_those_known_by_then_the_first_of_each_user() -> None:
    rows: Sequence[Row] = (
        ("twice", 1, 50, 60, None),
        ("twice", 1, 40, 70, None),
        ("later", 1, 50, 100, None),
        ("revoked", 1, 50, 60, 90),
        ("revoked later", 1, 50, 60, 101),
        ("benign", 0, 50, 60, None),
        ("timeless", 1, None, None, None),
        ("from the start", 1, 30, None, None),
    )
    found = times_of(violated_times(history(*rows), CUT))
    assert found == {"twice": 40, "revoked later": 50, "from the start": 30}


def test_events_at_and_after_a_violation_are_counted_by_user() -> None:
    batch = make_batch({"a": at([1, 2, 3]), "b": at([1, 2, 3]), "none": [], "c": at([9])})
    violated = pa.table(
        {"user_id": ["c", "a", "stranger"], "violated_us": [5 * HOUR_US, 2 * HOUR_US, 0]}
    )
    assert count_after(batch, violated).tolist() == [2, 0, 0, 1]


def judged(num_late: int) -> Finding:
    late, everything = np.array([1, 0, 3]), np.array([10, 40, 50])
    read = ReadEvents(1000, num_late, 4, late, everything)
    return judge_events(read, confidence=0.95)


def test_one_event_read_after_a_violation_fails() -> None:
    finding = judged(1)
    assert finding.verdict is Verdict.FAIL
    assert finding.details[0] == "1 events at or after the violation were read"
    assert "hidden" not in finding.details[1]


def test_hidden_events_pass_and_are_counted() -> None:
    finding = judged(0)
    assert finding.verdict is Verdict.PASS
    assert finding.counts["in_the_lake_after_violation"] == 4
    assert "4.0 % [" in finding.details[0]
    assert finding.details[0].endswith("and are hidden")
    assert "4 events that training read lie after violations of which" in finding.details[1]


@pytest.mark.parametrize(
    "row",
    [
        ("a", 1, 50, 100, None),  # known at the cut, which is too late
        ("a", 1, 50, 60, 100),  # revoked by the cut
        ("a", 0, None, 60, None),  # known to be another
        ("stranger", 1, 50, 60, None),
    ],
)
def test_a_label_learned_from_before_it_was_known_fails(row: Row) -> None:
    finding = judge_labels(learned(a=1), history(row), cut_us=CUT)
    assert finding.verdict is Verdict.FAIL
    assert finding.details[0] == "1 labels were learned from before they were known"
    assert finding.counts["learned_before_known"] == 1


def test_labels_known_in_time_pass_and_later_ones_are_counted() -> None:
    rows: Sequence[Row] = (
        ("a", 1, 50, 60, None),
        ("b", 0, None, None, None),
        ("group only", None, None, 10, None),
        ("later", 1, 50, 101, None),
    )
    known = pa.concat_tables([learned(a=1, b=0), learned(**{"group only": None})])
    finding = judge_labels(known, history(*rows), cut_us=CUT)
    assert finding.verdict is Verdict.PASS
    assert finding.counts == {"learned": 3, "learned_before_known": 0, "hidden": 1}


def test_nothing_learned_passes() -> None:
    assert judge_labels(learned(), history(), cut_us=CUT).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("row", "counted"),
    [
        (("x", 0, None, None, None), "known_from_the_start"),
        (("x", 1, None, 60, None), "violators_without_occurred_at"),
        (("x", 1, 60, 50, None), "known_before_they_occurred"),
    ],
)
def test_labels_without_a_time_warn(row: Row, counted: str) -> None:
    good: list[Row] = [(f"u{number}", number % 2, 10, 20, None) for number in range(9)]
    finding = judge_times(history(*good, row), confidence=0.95)
    assert finding.verdict is Verdict.WARN
    assert finding.counts[counted] == 1
    assert finding.figure is not None
    assert finding.figure.value == pytest.approx(0.1)
    assert judge_times(history(*good), confidence=0.95).verdict is Verdict.PASS


def test_times_of_no_labels_are_unknown() -> None:
    assert judge_times(history(), confidence=0.95).verdict is Verdict.UNKNOWN
