"""Early detection on one workspace: test users are looked at after every event they did.

Shape key: `N` test users, `A` looks, `C` looks at once.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedder.evaluation.detection import (
    LIKELY,
    UNKNOWN_END,
    Looks,
    look_ages,
    measure_detection,
)
from embedder.evaluation.methods import Encoder
from embedder.evaluation.metrics import Int64s
from embedder.evaluation.results import TaskResult, not_measurable
from embedder.evaluation.sample import draw_rows
from index.errors import TooFewLabels
from jobs.measure import Trial
from jobs.measure_risk import INSUFFICIENT, Assesses, draw_test_users, why_not_measurable
from jobs.people import People
from store.sequences import SequenceBatch

DETECTION = "early_detection"
TITLE = "Early detection: violators first seen after the cut, looked at after every event"
EVENTS_AT_ONCE, LOOKS_AT_ONCE = 200_000, 5_000


def measure_early_detection(
    trial: Trial, at_cut: People, risk: Assesses | TooFewLabels
) -> TaskResult:
    """Say by which event violators are seen, and how long before the violation.

    Args:
        trial: Users as known today, and the encoder.
        at_cut: Users as known at the cut.
        risk: Fitted at the cut, or why it could not be.
    """
    config, split = trial.config, draw_test_users(trial)
    reason = why_not_measurable(split, at_cut, risk, config)
    if reason is not None or isinstance(risk, TooFewLabels):
        return not_measurable(DETECTION, TITLE, str(reason), split.counts())
    drawn = draw_rows(
        np.arange(len(split.test)), size_max=config.detection_users, rng=trial.random(5)
    )
    is_positive_N = split.is_positive_test[drawn]
    smaller = min(int(is_positive_N.sum()), int((~is_positive_N).sum()))
    if smaller < config.min_positives:
        reason = f"only {smaller} users of one class were drawn; {config.min_positives} are needed"
        return not_measurable(DETECTION, TITLE, reason, split.counts())
    rows = split.test[drawn]
    batch = trial.read(rows)
    assert batch is not None, "test users have events"
    assert list(batch.user_ids) == trial.people.ids(rows)
    looks = look_at(trial.embedder, risk, batch)
    ended_us_N = _ended_us(trial.people, batch)
    detection = measure_detection(looks, is_positive_N, ended_us_N, config, trial.random(6))
    counts = {
        "users": len(rows),
        "positives": int(is_positive_N.sum()),
        "positives_with_time": int((is_positive_N & (ended_us_N != UNKNOWN_END)).sum()),
        "looks": looks.num_looks,
    }
    notes = (
        "shares are of all test users of a class, those who never got an answer included",
        "a threshold named by a share of benign users was chosen on one half of them and counted "
        "on the other",
        f"only the first {config.max_events:,} events of a user are looked at",
    )
    return TaskResult(DETECTION, TITLE, counts=counts, notes=notes, detection=detection)


def look_at(embedder: Encoder, risk: Assesses, batch: SequenceBatch) -> Looks:
    """Assess every user right after the first event, the second, and so on; last after all.

    Cost is linear in the users' events: each is embedded at every look up to the twentieth, and
    beyond about as often as a geometric series sums to.
    """
    num_events_N = batch.num_events
    age_A = look_ages(int(num_events_N.max()))
    shape = len(num_events_N), len(age_A)
    looks = Looks(
        age_A,
        num_events_N,
        np.full(shape, np.nan),
        np.zeros(shape, dtype=np.bool_),
        np.zeros(shape, dtype=np.int64),
    )
    before_A = np.append(0, age_A[:-1])
    for place, age in enumerate(age_A.tolist()):
        alive = np.flatnonzero(num_events_N > before_A[place])
        for rows_C in _in_chunks(alive, np.minimum(num_events_N[alive], age)):
            seen = batch.take(rows_C, stop=np.full(len(rows_C), age, dtype=np.int64))
            assessed = risk.assess(
                embedder.embed(seen),
                seen.num_events,
                own_ids=list(seen.user_ids),
                silence_us_Q=np.zeros(len(rows_C), dtype=np.int64),
            )
            band_C = np.array(assessed.band)
            looks.probability_NA[rows_C, place] = np.where(
                band_C == INSUFFICIENT, np.nan, np.asarray(assessed.probability)
            )
            looks.is_likely_NA[rows_C, place] = band_C == LIKELY
            looks.seen_us_NA[rows_C, place] = seen.ts_us[seen.offsets[1:] - 1]
    return looks


def _in_chunks(rows: Int64s, sizes: Int64s) -> Iterator[Int64s]:
    """Split users so that a chunk has a bounded number of users and of events."""
    start = 0
    total = np.append(0, np.cumsum(sizes))
    while start < len(rows):
        fits = int(np.searchsorted(total, total[start] + EVENTS_AT_ONCE, side="right")) - 1
        stop = min(max(fits, start + 1), start + LOOKS_AT_ONCE)
        yield rows[start:stop]
        start = stop


def _ended_us(people: People, batch: SequenceBatch) -> Int64s:
    """Return the time of each user's violation, `UNKNOWN_END` where none is recorded."""
    cutoffs = people.labels.cutoffs()
    place = pc.index_in(
        pa.array(batch.user_ids, pa.string()), value_set=cutoffs["user_id"].combine_chunks()
    )
    ended = cutoffs["cutoff_us"].combine_chunks().take(place)
    ended_us_N: Int64s = pc.fill_null(ended, UNKNOWN_END).to_numpy(zero_copy_only=False)
    return ended_us_N.astype(np.int64)
