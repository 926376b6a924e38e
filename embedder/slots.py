"""Slots of slices: found once, read by networks, summaries and profiles alike.

Shape key: `E` events of all slices, `S` slots of an event, `B` slices.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedder.featurizer import EncodedEvents, Featurizer
from embedder.fields import Slots
from embedder.profiles import profile_slots
from embedder.slices import Spans, in_pieces, span_rows
from store.sequences import Int64s


@dataclass(frozen=True)
class SliceSlots:
    """Slices with all slots of their events, one slice after the other.

    Attributes:
        spans: The slices.
        rows_E: Positions of the events in the encoded batch.
        owner_E: The slice of each event.
        ids_ES, weights_ES: Static and relative slots.
    """

    spans: Spans
    rows_E: Int64s
    owner_E: Int64s
    ids_ES: npt.NDArray[np.int32]
    weights_ES: npt.NDArray[np.float32]

    @classmethod
    def of(cls, featurizer: Featurizer, events: EncodedEvents, spans: Spans) -> "SliceSlots":
        """Find the slots of slices of an encoded batch."""
        rows_E, owner_E = span_rows(spans)
        slots = profile_slots(featurizer, events, rows_E, spans.first[owner_E])
        return cls(spans, rows_E, owner_E, *slots)

    @property
    def slots(self) -> Slots:
        """Ids and weights."""
        return self.ids_ES, self.weights_ES

    @property
    def size_B(self) -> Int64s:
        """Events of each slice."""
        return self.spans.last - self.spans.first

    def part(self, first: int, last: int) -> "SliceSlots":
        """Return consecutive slices, without a copy of their slots."""
        begin = int(self.size_B[:first].sum())
        events = slice(begin, begin + int(self.size_B[first:last].sum()))
        return SliceSlots(
            Spans(self.spans.first[first:last], self.spans.last[first:last]),
            self.rows_E[events],
            self.owner_E[events] - first,
            self.ids_ES[events],
            self.weights_ES[events],
        )

    def pieces(self, *, events_at_once: int) -> Iterator[tuple[slice, "SliceSlots"]]:
        """Cut into consecutive pieces of about so many events, each with its place."""
        for place, _ in in_pieces(self.spans, events_at_once=events_at_once):
            yield place, self.part(place.start, place.stop)
