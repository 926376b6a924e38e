"""Retrieval tasks on one workspace: which users they take, and what they compare."""

from dataclasses import dataclass

import numpy as np

from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.groups import GROUPS, GroupedUsers, measure_groups
from embedder.evaluation.groups import TITLE as GROUPS_TITLE
from embedder.evaluation.methods import Encoder, retrieval_methods
from embedder.evaluation.metrics import Int64s
from embedder.evaluation.results import TaskResult, not_measurable
from embedder.evaluation.sample import draw_rows
from embedder.evaluation.split_halves import measure_split_halves
from jobs.people import People, read_sequences
from store.lake import EventLake
from store.sequences import SequenceBatch

UNSEEN_USERS_MIN = 200  # fewer users first seen after the cut, and all long users are taken


@dataclass(frozen=True)
class Trial:
    """What is measured, and on what.

    Attributes:
        lake: All events.
        people: All users, with all that is known about them today.
        cut_us: The encoder and the risk model saw nothing at or after this.
        embedder: The encoder.
        config: What is measured.
    """

    lake: EventLake
    people: People
    cut_us: int
    embedder: Encoder
    config: EvaluationConfig

    @property
    def columns(self) -> list[str]:
        """Columns that methods read."""
        names = [column.name for column in self.embedder.schema.columns]
        within = self.config.within
        return names if within is None or within in names else [*names, within]

    def read(self, rows: Int64s) -> SequenceBatch | None:
        """Read the sequences of some users."""
        return read_sequences(
            self.lake,
            self.people,
            rows,
            columns=self.columns,
            max_events=self.config.max_events,
        )

    def random(self, purpose: int) -> np.random.Generator:
        """Return the generator of a purpose, so that tasks do not shift each other's samples."""
        return np.random.default_rng([self.config.seed, purpose])


def measure_halves(trial: Trial) -> list[TaskResult]:
    """Re-identify users who are long enough; those first seen after the cut, if they suffice."""
    people, config = trial.people, trial.config
    lived_us = people.last_us_N - people.first_us_N
    long_N = people.num_events_N >= 2 * config.half_min_events
    long_N &= lived_us >= config.half_gap_hours * 3.6e9
    unseen = np.flatnonzero(long_N & (people.first_us_N >= trial.cut_us))
    enough = len(unseen) >= UNSEEN_USERS_MIN
    whose = "users first seen after training ended" if enough else "all users, seen or not"
    rows = unseen if enough else np.flatnonzero(long_N)
    rows = draw_rows(rows, size_max=config.max_users, rng=trial.random(1))
    return measure_split_halves(
        trial.read(rows),
        target=trial.embedder.schema.target,
        methods=retrieval_methods(trial.embedder),
        config=config,
        notes=(f"measured on {whose}", "identities are not in the training: it has no user ids"),
    )


def measure_group_task(trial: Trial) -> TaskResult:
    """Find members of known groups, by members whose labels training did not know."""
    people, config = trial.people, trial.config
    grouped_N = np.array([bool(group) for group in people.group], dtype=np.bool_)
    if not grouped_N.any():
        return not_measurable(GROUPS, GROUPS_TITLE, "no label names a group", {})
    long_N = people.num_events_N >= config.group_min_events
    others = np.flatnonzero(long_N & ~grouped_N)
    if people.is_violator_N[grouped_N].mean() > 0.9:
        others = others[people.is_violator_N[others]]
    others = draw_rows(others, size_max=config.max_users, rng=trial.random(2))
    rows = np.sort(np.concatenate([np.flatnonzero(grouped_N & long_N), others]))
    verify = config.group_unverified
    taught_N = people.is_violator_N & (people.known_us_N < trial.cut_us)
    users = GroupedUsers(
        [people.group[row] for row in rows.tolist()],
        [None] * len(rows) if verify is None else people.extra(verify, rows),
        people.is_violator_N[rows],
        taught_N[rows],
    )
    methods = retrieval_methods(trial.embedder)
    return measure_groups(trial.read(rows), users, methods=methods, config=config)
