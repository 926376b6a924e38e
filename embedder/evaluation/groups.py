"""Group retrieval: does a user find others of the same known ring or person?

Shape key: `B` users of a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.methods import Method
from embedder.evaluation.metrics import Flags, Int64s
from embedder.evaluation.ranking import NO_GROUP, Task
from embedder.evaluation.results import TaskResult, not_measurable
from embedder.evaluation.retrieval import measure_retrieval
from embedder.evaluation.sample import owners
from embedder.hashing import hash_column
from store.sequences import SequenceBatch

GROUPS = "groups"
TITLE = "Group retrieval: a user of a known ring or person finds another of it"


@dataclass(frozen=True)
class GroupedUsers:
    """What labels say of the users of a batch.

    Attributes:
        group: Group of each user, or None.
        unverified: Value of the unverified column, or None.
        is_violator_B: Whether a label says so.
        is_taught_B: Whether training knew the label, so that the user is no fair query.
    """

    group: Sequence[str | None]
    unverified: Sequence[str | None]
    is_violator_B: Flags
    is_taught_B: Flags


def measure_groups(
    batch: SequenceBatch | None,
    users: GroupedUsers,
    *,
    methods: Mapping[str, Method],
    config: EvaluationConfig,
    notes: tuple[str, ...] = (),
) -> TaskResult:
    """Rank all others, or all violators where groups are of violators, for every fair query."""
    if batch is None or not any(users.group):
        return not_measurable(GROUPS, TITLE, "no label names a group", {})
    if config.within is not None and config.within not in batch.events.column_names:
        reason = f'there is no column "{config.within}", which "within" names'
        return not_measurable(GROUPS, TITLE, reason, {})
    ranked = rank_groups(batch, users, config)
    among = "known violators" if ranked.of_violators else "all users"
    notes = (f"candidates are {among} with at least {config.group_min_events} events", *notes)
    if ranked.num_taught:
        notes += (f"{ranked.num_taught} members are no queries: training knew their labels",)
    return measure_retrieval(
        GROUPS,
        TITLE,
        query=batch.take(ranked.query),
        gallery=batch.take(ranked.gallery),
        task=ranked.task,
        methods=methods,
        config=config,
        notes=notes,
    )


@dataclass(frozen=True)
class RankedGroups:
    """Who asks for members of groups, and who is ranked; rows of a batch.

    Attributes:
        query: Members who ask.
        gallery: Users who are ranked.
        task: Which answers are right.
        of_violators: Whether groups are of violators, so that only these are ranked.
        num_taught: Members who do not ask, since training knew their labels.
    """

    query: Int64s
    gallery: Int64s
    task: Task
    of_violators: bool
    num_taught: int


def rank_groups(
    batch: SequenceBatch, users: GroupedUsers, config: EvaluationConfig
) -> RankedGroups:
    """Choose who asks and who is ranked; somebody is in a group."""
    grouped_B = _codes(users.group) != NO_GROUP
    long_B = batch.num_events >= config.group_min_events
    of_violators = bool(users.is_violator_B[grouped_B].mean() > 0.9)
    gallery = np.flatnonzero(long_B & (users.is_violator_B | (not of_violators)))
    query = np.flatnonzero(long_B & grouped_B & ~users.is_taught_B)
    num_taught = int((long_B & grouped_B & users.is_taught_B).sum())
    task = _task(batch, users, query, gallery, config)
    return RankedGroups(query, gallery, task, of_violators, num_taught)


def dominant_values(batch: SequenceBatch, column: str) -> Int64s:
    """Return a code of each user's most frequent value; the smallest hash among equals."""
    value_E = np.unique(hash_column(batch.events[column]), return_inverse=True)[1]
    num_values = int(value_E.max(initial=0)) + 1
    pair, count = np.unique(owners(batch) * num_values + value_E, return_counts=True)
    user, value = pair // num_values, pair % num_values
    order = np.lexsort((value, -count, user))
    first = np.unique(user[order], return_index=True)[1]
    dominant_B = np.full(batch.num_users, -1, dtype=np.int64)
    dominant_B[user[order][first]] = value[order][first]
    return dominant_B


def _task(
    batch: SequenceBatch,
    users: GroupedUsers,
    query: Int64s,
    gallery: Int64s,
    config: EvaluationConfig,
) -> Task:
    group_B, unverified_B = _codes(users.group), _codes(users.unverified)
    within_B = np.zeros(batch.num_users, dtype=np.int64)
    if config.within is not None:
        within_B = dominant_values(batch, config.within)
    place_B = np.full(batch.num_users, -1, dtype=np.int64)
    place_B[gallery] = np.arange(len(gallery))
    return Task(
        group_B[query],
        group_B[gallery],
        place_B[query],
        within_B[query],
        within_B[gallery],
        unverified_B[query],
        unverified_B[gallery],
    )


def _codes(names: Sequence[str | None]) -> Int64s:
    """Return a number per distinct name; -1 for None and the empty name."""
    filled = np.array([name or "" for name in names], dtype=object)
    distinct, code = np.unique(filled.astype(str), return_inverse=True)
    return np.where(distinct[code] == "", NO_GROUP, code).astype(np.int64)
