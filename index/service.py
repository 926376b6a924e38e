"""One loaded build with its encoder and risk model, answering questions about users.

Shape key: `Q` queries, `K` neighbors, `D` dimensions, `F` risk features.
"""

from collections.abc import Callable, Collection, Sequence
from copy import copy
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from index.answers import (
    Freshness,
    NeighborAnswer,
    NeighborRequest,
    RiskAnswer,
    SearchMode,
    UnknownUser,
    UserProfile,
)
from index.build import RISK_DIR, Build
from index.builds import build_dir
from index.config import IndexConfig
from index.errors import BuildCorrupt, RiskUnavailable, SpaceMismatch
from index.events import Event, events_to_batch
from index.everywhere import find_everywhere
from index.loading import LoadEmbedder, LoadRiskModel, load_fitted_risk_model, load_trained_embedder
from index.milvus.collections import open_build
from index.parts import EventEmbedder, RiskAssessor
from index.population import Population
from index.profiles import read_rings, user_profile
from index.publish import live_build_id
from index.shaping import features_table, hits_of, risk_answer
from index.vectors import Rows, Vectors, unit_queries
from store.clock import to_us
from store.sequences import Int64s
from store.workspace import Workspace

FEATURES_AT_ONCE = 1_000

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class LookalikeService:
    """Answers from one build; immutable, so any number of threads may share it.

    Args:
        build: What to answer from.
        embedder: Of the build's space; embeds events that come with a query.
        risk: None where the build has no risk model.
        config: Limits, threads, and when a build is stale.
        clock: Tells the time.
    """

    def __init__(
        self,
        build: Build,
        embedder: EventEmbedder,
        risk: RiskAssessor | None,
        config: IndexConfig,
        *,
        clock: Clock = utc_now,
    ) -> None:
        manifest = build.manifest
        if (embedder.space_id, embedder.dim) != (manifest.space_id, manifest.dim):
            raise BuildCorrupt(
                f"build {manifest.build_id} is of space {manifest.space_id} ({manifest.dim} "
                f"dimensions), the encoder is of {embedder.space_id} ({embedder.dim}); "
                'run "lookalike rebuild"'
            )
        self._build = build
        self._embedder = embedder
        self._risk = risk
        self._config = config
        self._clock = clock
        self._rings = read_rings(build)
        self._population = Population.of(build)

    @classmethod
    def open(
        cls,
        workspace: Workspace,
        *,
        build_id: str | None = None,
        config: IndexConfig,
        erased_users: Collection[str] = (),
        load_embedder: LoadEmbedder = load_trained_embedder,
        load_risk_model: LoadRiskModel = load_fitted_risk_model,
        clock: Clock = utc_now,
    ) -> "LookalikeService":
        """Load a build, the live one unless told otherwise, with all that answers need.

        Erased users whom the build still holds are as if it did not.

        Raises:
            NoLiveBuild, BuildMissing, BuildIncompatible: If there is nothing to load.
            BuildCorrupt: If a file is missing, cut or changed, or parts do not fit together.
            embedder.errors.EmbedderError, MilvusError: If its encoder or collection can't be had.
        """
        return cls.of_directory(
            workspace,
            build_dir(workspace, live_build_id(workspace) if build_id is None else build_id),
            config=config,
            erased_users=erased_users,
            load_embedder=load_embedder,
            load_risk_model=load_risk_model,
            clock=clock,
        )

    @classmethod
    def of_directory(
        cls,
        workspace: Workspace,
        directory: Path,
        *,
        config: IndexConfig,
        erased_users: Collection[str] = (),
        load_embedder: LoadEmbedder = load_trained_embedder,
        load_risk_model: LoadRiskModel = load_fitted_risk_model,
        clock: Clock = utc_now,
    ) -> "LookalikeService":
        """Load a build from its folder, which may be a staged one; errors as those of `open`."""
        build = open_build(directory, config)
        embedder = load_embedder(workspace.models_dir / build.manifest.space_id)
        has_risk = (directory / RISK_DIR).is_dir()
        risk = load_risk_model(directory / RISK_DIR) if has_risk else None
        service = cls(build, embedder, risk, config, clock=clock)
        return service.without_users(erased_users)

    def without_users(self, erased_users: Collection[str]) -> "LookalikeService":
        """Return this service, with these users hidden too; what is loaded is shared."""
        return self.answering_for(self._population.without_users(erased_users))

    def answering_for(self, population: Population) -> "LookalikeService":
        """Return this service with another population of its build."""
        if population is self._population:
            return self
        service = copy(self)
        service._population = population
        return service

    @property
    def population(self) -> Population:
        """Who is answered for."""
        return self._population

    @property
    def embedder(self) -> EventEmbedder:
        """Makes vectors of the build's space."""
        return self._embedder

    @property
    def build(self) -> Build:
        """What the answers come from."""
        return self._build

    @property
    def build_id(self) -> str:
        return self._build.manifest.build_id

    @property
    def space_id(self) -> str:
        return self._build.manifest.space_id

    @property
    def data_as_of(self) -> datetime:
        """The build saw nothing at or after this time."""
        return self._build.manifest.data_as_of

    @property
    def created_at(self) -> datetime:
        return self._build.manifest.created_at

    @property
    def dim(self) -> int:
        return self._build.manifest.dim

    @property
    def num_users(self) -> int:
        """Users who may be asked about: of the build and since, without those who are erased."""
        return self._population.num_users

    @property
    def num_violators(self) -> int:
        return self._population.num_violators

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The blocks of the vectors; explained hits have one share of similarity for each."""
        return tuple(block.name for block in self._build.manifest.blocks)

    @property
    def search_mode(self) -> SearchMode:
        """How a search for everyone runs that does not ask for another mode."""
        return self._build.manifest.index

    def user_ids(self, start: int, stop: int) -> list[str]:
        """Return the ids of some of the users, by position: of the build in order, then since."""
        return self._population.ids_of(self._population.rows()[start:stop])

    def freshness(self) -> Freshness:
        """Return how old the build is now."""
        age_seconds = (self._clock() - self.created_at).total_seconds()
        stale = age_seconds >= self._config.stale_after_seconds
        return Freshness("stale" if stale else "fresh", age_seconds)

    def neighbors_of_users(
        self, user_ids: Sequence[str], request: NeighborRequest
    ) -> list[NeighborAnswer | UnknownUser]:
        """Return the neighbors of stored users, never the users themselves; order is kept."""
        rows_Q = self._population.rows_of(user_ids)
        known = np.flatnonzero(rows_Q >= 0)
        answers: list[NeighborAnswer | UnknownUser] = [UnknownUser(name) for name in user_ids]
        if len(known) == 0:
            return answers
        rows = rows_Q[known]
        found = self._neighbors(
            self._population.vectors_of(rows),
            request,
            own_rows_Q=rows,
            user_ids=[user_ids[place] for place in known.tolist()],
            num_events=self._population.num_events_of(rows).tolist(),
        )
        for place, answer in zip(known.tolist(), found, strict=True):
            answers[place] = answer
        return answers

    def neighbors_of_vectors(
        self, vectors_QD: Vectors, space_id: str, request: NeighborRequest
    ) -> list[NeighborAnswer]:
        """Return the neighbors of a caller's vectors, of any length but zero.

        Raises:
            SpaceMismatch, DimensionMismatch, NotAVector: If they are not of this build's space.
        """
        if space_id != self.space_id:
            raise SpaceMismatch(
                f"the vector is of space {space_id!r}, the live build of {self.space_id!r}; "
                "embed it again",
                pointer="space_id",
            )
        query_QD = unit_queries(vectors_QD, self.dim)
        num_queries = len(query_QD)
        return self._neighbors(
            query_QD, request, user_ids=[None] * num_queries, num_events=[None] * num_queries
        )

    def neighbors_of_events(
        self, sequences: Sequence[Sequence[Event]], request: NeighborRequest
    ) -> list[NeighborAnswer]:
        """Return the neighbors of sequences of events, embedded on the spot.

        Raises:
            InvalidEvents: If an event can't be read.
        """
        query_QD, num_events_Q, _ = self._embed(sequences)
        return self._neighbors(
            query_QD, request, user_ids=[None] * len(query_QD), num_events=num_events_Q.tolist()
        )

    def risk_of_users(self, user_ids: Sequence[str]) -> list[RiskAnswer | UnknownUser]:
        """Return the risk of stored users at the time of the build's data; order is kept.

        Raises:
            RiskUnavailable: If the build has no risk model.
        """
        rows_Q = self._population.rows_of(user_ids)
        known = np.flatnonzero(rows_Q >= 0)
        answers: list[RiskAnswer | UnknownUser] = [UnknownUser(name) for name in user_ids]
        rows = rows_Q[known]
        own_ids = [user_ids[place] for place in known.tolist()]
        population = self._population
        num_events_Q = population.num_events_of(rows)
        silence_us_Q = population.silence_us_of(rows)
        assessed = self._risk_model().assess(
            population.vectors_of(rows), num_events_Q, own_ids=own_ids, silence_us_Q=silence_us_Q
        )
        violator_Q = population.is_violator(rows)
        rings = self._rings.of(population.build_rows_of(rows))
        for query, (place, user_id) in enumerate(zip(known.tolist(), own_ids, strict=True)):
            answers[place] = risk_answer(
                assessed,
                query,
                user_id=user_id,
                num_events=int(num_events_Q[query]),
                ring=rings[query],
                known_violator=bool(violator_Q[query]),
            )
        return answers

    def risk_of_events(self, sequences: Sequence[Sequence[Event]]) -> list[RiskAnswer]:
        """Return the risk of whoever did these events, and none since.

        Raises:
            InvalidEvents: If an event can't be read.
            RiskUnavailable: If the build has no risk model.
        """
        query_QD, num_events_Q, last_us_Q = self._embed(sequences)
        silence_us_Q = to_us(self._clock()) - last_us_Q
        assessed = self._risk_model().assess(
            query_QD, num_events_Q, own_ids=[None] * len(query_QD), silence_us_Q=silence_us_Q
        )
        return [
            risk_answer(
                assessed,
                query,
                user_id=None,
                num_events=int(num_events),
                ring=None,
                known_violator=False,
            )
            for query, num_events in enumerate(num_events_Q.tolist())
        ]

    def features_of_users(self, user_ids: Sequence[str]) -> pa.Table:
        """Return the neighbor features that the risk rests on, one row per id asked for.

        Returns:
            `user_id`, `found`, `num_events`, and one float32 column per feature; all but the
            first two are null where the user is not found.

        Raises:
            RiskUnavailable: If the build has no risk model.
        """
        names = self._risk_model().feature_names
        rows_Q = self._population.rows_of(user_ids)
        found_Q = rows_Q >= 0
        rows = rows_Q[found_Q]
        feature_MF = self._features(
            rows, [user_ids[place] for place in np.flatnonzero(found_Q).tolist()]
        )
        num_events_M = self._population.num_events_of(rows)
        return features_table(user_ids, found_Q, num_events_M, names, feature_MF)

    def profile(self, user_id: str) -> UserProfile | UnknownUser:
        """Return what is known of a user."""
        rows = self._population.rows_of([user_id])
        if rows[0] < 0:
            return UnknownUser(user_id)
        users, row = self._population.record_of(int(rows[0]))
        return user_profile(users, row, self._rings.of(self._population.build_rows_of(rows))[0])

    def _neighbors(
        self,
        query_QD: Vectors,
        request: NeighborRequest,
        *,
        user_ids: Sequence[str | None],
        num_events: Sequence[int | None],
        own_rows_Q: Rows | None = None,
    ) -> list[NeighborAnswer]:
        people, state = self._population, self.freshness().state
        found, modes_Q = find_everywhere(people, query_QD, request, own_rows_Q=own_rows_Q)
        return [
            NeighborAnswer(
                user_id, hits_of(people, query_D, found_by_query, request), mode, count, state
            )
            for user_id, mode, count, query_D, found_by_query in zip(
                user_ids, modes_Q, num_events, query_QD, found, strict=True
            )
        ]

    def _embed(self, sequences: Sequence[Sequence[Event]]) -> tuple[Vectors, Int64s, Int64s]:
        """Return a vector, the number of events and the time of the last one per sequence."""
        nothing: Int64s = np.empty(0, dtype=np.int64)
        if len(sequences) == 0:
            return np.empty((0, self.dim), dtype=np.float32), nothing, nothing
        batch = events_to_batch(sequences, self._embedder.schema, self._config, now=self._clock())
        return self._embedder.embed(batch), batch.num_events, batch.ts_us[batch.offsets[1:] - 1]

    def _features(self, rows_M: Rows, own_ids: Sequence[str]) -> Vectors:
        """Return the features of some rows, M by F; memory grows with M by F alone."""
        parts = [np.empty((0, len(self._risk_model().feature_names)), dtype=np.float32)]
        for start in range(0, len(rows_M), FEATURES_AT_ONCE):
            rows = rows_M[start : start + FEATURES_AT_ONCE]
            ids = own_ids[start : start + FEATURES_AT_ONCE]
            assessed = self._risk_model().assess(
                self._population.vectors_of(rows),
                self._population.num_events_of(rows),
                own_ids=ids,
            )
            parts.append(assessed.features_QF.astype(np.float32))
        return np.concatenate(parts)

    def _risk_model(self) -> RiskAssessor:
        if self._risk is None:
            raise RiskUnavailable(
                f"build {self.build_id} has no risk model: there were too few labels to fit one"
            )
        return self._risk
