"""Files of labels: what they may say, what counts when, and what is rejected."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from store.clock import to_us
from store.config import IngestConfig
from store.errors import ColumnsRefused, FileUnreadable, IngestRefused
from store.label_ingest import ingest_labels
from store.labels import AddedLabels, LabelStore
from store.workspace import Workspace
from tests.integration.store.files import (
    LENIENT,
    NOW,
    add_labels,
    labels_as_of,
    rejects,
    write_csv,
)

BAN = datetime(2024, 1, 1, tzinfo=UTC)
A_DAY = timedelta(days=1)


def label(user_id: str, value: object, **columns: Any) -> dict[str, Any]:
    return {"user_id": user_id, "label": value} | columns


def in_force(workspace: Workspace, as_of: datetime = NOW) -> dict[str, dict[str, Any]]:
    """Return the labels in force by user, without columns that have no value."""
    rows = labels_as_of(workspace, as_of).table.to_pylist()
    filled = [{name: value for name, value in row.items() if value is not None} for row in rows]
    return {row.pop("user_id"): row for row in filled}


def test_a_full_csv_file_is_understood(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(
        "user_id,label,policy,group,occurred_at,known_at,source,reason,region,age\n"
        'al,1,spam,ring 7,2024-01-01T00:00:00Z,1704200000,auto,"said, so",eu,3\n'
        "bo,0,,,,,,,,\n"
        "cy,,,ring 7,,,,,,\n"
        "di,,,,,,,,us,\n"
    )
    (report,) = ingest_labels(workspace, tmp_path / "labels.csv", IngestConfig(), now=NOW).files
    assert (report.num_rows, report.num_kept, report.num_rejected) == (4, 4, 0)
    assert in_force(workspace) == {
        "al": {
            "label": 1,
            "policy": "spam",
            "group": "ring 7",
            "occurred_at_us": to_us(BAN),
            "known_at_us": 1704200000000000,
            "source": "auto",
            "reason": "said, so",
            "extra": '{"age":3,"region":"eu"}',
        },
        "bo": {"label": 0},
        "cy": {"group": "ring 7"},
    }


def test_parquet_labels_of_a_data_frame_are_understood(
    workspace: Workspace, tmp_path: Path
) -> None:
    """A column of 0, 1 and missing values is a float column there, times are timestamps."""
    table = pa.table(
        {
            "user_id": ["al", "bo", "cy"],
            "label": pa.array([1.0, 0.0, float("nan")]),
            "group": [None, None, "g"],
            "occurred_at": pa.array([BAN, None, None], pa.timestamp("ns", "UTC")),
            "known_at": pa.nulls(3),
        }
    )
    pq.write_table(table, tmp_path / "labels.parquet")
    ingest_labels(workspace, tmp_path / "labels.parquet", IngestConfig(), now=NOW)
    times = {"occurred_at_us": to_us(BAN), "known_at_us": to_us(BAN)}
    assert in_force(workspace) == {
        "al": {"label": 1} | times,
        "bo": {"label": 0},
        "cy": {"group": "g"},
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", 1), ("true", 1), ("TRUE", 1), (1, 1), (True, 1), ("0", 0), ("False", 0), (0, 0)],
    ids=repr,
)
def test_a_label_has_a_few_forms(workspace: Workspace, value: object, expected: int) -> None:
    add_labels(workspace, "a", [label("al", value)])
    assert in_force(workspace)["al"] == {"label": expected}


def test_bad_rows_are_rejected_with_their_line(workspace: Workspace, tmp_path: Path) -> None:
    bad = [
        (label("", "1"), "user_id is missing"),
        (label("x" * 1025, "1"), "user_id is longer than 1024 characters"),
        (label("al", "2"), "label is neither 1, 0 nor empty: 2"),
        (label("al", "-1"), "label is neither 1, 0 nor empty: -1"),
        (label("al", "violator"), "label is neither 1, 0 nor empty: violator"),
        (label("al", "1", occurred_at="then"), "occurred_at is not a time: then"),
        (label("al", "1", known_at="2999-01-01"), "known_at lies in the future: 2999-01-01"),
        (label("al", "1", occurred_at="1900-01-01"), "occurred_at is before 1970: 1900-01-01"),
        (label("al", "1", revoked_at="x"), "revoked_at is not a time: x"),
        (label("al", "1", policy="x" * 20_000), "policy is longer than 16384 characters"),
    ]
    columns = {"occurred_at": None, "known_at": None, "revoked_at": None, "policy": None}
    rows = [columns | row for row, _ in bad] + [columns | label("ok", "1")]
    file = write_csv(tmp_path / "labels.csv", rows)
    (report,) = ingest_labels(workspace, file, LENIENT, now=NOW).files
    assert rejects(report) == [
        f'{line},"{reason}"' if "," in reason else f"{line},{reason}"
        for line, (_, reason) in enumerate(bad, 2)
    ]
    assert in_force(workspace) == {"ok": {"label": 1}}


def test_ids_are_those_of_the_events_or_refused(workspace: Workspace, tmp_path: Path) -> None:
    """What a data frame makes of ids with gaps, 123.0, would be the label of nobody."""
    add_labels(workspace, "a", [label("bob ", 1), label("bob", 0)])
    assert in_force(workspace) == {"bob ": {"label": 1}, "bob": {"label": 0}}
    pq.write_table(pa.table({"user_id": [123.0, None], "label": [1, 1]}), tmp_path / "f.parquet")
    with pytest.raises(ColumnsRefused, match="user_id is of type DOUBLE; write it as a string"):
        ingest_labels(workspace, tmp_path / "f.parquet", LENIENT, now=NOW)


def test_too_many_bad_rows_keep_nothing(workspace: Workspace, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "labels.csv", [label("al", "1"), label("bo", "maybe")])
    with pytest.raises(IngestRefused, match="1 of 2 rows rejected"):
        ingest_labels(workspace, file, IngestConfig(), now=NOW)
    assert in_force(workspace) == {}
    file.write_text("user_id,verdict\nal,1\n")
    with pytest.raises(ColumnsRefused, match="lacks the column label"):
        ingest_labels(workspace, file, IngestConfig(), now=NOW)
    with pytest.raises(FileUnreadable, match="does not exist"):
        ingest_labels(workspace, tmp_path / "absent.csv", IngestConfig(), now=NOW)


def test_a_file_and_a_row_count_once(workspace: Workspace) -> None:
    rows = [label("al", 1, policy="spam"), label("al", 1, policy="spam"), label("bo", 0)]
    first = add_labels(workspace, "a", rows)
    assert (first.num_kept, first.num_duplicates) == (2, 1)
    assert add_labels(workspace, "again", rows).already_ingested
    more = add_labels(workspace, "b", [*rows, label("cy", 1)])
    assert (more.num_kept, more.num_duplicates) == (1, 3)
    assert set(in_force(workspace)) == {"al", "bo", "cy"}


def test_a_label_counts_from_when_it_was_known(workspace: Workspace) -> None:
    known = BAN + A_DAY
    add_labels(
        workspace,
        "a",
        [
            label("late", 1, occurred_at=BAN.isoformat(), known_at=known.isoformat()),
            label("at_once", 1, occurred_at=BAN.isoformat()),
            label("always", 0),
        ],
    )
    just_after = timedelta(microseconds=1)
    assert set(in_force(workspace, BAN)) == {"always"}
    assert set(in_force(workspace, BAN + just_after)) == {"always", "at_once"}
    assert set(in_force(workspace, known)) == {"always", "at_once"}
    assert set(in_force(workspace, known + just_after)) == {"always", "at_once", "late"}


def test_a_later_file_may_revoke(workspace: Workspace) -> None:
    row = label("al", 1, occurred_at=BAN.isoformat(), policy="spam")
    add_labels(workspace, "a", [row, label("al", 0)])
    revoked = BAN + 5 * A_DAY
    report = add_labels(workspace, "b", [row | {"revoked_at": revoked.isoformat()}])
    assert (report.num_kept, report.num_duplicates) == (0, 1)
    assert (report.num_ended, report.num_kept_revoked) == (1, 0)
    before, after = revoked - A_DAY, revoked
    assert in_force(workspace, before)["al"]["label"] == 1
    assert labels_as_of(workspace, before).cutoffs().num_rows == 1
    assert in_force(workspace, after)["al"] == {"label": 0}
    assert labels_as_of(workspace, after).cutoffs().num_rows == 0
    report = add_labels(workspace, "c", [row | {"revoked_at": (revoked + A_DAY).isoformat()}])
    assert (report.num_ended, report.num_kept_revoked) == (0, 0)
    assert in_force(workspace, after)["al"] == {"label": 0}
    add_labels(workspace, "d", [row, label("bo", 1)])  # a list that knows of no revocation
    assert in_force(workspace, after) == {"al": {"label": 0}, "bo": {"label": 1}}


def test_a_revocation_of_no_label_is_told(workspace: Workspace) -> None:
    row = label("al", 1, policy="spam", reason="by hand")
    add_labels(workspace, "a", [row])
    ended = {"revoked_at": (BAN + A_DAY).isoformat()}
    report = add_labels(workspace, "b", [label("al", 1, policy="spam") | ended, label("bo", 0)])
    assert (report.num_kept, report.num_ended, report.num_kept_revoked) == (2, 0, 1)
    assert in_force(workspace)["al"] == {"label": 1, "policy": "spam", "reason": "by hand"}


def test_a_file_written_to_while_it_is_read_adds_nothing(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_csv(tmp_path / "labels.csv", [label("al", "1")])
    add_all = LabelStore.add_all

    def add_all_of_a_growing_file(*arguments: Any, **named: Any) -> AddedLabels:
        with file.open("a") as growing:
            growing.write("bo,1\n")
        return add_all(*arguments, **named)

    monkeypatch.setattr(LabelStore, "add_all", add_all_of_a_growing_file)
    with pytest.raises(FileUnreadable, match="was written to while it was read"):
        ingest_labels(workspace, file, IngestConfig(), now=NOW)
    assert in_force(workspace) == {}
    monkeypatch.undo()
    ingest_labels(workspace, file, IngestConfig(), now=NOW)
    assert set(in_force(workspace)) == {"al", "bo"}


def test_a_violator_label_wins_then_the_latest_known(workspace: Workspace) -> None:
    add_labels(
        workspace,
        "a",
        [
            label("al", 0, known_at=(BAN + 9 * A_DAY).isoformat(), group="first group"),
            label("al", 1, policy="spam", occurred_at=BAN.isoformat()),
            label("al", 1, policy="bots", occurred_at=(BAN + A_DAY).isoformat()),
            label("al", None, policy="none"),
        ],
    )
    row = in_force(workspace)["al"]
    assert (row["label"], row["policy"], row["group"]) == (1, "bots", "first group")
    assert row["known_at_us"] == to_us(BAN + A_DAY)
    (cutoff,) = labels_as_of(workspace, NOW).cutoffs().to_pylist()
    assert cutoff == {"user_id": "al", "cutoff_us": to_us(BAN)}


def test_the_order_of_labels_does_not_matter(tmp_path: Path) -> None:
    rows = [
        label("al", 1, policy=policy, occurred_at=BAN.isoformat(), group=group)
        for policy in ("a", "b", "c")
        for group in (None, "g", "h")
    ]
    views = []
    for number, order in enumerate([rows, rows[::-1], rows[4:] + rows[:4]]):
        workspace = Workspace.create(tmp_path / str(number) / "workspace")
        add_labels(workspace, "a", order)
        views.append(labels_as_of(workspace, NOW).table)
    assert views[0] == views[1] == views[2]
