"""Who is in which ring, by id: what the risk model keeps of a build's rings.

Shape key: `N` users, `R` rings, `Q` users asked about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index.risk.ring_rates import NO_RING, Asked, RingRates
from store.sequences import Int64s

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RingMembership:
    """Rings and known violators among the users of a build.

    Attributes:
        user_ids: Each once.
        ring_N: Ring of each, -1 for none.
        is_violator_N: Whether the user is a known violator.
        num_users: Of the build; more than N where only those are kept who count in some way.
    """

    user_ids: pa.Array
    ring_N: Int64s
    is_violator_N: Bools
    num_users: int

    @classmethod
    def nobody(cls) -> "RingMembership":
        """Return that there are no rings."""
        return cls(pa.array([], pa.string()), np.empty(0, np.int64), np.empty(0, bool), 0)

    def rates(self) -> RingRates:
        """Return the counts of all rings."""
        counted = RingRates.count(self.ring_N, self.is_violator_N, num_rings=self._num_rings)
        return RingRates(
            counted.users_R, counted.violators_R, self.num_users, counted.num_violators
        )

    def rates_among(self, chosen_N: Bools) -> RingRates:
        """Return the counts of all rings as if there were some of the users only."""
        return RingRates.count(
            self.ring_N[chosen_N], self.is_violator_N[chosen_N], num_rings=self._num_rings
        )

    def of(self, user_ids: pa.Array) -> Int64s:
        """Return the ring of each id, -1 for none."""
        at = pc.index_in(user_ids, value_set=self.user_ids)
        rows = pc.fill_null(at, 0).to_numpy(zero_copy_only=False)
        known = at.is_valid().to_numpy(zero_copy_only=False)
        if len(self.ring_N) == 0:
            return np.full(len(user_ids), NO_RING, dtype=np.int64)
        return np.where(known, self.ring_N[rows], NO_RING).astype(np.int64)

    def those_who_count(self) -> "RingMembership":
        """Return this with only members of rings and known violators."""
        kept = (self.ring_N != NO_RING) | self.is_violator_N
        return RingMembership(
            self.user_ids.filter(pa.array(kept)),
            self.ring_N[kept],
            self.is_violator_N[kept],
            self.num_users,
        )

    def asked(self, own_ids: Sequence[str | None]) -> Asked:
        """Return what is asked of each user's own ring; a stranger is in none."""
        place = self._row_of
        row_Q = np.array([-1 if one is None else place.get(one, -1) for one in own_ids], np.int64)
        known_Q = row_Q >= 0
        if len(self.ring_N) == 0:
            return Asked.by_strangers(np.full(len(row_Q), NO_RING, dtype=np.int64))
        ring_Q = np.where(known_Q, self.ring_N[row_Q], NO_RING)
        return Asked(ring_Q, ring_Q != NO_RING, known_Q & self.is_violator_N[row_Q])

    @property
    def _num_rings(self) -> int:
        return int(self.ring_N.max(initial=NO_RING)) + 1

    @cached_property
    def _row_of(self) -> dict[str, int]:
        """Row by id, made once: every request for risk asks."""
        return {user_id: row for row, user_id in enumerate(self.user_ids.to_pylist())}
