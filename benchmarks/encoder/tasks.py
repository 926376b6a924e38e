"""What is asked of every method of a study, on users whom none of them learned from.

Which tasks there are depends on what the data have: violators with times are judged for risk, and
those in groups are looked for; groups of others are persons with several accounts; users who are
long enough are recognised by halves of their lives.

Shape key: `N` users of a study.
"""

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.encoder.changes import without_column
from benchmarks.encoder.studies import OF_VIOLATORS_MIN, Study
from embedder.evaluation.early_risk import risk_name, risk_title, split_by_time, why_no_split
from embedder.evaluation.groups import GroupedUsers, rank_groups
from embedder.evaluation.metrics import Flags
from embedder.evaluation.ranking import Task, plain_task
from embedder.evaluation.retrieval import Question, ask, too_few_queries
from embedder.evaluation.sample import draw_rows, rows_of
from embedder.evaluation.split_halves import (
    DISJOINT,
    FULL,
    TITLES,
    split_in_halves,
    without_shared_targets,
)
from embedder.halves import Halves
from store.sequences import SequenceBatch

CAMPAIGNS, GROUPS = "campaigns", "groups"
BEHAVIOR = "split_halves_behavior_only"
CAMPAIGNS_TITLE = "Campaigns: a violator finds another of the same campaign among all violators"
GROUPS_TITLE = "Groups: an account finds another account of the same person"
RETRIEVAL = frozenset({CAMPAIGNS, GROUPS, FULL, DISJOINT, BEHAVIOR})
BEHAVIOR_TITLE = "Re-identification by behavior only: the halves again, without any targets"


@dataclass(frozen=True)
class RiskTask:
    """Users to be judged by their first events.

    Attributes:
        name: Fixed name.
        title: For people.
        prefix: How many first events are seen; None for all before the violation.
        tested: The users with these events.
        is_positive: Whether they are violators.
        counts: For the report.
    """

    name: str
    title: str
    prefix: int | None
    tested: SequenceBatch
    is_positive: Flags
    counts: dict[str, int]


@dataclass(frozen=True)
class RetrievalTask:
    """Users who are looked for by others.

    Attributes:
        name: Fixed name.
        title: For people.
        question: Who asks, who is ranked, and which answers are right.
    """

    name: str
    title: str
    question: Question

    @property
    def counts(self) -> dict[str, int]:
        """For the report."""
        return self.question.counts

    def changed(self, query: SequenceBatch, gallery: SequenceBatch) -> "RetrievalTask":
        """Return the same task with other events of the same users."""
        return replace(self, question=replace(self.question, query=query, gallery=gallery))


AnyTask = RiskTask | RetrievalTask


@dataclass(frozen=True)
class Unmeasured:
    """A task that the data have too little for, and why."""

    name: str
    title: str
    reason: str


@dataclass(frozen=True)
class Agenda:
    """What can be asked of a study, and what can't."""

    tasks: tuple[AnyTask, ...]
    unmeasured: tuple[Unmeasured, ...]

    def ranked(self) -> "Agenda":
        """Return the tasks in which users are looked for."""
        found = tuple(task for task in self.tasks if isinstance(task, RetrievalTask))
        return Agenda(found, tuple(one for one in self.unmeasured if one.name in RETRIEVAL))


def make_agenda(study: Study) -> Agenda:
    """Return all tasks of a study; the same for all methods and seeds."""
    found = [*_risks(study), *_groups(study), *_halves(study)]
    return Agenda(
        tuple(task for task in found if not isinstance(task, Unmeasured)),
        tuple(task for task in found if isinstance(task, Unmeasured)),
    )


def _risks(study: Study) -> list[RiskTask | Unmeasured]:
    people, config = study.people, study.config
    prefixes: tuple[int | None, ...] = (*config.prefixes, None)
    if study.cut_us is None or study.students is None:
        reason = "there are too few violators and others with times to learn from"
        return [Unmeasured(risk_name(prefix), risk_title(prefix), reason) for prefix in prefixes]
    earlier_us = study.cut_us - 1
    split = split_by_time(
        np.where(study.is_learned_N, earlier_us, people.first_us_N),
        people.label_N,
        cut_us=study.cut_us,
        end_us=int(people.last_us_N.max()),
        config=config,
        rng=np.random.default_rng([config.seed, 3]),
    )
    reason_why = why_no_split(split, config)
    tested = None if reason_why else study.read(split.test)
    if tested is None:
        reason = reason_why or "nobody is tested"
        return [Unmeasured(risk_name(prefix), risk_title(prefix), reason) for prefix in prefixes]
    assert np.array_equal(rows_of(tested, people.ids(split.test)), np.arange(len(split.test)))
    counts = split.counts() | {"learned_from": int(study.is_learned_N.sum())}
    return [
        RiskTask(
            risk_name(prefix),
            risk_title(prefix),
            prefix,
            tested if prefix is None else tested.head(prefix),
            split.is_positive_test,
            counts,
        )
        for prefix in prefixes
    ]


def _groups(study: Study) -> list[RetrievalTask | Unmeasured]:
    """Return the campaigns of violators, or the accounts of persons."""
    people, config = study.people, study.config
    grouped_N = np.array([bool(group) for group in people.group], dtype=np.bool_)
    if not grouped_N.any():
        return [Unmeasured(GROUPS, GROUPS_TITLE, "no label names a group")]
    of_violators = people.is_violator_N[grouped_N].mean() > OF_VIOLATORS_MIN
    name, title = (CAMPAIGNS, CAMPAIGNS_TITLE) if of_violators else (GROUPS, GROUPS_TITLE)
    least = 1 if of_violators else config.group_min_events
    config = config.model_copy(update={"group_min_events": least})
    wanted_N = people.num_events_N >= least
    if of_violators:
        wanted_N &= people.is_violator_N
    rows = np.flatnonzero(wanted_N)
    batch = study.read(rows)
    if batch is None:
        return [Unmeasured(name, title, "no user has enough events")]
    if config.within not in batch.events.column_names:
        config = config.model_copy(update={"within": None})
    verify = config.group_unverified
    users = GroupedUsers(
        [people.group[row] for row in rows.tolist()],
        [None] * len(rows) if verify is None else people.extra(verify, rows),
        people.is_violator_N[rows],
        study.is_learned_N[rows],
    )
    ranked = rank_groups(batch, users, config)
    return [
        _retrieval(
            name, title, batch.take(ranked.query), batch.take(ranked.gallery), ranked.task, study
        )
    ]


def _halves(study: Study) -> list[RetrievalTask | Unmeasured]:
    """Return the halves of users who were not learned from: full, at new targets, without any."""
    people, config, target = study.people, study.config, study.schema.target
    lived_us = people.last_us_N - people.first_us_N
    long_N = people.num_events_N >= 2 * config.half_min_events
    long_N &= (lived_us >= config.half_gap_hours * 3.6e9) & ~study.is_learned_N
    rows = draw_rows(
        np.flatnonzero(long_N), size_max=config.max_users, rng=np.random.default_rng([config.seed])
    )
    batch = study.read(rows)
    if batch is None:
        return [Unmeasured(FULL, TITLES[FULL], "no user is long enough")]
    halves = split_in_halves(batch, config)
    found = [_halved(FULL, TITLES[FULL], halves, study)]
    if target is not None:
        disjoint = without_shared_targets(halves, target, config)
        found.append(_halved(DISJOINT, TITLES[DISJOINT], disjoint, study))
        found.append(_halved(BEHAVIOR, BEHAVIOR_TITLE, _without(halves, target), study))
    return found


def _without(halves: Halves, target: str) -> Halves:
    drop, rng = without_column(target), np.random.default_rng(0)
    return Halves(drop(halves.first, rng), drop(halves.second, rng))


def _halved(name: str, title: str, halves: Halves, study: Study) -> RetrievalTask | Unmeasured:
    same = np.arange(halves.first.num_users, dtype=np.int64)
    task = plain_task(same, same, np.full(len(same), -1, dtype=np.int64))
    return _retrieval(name, title, halves.first, halves.second, task, study)


def _retrieval(
    name: str,
    title: str,
    query: SequenceBatch,
    gallery: SequenceBatch,
    task: Task,
    study: Study,
) -> RetrievalTask | Unmeasured:
    question = ask(query, gallery, task)
    reason = too_few_queries(question, study.config)
    return Unmeasured(name, title, reason) if reason else RetrievalTask(name, title, question)
