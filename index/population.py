"""Everyone who is answered for: the users of a build, and what became of them since.

Rows below N are those of the build; the slots of the delta are numbered on from there. Whoever was
erased or is in the delta is hidden in the build. Each change makes another population, so a request
sees one moment from its beginning to its end.

Shape key: `N` users of the build, `S` slots of the delta, `M` rows asked for, `C` relabelled users.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index.alike import find_alike, share_penalties
from index.build import AS_STORED, Build
from index.delta import ChangedUsers, Delta
from index.errors import SpaceMismatch
from index.filters import FilterTable
from index.hubness import HubReferences
from index.overlay import LABEL_COLUMNS, LabelOverlay
from index.tombstones import Tombstones
from index.users import USERS_SCHEMA, Shown, UserTable
from index.vectors import Floats, Rows, Vectors
from store.clock import to_us


@dataclass(frozen=True)
class Population:
    """One moment's users.

    Attributes:
        erased: All erased users, whether the build holds them or not.
        hidden: Rows of the build that are not answered with.
        unlabelled: Those and the rows of relabelled users, for searches that ask for labels.
        overlay: Labels that changed since the build.
        delta: Users who came or changed since the build.
        delta_users: Those of all slots, with their labels.
        references: For hub corrections of the delta; None where the build has none.
        num_violators: Known violators among those who are answered for.
    """

    build: Build
    erased: frozenset[str]
    hidden: Tombstones
    unlabelled: Tombstones
    overlay: LabelOverlay
    delta: Delta
    delta_users: UserTable
    references: HubReferences | None
    num_violators: int

    @classmethod
    def of(cls, build: Build) -> "Population":
        """Return the users of a build as it was made."""
        manifest = build.manifest
        references = None
        if manifest.hub_corrected:
            scales = {AS_STORED: None} | {
                purpose: view.scale_D for purpose, view in build.purposes.items()
            }
            references = HubReferences.of(build.vectors_ND, build.entries, manifest.config, scales)
        hidden = Tombstones.none(manifest.num_users)
        delta = Delta.none(manifest.dim)
        nobody = UserTable.of(USERS_SCHEMA.empty_table())
        return cls(
            build,
            frozenset(),
            hidden,
            hidden,
            LabelOverlay.none(),
            delta,
            nobody,
            references,
            len(build.violator_rows),
        )

    def without_users(self, erased: Collection[str]) -> "Population":
        """Return this population, with these users gone for good; the same if nobody is new."""
        new = frozenset(erased) - self.erased
        if not new:
            return self
        hidden = self.hidden.adding(self.build.users, new)
        return self._with(erased=self.erased | new, hidden=hidden, delta=self.delta.without(new))

    def with_labels(self, changes: pa.Table) -> "Population":
        """Return this population, with the labels of now.

        Args:
            changes: The labels in force of every user whose label may have changed since the build,
                columns of `index.overlay.CHANGES_SCHEMA`; nulls for one who has none.
        """
        return self._with(overlay=self.overlay.replaced_by(self.build.users, changes))

    def with_changed(self, changed: ChangedUsers, *, users_max: int) -> "Population":
        """Return this population, with users as they are now, as far as there is room for them.

        Erased users stay erased.

        Args:
            changed: Who came or changed or has no events left.
            users_max: Most users of the delta; those who are in it already may always change.

        Raises:
            SpaceMismatch: If the vectors are of another space than the build's.
        """
        space_id = self.build.manifest.space_id
        if changed.space_id != space_id:
            raise SpaceMismatch(
                f"the changed users are of space {changed.space_id!r}, the build of {space_id!r}"
            )
        seen_us = to_us(changed.seen_at)
        kept = self.admitted(changed.users["user_id"].to_pylist(), users_max=users_max)
        users, vectors_MD = changed.users.take(pa.array(kept)), changed.vectors_MD[kept]
        seen_us_M = np.full(len(kept), seen_us, dtype=np.int64)
        population = self._adding(users, vectors_MD, seen_us_M)
        gone = changed.gone - self.erased
        if gone:
            population = population._with(
                hidden=population.hidden.adding(self.build.users, gone),
                delta=population.delta.without(gone, gone_us=seen_us),
            )
        return population

    def admitted(self, user_ids: Sequence[str], *, users_max: int) -> Rows:
        """Return the places of those who may join the delta; no erased user may."""
        is_there = np.array([user_id not in self.erased for user_id in user_ids], dtype=bool)
        is_new = is_there & (self.delta.slots_of(user_ids) < 0)
        has_room = np.cumsum(is_new) <= users_max - self.delta.num_users
        return np.flatnonzero(is_there & (~is_new | has_room))

    def carrying(self, before: "Population") -> "Population":
        """Return this population, of a build just loaded, with what an earlier one knows beyond.

        That are erasures, and users who were seen after the build's data. Labels are not carried:
        which of them changed depends on the build. Nor are vectors of another space.
        """
        population = self.without_users(before.erased)
        before = before.without_users(population.erased)  # either may know of more
        build, delta = self.build, before.delta
        if build.manifest.space_id != before.build.manifest.space_id:
            return population
        as_of_us = to_us(build.manifest.data_as_of)
        slots = delta.alive_slots[delta.seen_us_S[delta.alive_slots] >= as_of_us]
        population = population._adding(
            delta.table.take(pa.array(slots)), delta.vectors.rows_SD[slots], delta.seen_us_S[slots]
        )
        gone = {user_id: seen for user_id, seen in delta.gone.items() if seen >= as_of_us}
        if not gone:
            return population
        return population._with(
            hidden=population.hidden.adding(build.users, gone),
            delta=replace(population.delta, gone=gone),
        )

    def catching_up(self, now: "Population") -> "Population":
        """Return this population with what became meanwhile of the one that it was made from.

        That are erasures, labels, and a graph of the delta: whoever adds users or takes another
        build lets nobody else do so.
        """
        assert now.build is self.build, "another build is served"
        population = self.without_users(now.erased)
        if now.overlay is not population.overlay:
            population = population._with(overlay=now.overlay)
        graph = now.delta.graph
        if graph is None or graph is population.delta.graph:
            return population
        return population.with_delta(population.delta.adopting(graph, now.delta))

    def with_delta(self, delta: Delta) -> "Population":
        """Return this population with the same users in a delta that is searched another way."""
        return replace(self, delta=delta)

    @cached_property
    def delta_filters(self) -> FilterTable:
        """What filters ask of the users of the delta; rows are slots."""
        return FilterTable(self.delta_users)

    @property
    def num_users(self) -> int:
        """Users who are answered for."""
        return self.first_slot - self.hidden.num_hidden + self.delta.num_users

    def rows_of(self, user_ids: Sequence[str]) -> Rows:
        """Return the row of each user, -1 where there is none."""
        row_M = self.hidden.rows_of(self.build.users, user_ids)
        if not self.delta.num_users:
            return row_M
        slot_M = self.delta.slots_of(user_ids)
        return np.where(slot_M >= 0, slot_M + self.first_slot, row_M)

    def rows(self) -> Rows:
        """Return the rows of everyone, ascending."""
        rows = self.hidden.visible(np.arange(self.first_slot, dtype=np.int64))
        return np.concatenate([rows, self.delta.alive_slots + self.first_slot])

    def build_rows_of(self, rows_M: Rows) -> Rows:
        """Return the row that each user has in the build, -1 for none."""
        slot_M = rows_M - self.first_slot
        if (slot_M < 0).all():
            return rows_M
        own_rows_M: Rows = np.where(
            slot_M < 0, rows_M, self.delta.own_rows_S[np.maximum(slot_M, 0)]
        )
        return own_rows_M

    def vectors_of(self, rows_M: Rows) -> Vectors:
        """Return the vectors of some rows, M by D."""
        vectors_SD = self.delta.vectors.rows_SD
        return np.ascontiguousarray(self._picked(rows_M, self.build.vectors_ND, vectors_SD))

    def num_events_of(self, rows_M: Rows) -> Rows:
        """Return how many events stand behind each vector."""
        users, added = self.build.users, self.delta_users
        num_events_M: Rows = self._picked(rows_M, users.num_events_N, added.num_events_N)
        return num_events_M

    def fingerprints_of(self, rows_M: Rows) -> Rows:
        """Return the fingerprints of the events behind each vector."""
        users, added = self.build.users.table, self.delta_users.table
        fingerprint_M: Rows = self._picked(
            rows_M, users["fingerprint"].to_numpy(), added["fingerprint"].to_numpy()
        )
        return fingerprint_M

    def silence_us_of(self, rows_M: Rows) -> Rows:
        """Return how long before the newest event each user's last one was.

        Who is in the build as before is judged at the time of its data, who came or changed since
        at the time of the newest event of all.
        """
        users, added = self.build.users, self.delta_users
        is_added_M = rows_M >= self.first_slot
        last_us_M = self._picked(rows_M, users.last_ts_us_N, added.last_ts_us_N)
        newest_us = max(users.newest_us, added.newest_us) if is_added_M.any() else 0
        silence_us_M: Rows = np.where(is_added_M, newest_us, users.newest_us) - last_us_M
        return silence_us_M

    def is_violator(self, rows_M: Rows) -> npt.NDArray[np.bool_]:
        """Tell who is a known violator now."""
        label_M = self._picked(rows_M, self.build.users.label_N, self.delta_users.label_N)
        place_M = self.overlay.places_of(rows_M)
        if (place_M >= 0).any():
            label_M = np.where(place_M >= 0, self.overlay.users.label_N[place_M], label_M)
        is_violator_M: npt.NDArray[np.bool_] = label_M == 1
        return is_violator_M

    def ids_of(self, rows_M: Rows) -> list[str]:
        """Return the ids of some rows."""
        if (rows_M < self.first_slot).all():
            return self.build.users.ids_of(rows_M)
        return [users.ids[row].as_py() for users, row in self._records(rows_M)]

    def shown(self, rows_M: Rows) -> Shown:
        """Return what answers tell of some rows."""
        if self.delta.num_slots and (rows_M >= self.first_slot).any():
            return Shown(
                self.ids_of(rows_M),
                self.is_violator(rows_M).tolist(),
                [
                    users.policies[row].as_py() if users.label_N[row] == 1 else None
                    for users, row in self._records(rows_M)
                ],
                self.num_events_of(rows_M).tolist(),
            )
        shown = self.build.users.shown(rows_M)
        if len(self.overlay.rows_C):
            place_M = self.overlay.places_of(rows_M)
            relabelled = np.flatnonzero(place_M >= 0)
            now = self.overlay.users.shown(place_M[relabelled])
            for place, is_violator, policy in zip(
                relabelled.tolist(), now.known_violator, now.policies, strict=True
            ):
                shown.known_violator[place], shown.policies[place] = is_violator, policy
        return shown

    def record_of(self, row: int) -> tuple[UserTable, int]:
        """Return the table in which a user stands with the label of now, and where."""
        return self._records(np.array([row]))[0]

    @property
    def first_slot(self) -> int:
        """Row of the delta's first slot: N."""
        return len(self.build.users)

    def _records(self, rows_M: Rows) -> list[tuple[UserTable, int]]:
        """Return table and place of each row."""
        first = self.first_slot
        return [
            (self.delta_users, row - first)
            if row >= first
            else (self.overlay.users, place)
            if place >= 0
            else (self.build.users, row)
            for row, place in zip(
                rows_M.tolist(), self.overlay.places_of(rows_M).tolist(), strict=True
            )
        ]

    def _picked(self, rows_M: Rows, main_N: Any, added_S: Any) -> Any:
        """Return the values of rows, from the array of the build or that of the delta."""
        is_added_M = rows_M >= self.first_slot
        if not is_added_M.any():
            return np.asarray(main_N[rows_M])
        value_M = np.empty((len(rows_M), *main_N.shape[1:]), dtype=main_N.dtype)
        value_M[~is_added_M] = main_N[rows_M[~is_added_M]]
        value_M[is_added_M] = added_S[rows_M[is_added_M] - self.first_slot]
        return value_M

    def _adding(self, users: pa.Table, vectors_MD: Vectors, seen_us_M: Rows) -> "Population":
        """Return this population with users in the delta and hidden in the build."""
        if not users.num_rows:
            return self
        row_M = self.build.users.rows_of(users["user_id"].to_pylist())
        alike = find_alike(self.build, self.delta, vectors_MD)
        penalties: dict[str, Floats] = {}
        if self.references is not None:
            penalties = share_penalties(
                self.build, self.delta, alike, self.references.penalties(vectors_MD, row_M)
            )
        delta = self.delta.adding(
            users,
            vectors_MD,
            penalties,
            own_rows_M=row_M,
            alike=alike,
            seen_us_M=seen_us_M,
        )
        return self._with(delta=delta, hidden=self.hidden.hiding(row_M[row_M >= 0]))

    def _with(self, **changed: Any) -> "Population":
        """Return this population with parts changed, and with what follows from them."""
        population = replace(self, **changed)
        build, overlay, delta = population.build, population.overlay, population.delta
        delta_users = self.delta_users
        if delta is not self.delta or overlay is not self.overlay:
            delta_users = UserTable.of(overlay.apply(_unlabelled_users(delta, build.users)))
        unlabelled = population.hidden
        if len(overlay.rows_C):
            unlabelled = unlabelled.hiding(overlay.rows_C)
        num_violators = (
            len(unlabelled.visible(build.violator_rows))
            + len(population.hidden.visible(overlay.rows_C[overlay.users.label_N == 1]))
            + int((delta_users.label_N[delta.alive_slots] == 1).sum())
        )
        return replace(
            population,
            unlabelled=unlabelled,
            delta_users=delta_users,
            num_violators=num_violators,
        )


def _unlabelled_users(delta: Delta, users: UserTable) -> pa.Table:
    """Return the users of all slots with the labels that the build knows of them.

    Whom it does not know has the label of when they were seen, which may be older than the build.
    """
    is_known = pa.array(delta.own_rows_S >= 0)
    own_rows = pa.array(delta.own_rows_S, mask=delta.own_rows_S < 0)
    known = users.table.select(LABEL_COLUMNS).take(own_rows)
    columns = [
        pc.if_else(is_known, known[name], delta.table[name])
        if name in LABEL_COLUMNS
        else delta.table[name]
        if name in delta.table.column_names
        else pa.nulls(delta.num_slots, USERS_SCHEMA.field(name).type)
        for name in USERS_SCHEMA.names
    ]
    return pa.table(columns, schema=USERS_SCHEMA)
