"""Galleries of equal age: labelled users as they looked after their first few events.

A newcomer with three events is compared with what violators and others looked like after their
first three events. Comparing it with whole lives would measure age, not behavior.

Shape key: `G` reference users in a gallery, `Q` queries, `D` dimensions, `A` ages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from embedder.slices import PREFIX_AGES
from index.vectors import Vectors
from store.sequences import Int64s

AGES = PREFIX_AGES
WHOLE = 1_000_000_000
GALLERY_MIN = 10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class References:
    """Labelled users and their vectors at every age they reached.

    Attributes:
        user_ids: Ascending.
        is_violator_R: Class of each.
        vote_R: What the vote of each weighs; more than one where others were sampled.
        ring_R: Ring of each, -1 for none.
        ages: The ages of the galleries, the whole life last.
        rows: For each age, the reference users (positions in `user_ids`) in the gallery.
        vectors: For each age, their unit vectors, G x D.
        opinion_at: Where in a vector the encoder's opinion stands, from and to; (0, 0) for nowhere.
    """

    user_ids: tuple[str, ...]
    is_violator_R: npt.NDArray[np.bool_]
    vote_R: Floats
    ring_R: Int64s
    ages: tuple[int, ...]
    rows: tuple[Int64s, ...]
    vectors: tuple[Vectors, ...]
    opinion_at: tuple[int, int] = (0, 0)

    def base_rate_without(self, own_Q: Int64s) -> Floats:
        """Return the share of violators among all that the references stand for, but each query."""
        own = np.maximum(own_Q, 0)
        vote_Q = np.where(own_Q >= 0, self.vote_R[own], 0.0)
        violators_Q = self.vote_R[self.is_violator_R].sum() - vote_Q * self.is_violator_R[own]
        return np.asarray(violators_Q / (self.vote_R.sum() - vote_Q))

    def find(self, own_ids: Sequence[str | None]) -> Int64s:
        """Return the reference that each id is, -1 where it is none."""
        place = self._row_of
        return np.array([-1 if one is None else place.get(one, -1) for one in own_ids], np.int64)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        """Reference by id, made once: every request for risk asks."""
        return {user_id: row for row, user_id in enumerate(self.user_ids)}


def age_of(num_events_Q: Int64s, ages: Sequence[int]) -> Int64s:
    """Return for each query the gallery whose age is nearest in the logarithm."""
    bounded = np.minimum(np.array(ages, dtype=np.float64), 2.0 * AGES[-1])
    borders = np.sqrt(bounded[:-1] * bounded[1:])
    return np.searchsorted(borders, num_events_Q, side="left").astype(np.int64)


def members(num_events_R: Int64s, ages: Sequence[int]) -> list[Int64s]:
    """Return who is in each gallery: whoever lived past the age before it.

    A user who stopped between two ages is in the gallery of the later one with all events: that is
    what there is to compare with.
    """
    before = [0, *ages[:-1]]
    return [np.flatnonzero(num_events_R > least) for least in before]


def usable_ages(num_events_R: Int64s, is_violator_R: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the ages at which both classes are there; the last is always the whole life."""
    kept = [
        age
        for age, rows in zip(AGES, members(num_events_R, AGES), strict=True)
        if min(is_violator_R[rows].sum(), (~is_violator_R[rows]).sum()) >= GALLERY_MIN
    ]
    longer = num_events_R > (kept[-1] if kept else 0)
    if min(is_violator_R[longer].sum(), (~is_violator_R[longer]).sum()) < GALLERY_MIN:
        kept = kept[:-1]
    return (*kept, WHOLE)
