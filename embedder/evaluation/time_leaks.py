"""Leaks of time: events after a violation, labels known later, labels that no time belongs to.

What was read is held against the labels as they were written, not against the view that readers
were given: the same rule, found a second way, so that a mistake in the first shows.

Shape key: `B` users of a batch, `E` events of all of them, `N` violators, `L` labels.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedder.evaluation.bootstrap import Estimate
from embedder.evaluation.intervals import estimate_share
from embedder.evaluation.leak_checks import ALL_TASKS, Finding, Verdict, percent, unknown
from embedder.evaluation.metrics import Flags, Floats, Int64s
from store.sequences import SequenceBatch

EVENTS, LABELS, TIMES = "events_after_violation", "labels_known_later", "label_times"
TIMELESS_MAX = 0.01
NEVER_US = np.iinfo(np.int64).max


def violated_times(history: pa.Table, as_of_us: int) -> pa.Table:
    """Return `user_id` and `violated_us`: the first violation known at a time, as written.

    Args:
        history: All labels as written: `user_id`, `label`, `occurred_at_us`, `known_at_us`,
            `revoked_at_us`.
        as_of_us: Labels known at or after it, or revoked by then, do not count.
    """
    chosen_L = in_force(history, as_of_us) & (_numbers(history["label"], -1) == 1)
    chosen = history.filter(pa.array(chosen_L & _given(history["occurred_at_us"])))
    first = chosen.group_by("user_id").aggregate([("occurred_at_us", "min")])
    return pa.table({"user_id": first["user_id"], "violated_us": first["occurred_at_us_min"]})


def in_force(history: pa.Table, as_of_us: int) -> Flags:
    """Return which labels were known before a time and not revoked by then."""
    known_L = _numbers(history["known_at_us"], np.iinfo(np.int64).min) < as_of_us
    kept_L = _numbers(history["revoked_at_us"], NEVER_US) > as_of_us
    return np.asarray(known_L & kept_L)


def count_after(batch: SequenceBatch, violated: pa.Table) -> Int64s:
    """Return how many events at or after the violation each user of a batch has."""
    place = pc.index_in(
        pa.array(batch.user_ids, pa.string()), value_set=violated["user_id"].combine_chunks()
    )
    known_B = place.is_valid().to_numpy(zero_copy_only=False)
    until_B = np.full(batch.num_users, NEVER_US)
    times = violated["violated_us"].to_numpy()
    until_B[known_B] = times[place.drop_null().to_numpy()]
    late_E = batch.ts_us >= np.repeat(until_B, batch.num_events)
    total = np.concatenate([[0], np.cumsum(late_E)])
    counted: Int64s = np.diff(total[batch.offsets]).astype(np.int64)
    return counted


@dataclass(frozen=True)
class ReadEvents:
    """What was counted of events at or after a violation.

    Attributes:
        num_read: Events that training and evaluation read.
        num_late: Those of them after a violation that was known at the time of reading.
        num_unknowable: Events that training read, after a violation learned of only later.
        late_N, all_N: Of each violator, the late events and all events in the lake.
    """

    num_read: int
    num_late: int
    num_unknowable: int
    late_N: Int64s
    all_N: Int64s


def judge_events(read: ReadEvents, *, confidence: float) -> Finding:
    """Fail where a single event at or after a known violation was read."""
    share = read.num_late / max(read.num_read, 1)
    hidden = estimate_share(_floats(read.late_N), _floats(read.all_N), confidence=confidence)
    details = []
    if read.num_late:
        details.append(f"{read.num_late:,} events at or after the violation were read")
    if len(read.all_N):
        details.append(
            f"{int(read.late_N.sum()):,} events of violators in the lake, {percent(hidden)} of "
            f"theirs, lie at or after the violation{'' if read.num_late else ' and are hidden'}"
        )
    if read.num_unknowable:
        details.append(
            f"{read.num_unknowable:,} events that training read lie after violations of which "
            "nobody knew at the cut, as it will be in service"
        )
    return Finding(
        EVENTS,
        Verdict.FAIL if read.num_late else Verdict.PASS,
        "share of the events read that lie at or after the user's violation",
        Estimate(share, None, None),
        "fail above 0",
        "report a bug of the store: views must end before the violation",
        ALL_TASKS,
        counts={
            "read": read.num_read,
            "read_after_violation": read.num_late,
            "in_the_lake_after_violation": int(read.late_N.sum()),
            "in_the_lake_of_violators": int(read.all_N.sum()),
            "read_after_violation_learned_of_later": read.num_unknowable,
        },
        details=tuple(details),
    )


def judge_labels(learned: pa.Table, history: pa.Table, *, cut_us: int) -> Finding:
    """Fail where what learns has a label that nobody knew before the cut.

    Args:
        learned: `user_id` and `label` of every label that something learns from.
        history: All labels as written.
        cut_us: The cut.
    """
    known_L = in_force(history, cut_us)
    num_early = num_unsupported(learned, history.filter(pa.array(known_L)))
    later_L = _numbers(history["known_at_us"], np.iinfo(np.int64).min) >= cut_us
    share = num_early / max(learned.num_rows, 1)
    details = [f"{num_early:,} labels were learned from before they were known"][: num_early > 0]
    details.append(
        f"{learned.num_rows:,} labels are learned from; {int(later_L.sum()):,} known at or after "
        "the cut are hidden"
    )
    return Finding(
        LABELS,
        Verdict.FAIL if num_early else Verdict.PASS,
        "share of the labels learned from that were not known before the cut",
        Estimate(share, None, None),
        "fail above 0",
        "report a bug of the store: views of labels must end at the cut",
        ALL_TASKS,
        counts={
            "learned": learned.num_rows,
            "learned_before_known": num_early,
            "hidden": int(later_L.sum()),
        },
        details=tuple(details),
    )


def num_unsupported(learned: pa.Table, known: pa.Table) -> int:
    """Return how many learned labels no known label supports."""
    return int((~pc.is_in(_pairs(learned), value_set=_pairs(known)).to_numpy(False)).sum())


def judge_times(history: pa.Table, *, confidence: float) -> Finding:
    """Warn where labels have no time, or one that can't be: they are not hidden when they should.

    A label without `known_at` counts as known from the start, and a violator without `occurred_at`
    keeps all events. Above one in a hundred, the share of bad rows that an ingest lets pass, the
    figures are not those of the past.
    """
    measures = "share of labels whose times are missing or can't be"
    label_L = _numbers(history["label"], -1)
    if not (label_L >= 0).any():
        return unknown(TIMES, measures, "there are no labels", ALL_TASKS)
    history = history.filter(pa.array(label_L >= 0))
    violator_L = label_L[label_L >= 0] == 1
    known_L, occurred_L = (_given(history[name]) for name in ("known_at_us", "occurred_at_us"))
    early_L = known_L & occurred_L
    early_L &= _numbers(history["known_at_us"], 0) < _numbers(history["occurred_at_us"], 0)
    counts = {
        "labels": history.num_rows,
        "known_from_the_start": int((~known_L).sum()),
        "violators_without_occurred_at": int((violator_L & ~occurred_L).sum()),
        "known_before_they_occurred": int(early_L.sum()),
    }
    bad_L = ~known_L | (violator_L & ~occurred_L) | early_L
    figure = estimate_share(_floats(bad_L), np.ones(len(bad_L)), confidence=confidence)
    return Finding(
        TIMES,
        Verdict.WARN if figure.value > TIMELESS_MAX else Verdict.PASS,
        measures,
        figure,
        f"warn above {TIMELESS_MAX:g}",
        "send labels with known_at, and violators with occurred_at: what has no time counts as "
        "known from the start, so a benign label may tell what happened after the cut",
        ALL_TASKS,
        counts=counts,
        details=tuple(
            f"{number:,} of {history.num_rows:,} labels: {name.replace('_', ' ')}"
            for name, number in counts.items()
            if name != "labels" and number
        ),
    )


def _pairs(table: pa.Table) -> pa.Array:
    """Return user and label as one text, to be compared."""
    label = pc.cast(pc.fill_null(table["label"].cast(pa.int64()), -1), pa.string())
    pairs = pc.binary_join_element_wise(table["user_id"].cast(pa.string()), label, "\x1f")
    return pairs.combine_chunks() if isinstance(pairs, pa.ChunkedArray) else pairs


def _numbers(column: pa.ChunkedArray, missing: int) -> Int64s:
    numbers: Int64s = pc.fill_null(column.cast(pa.int64()), missing).to_numpy()
    return numbers


def _given(column: pa.ChunkedArray) -> Flags:
    return np.asarray(pc.is_valid(column).to_numpy(), dtype=np.bool_)


def _floats(values: Int64s | Flags) -> Floats:
    return values.astype(np.float64)
