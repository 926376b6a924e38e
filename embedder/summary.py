"""Summaries: what an analyst would write down of a slice of events, one row of numbers each.

How many events and how long; of every ordered field (a number, a gap, a popularity) its mean,
range, first and last values; of every category how often its common values come, the first and the
last. All is read from the slots of the events and from what else is told of each (how its strings
read), so nothing is parsed twice, and nothing here names a user or a time.

Shape key: `E` events, `S` slots of an event, `B` slices, `F` numbers, `C` what is told of an event.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedder.featurizer import EncodedEvents, Featurizer, SlotRange, name_of_slots
from embedder.fields import Slots
from embedder.profiles import Floats
from embedder.slices import Spans, in_pieces
from embedder.slots import SliceSlots
from store.sequences import Int64s

FIRST_EVENTS, LAST_EVENTS, COMMON_VALUES, PLACED_FIELDS = 5, 3, 64, 12
EVENTS_AT_ONCE = 262_144
HOURS_OF_A_BIN = 6


@dataclass(frozen=True)
class Summarizer:
    """Which numbers are written down.

    Attributes:
        featurizer: Of the events.
        ordered: Fields whose slots are in order; their code is the mean slot, missing is NaN.
        named: Fields of one slot per event; their code is the slot's rank, the most common first.
        rank_V: Rank of each slot within its field.
        common: Slots whose share of the events is counted.
    """

    featurizer: Featurizer
    ordered: tuple[str, ...]
    named: tuple[str, ...]
    rank_V: npt.NDArray[np.int32]
    common: npt.NDArray[np.int32]

    def summarize(self, events: EncodedEvents, told_EC: Floats, spans: Spans) -> Floats:
        """Return the summary of each slice, B x F; NaN where there is nothing to tell.

        Args:
            events: The encoded events.
            told_EC: Ordered numbers told of each of them beside its slots; NaN where missing.
            spans: The slices.

        Linear in the events; beyond the result, memory is bounded by `EVENTS_AT_ONCE`.
        """
        pieces = (
            SliceSlots.of(self.featurizer, events, piece)
            for _, piece in in_pieces(spans, events_at_once=EVENTS_AT_ONCE)
        )
        return np.concatenate([self.summarize_slices(events, told_EC, slices) for slices in pieces])

    def summarize_slices(
        self, events: EncodedEvents, told_EC: Floats, slices: SliceSlots
    ) -> Floats:
        """Return the same of slices whose slots are at hand; memory grows with their events."""
        spans, slots, owner_E, size_B = slices.spans, slices.slots, slices.owner_E, slices.size_B
        start_B = np.cumsum(size_B) - size_B
        fields = {field.name: field for field in self.featurizer.layout}
        columns = columns_of_fields(slots, self.featurizer.layout)
        ranks = [
            self.rank_V[slots[0][:, columns[name][0]]].astype(np.float64) for name in self.named
        ]
        told = list(told_EC[slices.rows_E].T.astype(np.float64))
        codes = [mean_slot(slots, fields[name], columns[name]) for name in self.ordered]
        lived_us = events.ts_us[spans.last - 1] - events.ts_us[spans.first]
        placed = [*ranks, *told, *codes][:PLACED_FIELDS]
        parts = [
            np.log1p(np.stack([size_B, lived_us / 1e6], axis=1)),
            *(level(code_E, start_B, owner_E, size_B) for code_E in (*codes, *told)),
            self._shares(slots, columns, fields["hour"], owner_E, size_B),
            *(last_values(code_E, start_B, size_B) for code_E in placed),
            *(first_values(code_E, start_B, size_B) for code_E in placed),
        ]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _shares(
        self,
        slots: Slots,
        columns: dict[str, Int64s],
        hour: SlotRange,
        owner_E: Int64s,
        size_B: Int64s,
    ) -> npt.NDArray[np.float64]:
        """Return the share of events with each common value, and in each quarter of the day."""
        place_V = np.full(self.featurizer.num_slots, -1, dtype=np.int64)
        place_V[self.common] = np.arange(len(self.common))
        quarter = len(self.common) + np.arange(24) // HOURS_OF_A_BIN
        place_V[hour.start : hour.stop] = quarter
        width = int(quarter[-1]) + 1
        used = np.concatenate([columns[name] for name in (*self.named, "hour")])
        place_ES = place_V[slots[0][:, used]]
        kept = place_ES >= 0
        flat = (owner_E[:, None] * width + place_ES)[kept]
        counts = np.bincount(flat, slots[1][:, used][kept], minlength=len(size_B) * width)
        return np.asarray(counts.reshape(len(size_B), width) / size_B[:, None])


def fit_summarizer(featurizer: Featurizer, idf_V: Floats) -> Summarizer:
    """Choose the fields and the common values; `idf_V` tells how rare each slot is among users."""
    categories = {name_of_slots(field.name) for field in featurizer.vocabularies} | {"relation"}
    layout = [field for field in featurizer.layout if field.in_profile]
    named = tuple(field.name for field in layout if field.name in categories)
    ordered = tuple(field.name for field in layout if field.name not in {*named, "hour", "weekday"})
    rank_V = np.zeros(featurizer.num_slots, dtype=np.int32)
    of_named: list[int] = []
    for field in layout:
        if field.name in categories:
            order = np.argsort(idf_V[field.start : field.stop], kind="stable")
            rank_V[field.start + order] = np.arange(len(order))
            of_named += range(field.start, field.stop)
    slots = np.array(of_named, dtype=np.int32)
    common = slots[np.argsort(idf_V[slots], kind="stable")[:COMMON_VALUES]]
    return Summarizer(featurizer, ordered, named, rank_V, np.sort(common))


def columns_of_fields(slots: Slots, layout: tuple[SlotRange, ...]) -> dict[str, Int64s]:
    """Return the slot columns of each field; every event has its fields in the same columns."""
    if not len(slots[0]):
        return {}
    stops = np.array([field.stop for field in layout])
    owner_S = np.searchsorted(stops, slots[0][0], side="right")
    return {field.name: np.flatnonzero(owner_S == place) for place, field in enumerate(layout)}


def mean_slot(slots: Slots, field: SlotRange, columns: Int64s) -> npt.NDArray[np.float64]:
    """Return the mean slot of an ordered field per event; NaN where it is missing (slot 0)."""
    ids, weights = slots[0][:, columns] - field.start, slots[1][:, columns]
    code = (ids * weights).sum(axis=1, dtype=np.float64)
    return np.where(((ids == 0) & (weights > 0)).any(axis=1), np.nan, code)


def level(
    code_E: npt.NDArray[np.float64], start_B: Int64s, owner_E: Int64s, size_B: Int64s
) -> npt.NDArray[np.float64]:
    """Return mean, deviation, least and most of the known codes and the share of known ones."""
    known = np.isfinite(code_E)
    count = np.add.reduceat(known, start_B, dtype=np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.add.reduceat(np.where(known, code_E, 0.0), start_B) / count
        square = np.where(known, (code_E - mean[owner_E]) ** 2, 0.0)
        deviation = np.sqrt(np.add.reduceat(square, start_B) / count)
    least = np.minimum.reduceat(np.where(known, code_E, np.inf), start_B)
    most = np.maximum.reduceat(np.where(known, code_E, -np.inf), start_B)
    ends = np.where(count[:, None] > 0, np.stack([least, most], axis=1), np.nan)
    return np.column_stack([mean, deviation, ends, count / size_B])


def first_values(
    code_E: npt.NDArray[np.float64], start_B: Int64s, size_B: Int64s
) -> npt.NDArray[np.float64]:
    """Return the codes of the first events of each slice, NaN past its end."""
    place = np.arange(FIRST_EVENTS)
    there = place < size_B[:, None]
    rows = np.where(there, start_B[:, None] + place, 0)
    return np.where(there, code_E[rows], np.nan)


def last_values(
    code_E: npt.NDArray[np.float64], start_B: Int64s, size_B: Int64s
) -> npt.NDArray[np.float64]:
    """Return the codes of the last events of each slice, the latest first, NaN past its begin."""
    place = np.arange(1, LAST_EVENTS + 1)
    there = place <= size_B[:, None]
    rows = np.where(there, (start_B + size_B)[:, None] - place, 0)
    return np.where(there, code_E[rows], np.nan)
