"""Re-identification by split halves: does a user's past find the same user's later self?

The first half of a user's events, by time, is the query; what follows after a pause is hidden among
the later selves of all others. In the target-disjoint form a later self loses all events at targets
of its own first half, so that shared places alone cannot answer.

Shape key: `B` users of a batch, `E` events of all of them.
"""

from collections.abc import Mapping

import numpy as np

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.methods import Method
from embedder.evaluation.ranking import plain_task
from embedder.evaluation.results import TaskResult, not_measurable
from embedder.evaluation.retrieval import measure_retrieval
from embedder.evaluation.sample import owners
from embedder.halves import Halves, at_new_targets
from store.sequences import SequenceBatch

FULL = "split_halves"
DISJOINT = "split_halves_target_disjoint"
TITLES = {
    FULL: "Re-identification: the first half of a user's events finds the second",
    DISJOINT: "Re-identification without shared targets: second halves at new targets only",
}


def measure_split_halves(
    batch: SequenceBatch | None,
    *,
    target: str | None,
    methods: Mapping[str, Method],
    config: EvaluationConfig,
    notes: tuple[str, ...] = (),
) -> list[TaskResult]:
    """Measure both forms on the users that are long enough."""
    halves = None if batch is None else split_in_halves(batch, config)
    results = [_measure(FULL, halves, methods, config, notes)]
    if target is None:
        reason = "no column is the target"
        results.append(not_measurable(DISJOINT, TITLES[DISJOINT], reason, {}))
    else:
        disjoint = None if halves is None else without_shared_targets(halves, target, config)
        results.append(_measure(DISJOINT, disjoint, methods, config, notes))
    return results


def split_in_halves(batch: SequenceBatch, config: EvaluationConfig) -> Halves:
    """Split users in the middle of their events; the pause takes from the second half.

    Users with too few events on either side are left out.
    """
    num_first_B = batch.num_events // 2
    ends_us = np.append(batch.ts_us, 0)
    pause_us = int(config.half_gap_hours * 3.6e9)
    resumes_B = ends_us[batch.offsets[:-1] + np.maximum(num_first_B, 1) - 1] + pause_us
    user_E = owners(batch)
    late_E = batch.ts_us >= resumes_B[user_E]
    late_E &= np.arange(len(user_E)) >= (batch.offsets[:-1] + num_first_B)[user_E]
    num_second_B = np.bincount(user_E[late_E], minlength=batch.num_users)
    enough = np.minimum(num_first_B, num_second_B) >= config.half_min_events
    rows = np.flatnonzero(enough)
    first = batch.take(rows, stop=num_first_B[rows])
    second = batch.take(rows, start=(batch.num_events - num_second_B)[rows])
    return Halves(first, second)


def without_shared_targets(halves: Halves, target: str, config: EvaluationConfig) -> Halves:
    """Drop later events at targets of the user's own first half, then users left with too few."""
    return at_new_targets(halves, target, events_min=config.half_min_events)


def _measure(
    name: str,
    halves: Halves | None,
    methods: Mapping[str, Method],
    config: EvaluationConfig,
    notes: tuple[str, ...],
) -> TaskResult:
    num_users = 0 if halves is None else halves.first.num_users
    if halves is None or num_users < config.min_positives:
        reason = (
            f"only {num_users} users have {config.half_min_events} events on either side of "
            f"{config.half_gap_hours:g} hours; {config.min_positives} are needed"
        )
        return not_measurable(name, TITLES[name], reason, {"users": num_users})
    same = np.arange(num_users, dtype=np.int64)
    nobody = np.full(num_users, -1, dtype=np.int64)
    return measure_retrieval(
        name,
        TITLES[name],
        query=halves.first,
        gallery=halves.second,
        task=plain_task(same, same, nobody),
        methods=methods,
        config=config,
        notes=notes,
    )
