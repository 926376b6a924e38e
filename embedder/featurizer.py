"""Featurizer: event sequences to slots of one embedding table, without a loop over events.

Every event becomes a short list of (slot, weight) pairs. *Static* slots depend on the event alone;
*relative* slots depend on what came before it in the slice at hand (gap, position, whether the
target was seen before), so they are computed again for every slice of a sequence.

Shape key: `E` events, `S` slots of an event, `H` hashed columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedder.config import FeaturizerConfig
from embedder.fields import (
    HashedField,
    NumberField,
    Slots,
    VocabularyField,
    count_users,
    fit_knots,
    interpolate,
    lookup_slots,
    numbers_of,
    salted,
)
from embedder.hashing import MISSING, Hashes, hash_column, mix
from store.schema import EventSchema, Role
from store.sequences import Int64s, SequenceBatch

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
GAP_KNOTS = np.arange(-4.0, 31.0)  # log2 of seconds: a sixteenth of a second to 34 years
POPULARITY_KNOTS = np.arange(0.0, 21.0)  # log2 of one more than the other users
POSITION_KNOTS = np.arange(0.0, 13.0)  # log2 of the position in the slice
NEVER, ALWAYS = np.iinfo(np.int64).min, np.iinfo(np.int64).max
DERIVED = {"hour", "weekday", "popularity", "gap", "position", "relation", "return"}
COLUMN = "column "
TIME = "ts"
RELATIONS = 4  # no target, new to the slice, seen before, same as the previous event


@dataclass(frozen=True)
class SlotRange:
    """The rows of the table that belong to one field; `in_profile` is false for mere position."""

    name: str
    start: int
    stop: int
    in_profile: bool


@dataclass(frozen=True)
class EncodedEvents:
    """Events of a batch as slots.

    Attributes:
        ids_ES, weights_ES: Static slots; hashed columns last.
        tokens_EH: Salted hash of each hashed column, for the target sketch.
        ts_us: Time of each event.
        target_E: Hash of the target, `MISSING` where there is none.
        previous_E: Position of the user's previous event with the same target, or -1.
        offsets: Where each user's events begin, length B + 1.
    """

    ids_ES: npt.NDArray[np.int32]
    weights_ES: npt.NDArray[np.float32]
    tokens_EH: Hashes
    ts_us: Int64s
    target_E: Hashes
    previous_E: Int64s
    offsets: Int64s

    @property
    def user_E(self) -> Int64s:
        """Row of the user of each event."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass(frozen=True)
class Featurizer:
    """The fitted fields, in the order of their slots; without a clock all times read as one."""

    vocabularies: tuple[VocabularyField, ...]
    numbers: tuple[NumberField, ...]
    hashed: tuple[HashedField, ...]
    target: str | None
    hash_buckets: int
    has_clock: bool = True

    @property
    def layout(self) -> tuple[SlotRange, ...]:
        """The table's rows field by field; hashed rows follow behind these."""
        fields: tuple[VocabularyField | NumberField, ...] = (*self.vocabularies, *self.numbers)
        sizes = [(name_of_slots(field.name), field.num_slots, True) for field in fields]
        sizes += [("hour", 24, True), ("weekday", 7, True)]
        if self.target is not None:
            sizes.append(("popularity", len(POPULARITY_KNOTS) + 1, True))
        sizes += [("gap", len(GAP_KNOTS) + 1, True), ("position", len(POSITION_KNOTS) + 1, False)]
        if self.target is not None:
            sizes += [("relation", RELATIONS, True), ("return", len(GAP_KNOTS) + 1, True)]
        stops = np.cumsum([size for _, size, _ in sizes]).tolist()
        return tuple(
            SlotRange(name, stop - size, stop, profile)
            for (name, size, profile), stop in zip(sizes, stops, strict=True)
        )

    @property
    def num_small_slots(self) -> int:
        """Rows of the table that are not hashed."""
        return self.layout[-1].stop

    @property
    def num_slots(self) -> int:
        """Rows of the whole table."""
        return self.num_small_slots + self.hash_buckets * sum(
            field.learned for field in self.hashed
        )

    def encode(self, batch: SequenceBatch, *, counted_before_us: int = NEVER) -> EncodedEvents:
        """Return the static slots of every event and what the relative ones need.

        Args:
            batch: The users.
            counted_before_us: Events before it were counted when the fields were fitted, so that
                one of the users who had an event's target is the user at hand. By default the users
                are taken for new ones.
        """
        hashes = {field.name: salted_column(batch, field.name) for field in self.hashed}
        ts_us = batch.ts_us if self.has_clock else np.zeros_like(batch.ts_us)
        static = self._static(batch, ts_us, hashes, counted_E=batch.ts_us < counted_before_us)
        ids, weights = zip(*static, strict=True)
        tokens = list(hashes.values())
        target = (
            hashes[self.target]
            if self.target is not None
            else np.zeros(len(batch.ts_us), dtype=np.uint64)
        )
        user_E = np.repeat(np.arange(batch.num_users), batch.num_events)
        return EncodedEvents(
            np.concatenate(ids, axis=1),
            np.concatenate(weights, axis=1),
            np.stack(tokens, axis=1)
            if tokens
            else np.zeros((len(batch.ts_us), 0), dtype=np.uint64),
            ts_us,
            target,
            previous_same(user_E, target),
            batch.offsets,
        )

    def relative(self, events: EncodedEvents, rows: Int64s, start: Int64s) -> Slots:
        """Return the relative slots of events.

        Args:
            events: The encoded batch.
            rows: Positions of the events in the batch.
            start: For each of them, the position at which its slice starts.
        """
        base = {entry.name: entry.start for entry in self.layout}
        first = rows == start
        gap = log2_seconds(events.ts_us[rows] - events.ts_us[np.maximum(rows - 1, 0)])
        parts = [shifted(interpolate(np.where(first, np.nan, gap), GAP_KNOTS), base["gap"])]
        position = np.log2((rows - start + 1).astype(np.float64))
        parts.append(shifted(interpolate(position, POSITION_KNOTS), base["position"]))
        if self.target is not None:
            previous = events.previous_E[rows]
            seen = previous >= start
            relation = np.where(seen, np.where(previous == rows - 1, 3, 2), 1)
            relation = np.where(events.target_E[rows] == MISSING, 0, relation)
            parts.append(
                shifted((relation[:, None].astype(np.int32), one(len(rows))), base["relation"])
            )
            back = log2_seconds(events.ts_us[rows] - events.ts_us[np.maximum(previous, 0)])
            parts.append(
                shifted(interpolate(np.where(seen, back, np.nan), GAP_KNOTS), base["return"])
            )
        ids, weights = zip(*parts, strict=True)
        return np.concatenate(ids, axis=1), np.concatenate(weights, axis=1)

    def _static(
        self,
        batch: SequenceBatch,
        ts_us: Int64s,
        hashes: dict[str, Hashes],
        *,
        counted_E: npt.NDArray[np.bool_],
    ) -> list[Slots]:
        """Return the static slots, part by part, with the hashed columns last."""
        base = {entry.name: entry.start for entry in self.layout}
        parts = [
            shifted(
                lookup_slots(salted_column(batch, field.name), field.values),
                base[name_of_slots(field.name)],
            )
            for field in self.vocabularies
        ]
        parts += [
            shifted(
                interpolate(numbers_of(column_of(batch, field.name)), field.knots),
                base[name_of_slots(field.name)],
            )
            for field in self.numbers
        ]
        parts += [
            shifted(hour_slots(ts_us), base["hour"]),
            shifted(weekday_slots(ts_us), base["weekday"]),
        ]
        if self.target is not None:
            parts.append(shifted(self._popularity(hashes, counted_E), base["popularity"]))
        learned = [field for field in self.hashed if field.learned]
        for place, field in enumerate(learned):
            start = self.num_small_slots + place * self.hash_buckets
            parts.append(shifted(bucket_slots(hashes[field.name], self.hash_buckets), start))
        return parts

    def _popularity(self, hashes: dict[str, Hashes], counted_E: npt.NDArray[np.bool_]) -> Slots:
        """Return how many others had the target.

        A user who was counted is no other: with it, each target of a training user would look more
        popular than the same target does when a newcomer comes to it.
        """
        field = next(field for field in self.hashed if field.name == self.target)
        hashed = hashes[field.name]
        others = np.maximum(field.users_with(hashed) - counted_E, 0)
        popularity = np.log2(1.0 + others)
        return interpolate(np.where(hashed == MISSING, np.nan, popularity), POPULARITY_KNOTS)


def fit_featurizer(
    batch: SequenceBatch,
    schema: EventSchema,
    config: FeaturizerConfig,
    *,
    left_out: Sequence[str] = (),
) -> Featurizer:
    """Fit vocabularies, knots and user counts on the training users.

    Args:
        batch: The training users' sequences.
        schema: Roles of the columns.
        config: Sizes.
        left_out: Columns that the field audit refuses, `ts` for the clock; a refused target stays
            in the target sketch, where a value that one user owns weighs nothing, but is not
            learned from.
    """
    user_E = np.repeat(np.arange(batch.num_users), batch.num_events)
    vocabularies, hashed = [], []
    for name in categories_of(schema):
        if name in left_out and name != schema.target:
            continue
        hashes = salted_column(batch, name)
        values, users = count_users(hashes, user_E)
        if len(values) > config.vocabulary_max or name == schema.target:
            learned = name not in left_out
            hashed.append(
                HashedField(name, values, users.astype(np.int64), batch.num_users, learned)
            )
        else:
            vocabularies.append(VocabularyField(name, values[users >= config.vocabulary_min_users]))
    numbers = [
        NumberField(name, fit_knots(numbers_of(column_of(batch, name)), config.number_knots))
        for name in (*schema.with_role(Role.NUMBER), *schema.with_role(Role.FLAG))
        if name not in left_out and name not in categories_of(schema)
    ]
    return Featurizer(
        tuple(vocabularies),
        tuple(numbers),
        tuple(hashed),
        schema.target,
        config.hash_buckets,
        has_clock=TIME not in left_out,
    )


def name_of_slots(column: str) -> str:
    """Return the name of a column's slots: its own, unless a derived field is called so."""
    bare = column
    while bare.startswith(COLUMN):
        bare = bare.removeprefix(COLUMN)
    return COLUMN + column if bare in DERIVED else column


def categories_of(schema: EventSchema) -> tuple[str, ...]:
    """Return the columns read as categories: `event_type`, every category, the target."""
    names = {"event_type", *schema.with_role(Role.CATEGORY), *schema.with_role(Role.TARGET)}
    return tuple(sorted(names))


def column_of(batch: SequenceBatch, name: str) -> pa.ChunkedArray:
    """Return a column of the events; one of nulls where the batch does not have it."""
    if name in batch.events.column_names:
        return batch.events.column(name)
    return pa.chunked_array([pa.nulls(len(batch.ts_us), pa.string())])


def salted_column(batch: SequenceBatch, name: str) -> Hashes:
    """Return the salted hash of a column's values."""
    return salted(name, hash_column(column_of(batch, name)))


def previous_same(user_E: Int64s, target_E: Hashes) -> Int64s:
    """Return the position of the user's previous event with each event's target, or -1."""
    key = mix(target_E ^ mix(user_E.astype(np.uint64) + np.uint64(1)))
    order = np.argsort(key, kind="stable")
    same = key[order[1:]] == key[order[:-1]]
    previous = np.full(len(key), -1, dtype=np.int64)
    previous[order[1:][same]] = order[:-1][same]
    previous[target_E == MISSING] = -1
    return previous


def hour_slots(ts_us: Int64s) -> Slots:
    """Return the hour of day, spread over the two hours around it, closed to a circle."""
    hour = (ts_us % DAY_US) / HOUR_US
    low = hour.astype(np.int64)
    ids = np.stack([low, (low + 1) % 24], axis=1).astype(np.int32)
    share = hour - low
    return ids, np.stack([1.0 - share, share], axis=1).astype(np.float32)


def weekday_slots(ts_us: Int64s) -> Slots:
    """Return the day of the week, Thursday (the epoch's) first."""
    return ((ts_us // DAY_US) % 7).astype(np.int32)[:, None], one(len(ts_us))


def bucket_slots(hashes: Hashes, buckets: int) -> Slots:
    """Return two hashed rows per value, each with half the weight; none for a missing value."""
    first, second = hashes % np.uint64(buckets), mix(hashes) % np.uint64(buckets)
    weights = np.where(hashes == MISSING, 0.0, 0.5).astype(np.float32)
    return np.stack([first, second], axis=1).astype(np.int32), np.stack([weights, weights], axis=1)


def log2_seconds(gap_us: Int64s) -> npt.NDArray[np.float64]:
    """Return log2 of a gap in seconds, at least 2^-4 s."""
    return np.log2(np.maximum(gap_us, 62_500) / 1e6)


def one(count: int) -> npt.NDArray[np.float32]:
    """Return a column of ones."""
    return np.ones((count, 1), dtype=np.float32)


def shifted(slots: Slots, start: int) -> Slots:
    """Move the slots of a field to its place in the table."""
    return slots[0] + np.int32(start), slots[1]
