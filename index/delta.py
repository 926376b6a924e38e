"""Users who came or changed since a build was made, searched beside it.

Small deltas are searched exactly. Where that would cost more than its budget, a graph finds the
candidates among the users who came first; the rest stays exact until the graph is grown again.
All of it is immutable: a change makes another delta, which shares the vectors with the one before.

Users who share a vector are one group, as those of a build are one entry: a group is found and
ranked by the vector of its first slot.

Shape key: `S` slots (rows of the delta, dead ones included), `G` groups, `M` users of a change,
`Q` queries, `K` groups found, `D` dimensions.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index.build import AS_STORED
from index.config import IndexConfig
from index.distinct import Entries
from index.errors import BuildInvalid
from index.exact import ExactIndex
from index.growing import grow_graph
from index.grown_rows import GrownRows
from index.hnsw import HnswIndex
from index.merging import merge_neighbors, scored
from index.overlay import CHANGES_SCHEMA, LABEL_COLUMNS
from index.projections import Projections
from index.vectors import Floats, Neighbors, Rows, Vectors, check_stored

SEEN_COLUMNS = ("user_id", "num_events", "first_ts_us", "last_ts_us", "fingerprint")
SEEN_SCHEMA = pa.schema(
    [("user_id", pa.large_string()), *((name, pa.int64()) for name in SEEN_COLUMNS[1:])]
)
DELTA_SCHEMA = pa.schema(
    [*SEEN_SCHEMA, *(field for field in CHANGES_SCHEMA if field.name in LABEL_COLUMNS)]
)
DEAD_MIN = 1_024
"""Dead slots that are always put up with; above it the delta is packed when half of it is dead."""
GRAPH_EFFORT = 256


@dataclass(frozen=True)
class ChangedUsers:
    """Users as they are now, to be answered for instead of what the build says.

    Attributes:
        users: Columns of `DELTA_SCHEMA`, a user once; those of labels may be missing, and count for
            whom the build does not know.
        vectors_MD: Their unit vectors.
        space_id: Of the encoder that made them.
        seen_at: All their events that were there at this time were seen.
        gone: Users who have no events any more.
    """

    users: pa.Table
    vectors_MD: Vectors
    space_id: str
    seen_at: datetime
    gone: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        check_stored(self.vectors_MD)
        if self.users.num_rows != len(self.vectors_MD):
            raise BuildInvalid(
                f"{self.users.num_rows} users and {len(self.vectors_MD)} vectors make no change"
            )
        ids = self.users["user_id"].to_pylist()
        if len({*ids, *self.gone}) != len(ids) + len(self.gone):
            raise BuildInvalid("a user must be among the changed ones once")


@dataclass(frozen=True)
class Alike:
    """With whom users who join a delta share a vector.

    Attributes:
        first_slot_M: First slot of each one's group; it may be the own one.
        entry_M: Entry of the build whose vector each shares, -1 for none.
    """

    first_slot_M: Rows
    entry_M: Rows


@dataclass(frozen=True)
class Delta:
    """The users who came or changed.

    Attributes:
        vectors: Of all slots.
        penalties: Hub corrections of all slots by purpose, as `index.build` names them; empty where
            the build has none.
        table: Columns of `DELTA_SCHEMA` for all slots.
        own_rows_S: Row of each user in the build, -1 for none.
        first_slot_S: First slot of each one's group.
        entry_S: Entry of the build whose vector each shares, -1 for none.
        seen_us_S: When each was seen.
        is_alive_S: False for slots whose users changed again or went.
        slot_of: Slot of each user who is there.
        gone: Users of the build who have no events any more, and when that was seen.
        graph: Finds candidates among the first groups; None while all is searched exactly.
        lineage: The same object as long as slots keep their numbers.
    """

    vectors: GrownRows
    penalties: Mapping[str, Floats]
    table: pa.Table
    own_rows_S: Rows
    first_slot_S: Rows
    entry_S: Rows
    seen_us_S: Rows
    is_alive_S: npt.NDArray[np.bool_]
    slot_of: Mapping[str, int]
    gone: Mapping[str, int]
    graph: HnswIndex | None = None
    lineage: object = field(default_factory=object)

    @classmethod
    def none(cls, dim: int) -> "Delta":
        """Hold nobody."""
        no_row: Rows = np.empty(0, dtype=np.int64)
        return cls(
            GrownRows.none(dim),
            {},
            DELTA_SCHEMA.empty_table(),
            no_row,
            no_row,
            no_row,
            no_row,
            np.empty(0, dtype=bool),
            {},
            {},
        )

    @property
    def num_users(self) -> int:
        """Users who are there."""
        return len(self.slot_of)

    @property
    def num_slots(self) -> int:
        """S."""
        return self.vectors.num_rows

    @cached_property
    def alive_slots(self) -> Rows:
        """Slots of the users who are there, ascending."""
        return np.flatnonzero(self.is_alive_S)

    def exact(self, purpose: str = AS_STORED) -> ExactIndex:
        """Return what searches slots exactly; which of them is the caller's to say."""
        return ExactIndex(self.vectors.rows_SD, self.penalties.get(purpose))

    @cached_property
    def groups(self) -> Entries:
        """Slots by group, dead ones included; groups keep their numbers when others come."""
        return Entries.of_first_rows(self.first_slot_S)

    @cached_property
    def is_alive_G(self) -> npt.NDArray[np.bool_]:
        """True for groups that have a user."""
        return self._have_one_of(self.is_alive_S)

    @cached_property
    def group_of_entry(self) -> Mapping[int, int]:
        """The group that shares the vector of an entry of the build; no entry has two."""
        entry_G = self.entry_S[self.groups.first_rows_E]
        group_A = np.flatnonzero(entry_G >= 0)
        return dict(zip(entry_G[group_A].tolist(), group_A.tolist(), strict=True))

    @cached_property
    def projections(self) -> Projections:
        """Tell which slot a vector equals, among groups that have a user."""
        return Projections.of(self.vectors.rows_SD, self.is_alive_G[self.groups.entry_N])

    def slots_of(self, user_ids: Collection[str]) -> Rows:
        """Return the slot of each user, -1 where the user is not there."""
        slots = (self.slot_of.get(user_id, -1) for user_id in user_ids)
        return np.fromiter(slots, np.int64, len(user_ids))

    def adding(
        self,
        users: pa.Table,
        vectors_MD: Vectors,
        penalties: Mapping[str, Floats],
        *,
        own_rows_M: Rows,
        alike: Alike,
        seen_us_M: Rows,
    ) -> "Delta":
        """Return the delta with these users, who replace themselves where they are there."""
        users = _with_all_columns(users)
        ids: list[str] = users["user_id"].to_pylist()
        first, back = self.num_slots, self.gone.keys() & ids
        is_alive_S = np.concatenate([self.is_alive_S, np.ones(len(ids), dtype=bool)])
        before = self.slots_of(ids)
        is_alive_S[before[before >= 0]] = False
        return replace(
            self,
            vectors=self.vectors.adding(vectors_MD),
            penalties={
                name: np.concatenate([self.penalties.get(name, penalty_M[:0]), penalty_M])
                for name, penalty_M in penalties.items()
            },
            table=pa.concat_tables([self.table, users]).combine_chunks(),
            own_rows_S=np.concatenate([self.own_rows_S, own_rows_M]),
            first_slot_S=np.concatenate([self.first_slot_S, alike.first_slot_M]),
            entry_S=np.concatenate([self.entry_S, alike.entry_M]),
            seen_us_S=np.concatenate([self.seen_us_S, seen_us_M]),
            is_alive_S=is_alive_S,
            slot_of={**self.slot_of, **dict(zip(ids, range(first, first + len(ids)), strict=True))},
            gone={name: seen for name, seen in self.gone.items() if name not in back},
        )._packed()

    def without(self, user_ids: Collection[str], *, gone_us: int | None = None) -> "Delta":
        """Return the delta without these users; `gone_us` is when they were seen to be gone."""
        slots = self.slots_of(user_ids)
        gone = {} if gone_us is None else dict.fromkeys(user_ids, gone_us)
        if (slots < 0).all() and not gone:
            return self
        is_alive_S = self.is_alive_S.copy()
        is_alive_S[slots[slots >= 0]] = False
        leaving = set(user_ids)
        slot_of = {name: slot for name, slot in self.slot_of.items() if name not in leaving}
        delta = replace(self, is_alive_S=is_alive_S, slot_of=slot_of, gone={**self.gone, **gone})
        return delta._packed()

    def search(
        self,
        query_QD: Vectors,
        *,
        k: int,
        among_S: npt.NDArray[np.bool_] | None = None,
        exact: bool = False,
        purpose: str = AS_STORED,
    ) -> Neighbors:
        """Return the k best groups for each query with their exact scores.

        Args:
            query_QD: Unit vectors.
            k: Groups per query.
            among_S: Only groups with one of these slots, exactly; with any that is alive if absent.
            exact: Look at every group although there is a graph.
            purpose: Whose hub corrections count; the graph knows those of vectors as they are.
        """
        groups = self.groups
        if not groups.num_entries:
            return Neighbors.none(len(query_QD), k)
        has_user_G = self.is_alive_G if among_S is None else self._have_one_of(among_S)
        whole = self.exact(purpose)
        if self.graph is None or exact or among_S is not None or purpose != AS_STORED:
            return self._search_flat(whole, query_QD, has_user_G, 0, k)
        linked = self._search_graph(self.graph, query_QD, has_user_G, k)
        later = self._search_flat(whole, query_QD, has_user_G, self.graph.num_entries, k)
        return merge_neighbors([linked, later], k=k)

    def wants_graph(self, config: IndexConfig) -> bool:
        """Tell whether what is searched exactly costs more than its budget."""
        num_linked = 0 if self.graph is None else self.graph.num_entries
        num_flat = self.groups.num_entries - num_linked
        dim = int(self.vectors.rows_SD.shape[1])
        return num_flat * dim > config.delta_exact_multiplications

    def grown_graph(self, config: IndexConfig) -> HnswIndex:
        """Return a graph of all groups of now; it takes long, and changes nothing that is there."""
        num_linked = 0 if self.graph is None else self.graph.num_entries
        new = self.groups.first_rows_E[num_linked:]
        if self.graph is not None and not len(new):
            return self.graph
        penalty = self.penalties[AS_STORED][new] if self.penalties else None
        effort = max(GRAPH_EFFORT, config.ef_search)
        return grow_graph(self.graph, self.vectors.rows_SD[new], penalty, config, effort=effort)

    def adopting(self, graph: HnswIndex, made_from: "Delta") -> "Delta":
        """Return the delta with a graph that was made meanwhile of it as it was before.

        Where it was packed since, the groups are others, and the graph is not adopted.
        """
        return replace(self, graph=graph) if self.lineage is made_from.lineage else self

    def _have_one_of(self, is_chosen_S: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Tell which groups have one of these slots."""
        has_one_G = np.zeros(self.groups.num_entries, dtype=bool)
        has_one_G[self.groups.entry_N[is_chosen_S]] = True
        return has_one_G

    def _search_flat(
        self,
        whole: ExactIndex,
        query_QD: Vectors,
        has_user_G: npt.NDArray[np.bool_],
        first: int,
        k: int,
    ) -> Neighbors:
        """Search the groups from one on."""
        slots = self.groups.first_rows_E[first:][has_user_G[first:]]
        if len(slots) == self.num_slots:
            found = whole.search(query_QD, k=k)
        else:
            found = whole.search_rows(query_QD, slots, k=k)
        group_QK = np.where(found.rows_QK >= 0, self.groups.entry_N[found.rows_QK], -1)
        return Neighbors(group_QK, found.score_QK)

    def _search_graph(
        self, graph: HnswIndex, query_QD: Vectors, has_user_G: npt.NDArray[np.bool_], k: int
    ) -> Neighbors:
        """Search the groups that are linked; those without users take no place."""
        most, spare = int((~has_user_G[: graph.num_entries]).sum()), 0
        while True:
            group_QK = graph.search_entries(query_QD, k=k + spare).rows_QK
            is_hit_QK = (group_QK >= 0) & has_user_G[group_QK]
            is_short_Q = is_hit_QK.sum(axis=1) < k
            if spare == most or not (is_short_Q & (group_QK[:, -1] >= 0)).any():
                break
            spare = min(most, max(k, 4 * spare))
        slot_QK = np.where(is_hit_QK, self.groups.first_rows_E[group_QK], -1)
        found = scored(self.exact(), query_QD, slot_QK, k=k)
        group_QK = np.where(found.rows_QK >= 0, self.groups.entry_N[found.rows_QK], -1)
        return Neighbors(group_QK, found.score_QK)

    def _packed(self) -> "Delta":
        """Return the delta without its dead slots, where they are too many."""
        num_dead = self.num_slots - self.num_users
        if num_dead <= max(DEAD_MIN, self.num_users):
            return self
        kept = self.alive_slots
        table = self.table.take(pa.array(kept))
        _, first, group = np.unique(self.first_slot_S[kept], return_index=True, return_inverse=True)
        return replace(
            self,
            vectors=self.vectors.taking(kept),
            penalties={name: penalty_S[kept] for name, penalty_S in self.penalties.items()},
            table=table,
            own_rows_S=self.own_rows_S[kept],
            first_slot_S=first[group].astype(np.int64),
            entry_S=self.entry_S[kept],
            seen_us_S=self.seen_us_S[kept],
            is_alive_S=np.ones(len(kept), dtype=bool),
            slot_of=dict(zip(table["user_id"].to_pylist(), range(len(kept)), strict=True)),
            graph=None,
            lineage=object(),
        )


def _with_all_columns(users: pa.Table) -> pa.Table:
    """Return users with the columns of `DELTA_SCHEMA`; missing ones are null."""
    columns = [
        users[field.name]
        if field.name in users.column_names
        else pa.nulls(users.num_rows, field.type)
        for field in DELTA_SCHEMA
    ]
    return pa.table(columns, names=DELTA_SCHEMA.names).cast(DELTA_SCHEMA)
