"""What single columns say of users, as codes: the values, tenths of numbers, words of texts.

A missing value says something too, so every event has a code for whether there is one.

Shape key: `E` events of a batch, `O` occurrences of a code in an event, `V` codes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedder.evaluation.metrics import Floats, Int64s
from embedder.fields import numbers_of
from embedder.hashing import MISSING, hash_column
from store.schema import EventSchema, Role
from store.sequences import SequenceBatch

VALUE_ROLES = frozenset({Role.CATEGORY, Role.FLAG, Role.TARGET})
NUMBER_EDGES = np.linspace(0.0, 1.0, 11)
EVENT_TYPE = "event_type"
NO_VALUE, ANY_VALUE = "no value", "a value"
TEXT_CHARS_MAX = 60


@dataclass(frozen=True)
class FieldValues:
    """One column of a batch as codes.

    Attributes:
        name: The column.
        event_O: Event of each occurrence.
        code_O: What occurs there, from 0 to V - 1.
        names: How people call each of the V codes; a source of it where there are many.
    """

    name: str
    event_O: Int64s
    code_O: Int64s
    names: tuple["Names", ...]

    @property
    def num_codes(self) -> int:
        """V."""
        return sum(names.size for names in self.names)

    def text(self, code: int) -> str:
        """Return how people call a code, such as `= True`."""
        for names in self.names:
            if code < names.size:
                return names.text(code)
            code -= names.size
        raise AssertionError("a code is below V")


@dataclass(frozen=True)
class Names:
    """Names of consecutive codes: for each its first place in a column of texts."""

    relation: str
    texts: pa.Array
    first_V: Int64s

    @property
    def size(self) -> int:
        """Codes."""
        return len(self.first_V)

    def text(self, code: int) -> str:
        """Return the name of one, shortened."""
        value = str(self.texts[int(self.first_V[code])].as_py())
        if len(value) > TEXT_CHARS_MAX:
            value = value[: TEXT_CHARS_MAX - 1] + "…"
        return f"{self.relation} {value}".strip()


@dataclass(frozen=True)
class Piece:
    """Codes of one kind, counted from 0."""

    event_O: Int64s
    code_O: Int64s
    names: Names


def field_values(batch: SequenceBatch, schema: EventSchema) -> Iterator[FieldValues]:
    """Yield the columns that a model reads, one after the other, lest all be held at once.

    Cost: one sort of the values per column.
    """
    for column in schema.columns:
        used = column.roles - {Role.IGNORE}
        if used and column.name in batch.events.column_names:
            yield _join(column.name, list(_pieces(batch.events[column.name], used)))


def _pieces(column: pa.ChunkedArray, roles: frozenset[Role]) -> Iterator[Piece]:
    column = column.combine_chunks()
    yield _presence(column)
    if roles & VALUE_ROLES:
        yield _values(column, np.arange(len(column)), "=")
    if Role.NUMBER in roles:
        yield _tenths(column)
    if Role.TEXT in roles:
        yield _words(column)


def _presence(column: pa.Array) -> Piece:
    code_O = column.is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
    names = Names("has", pa.array([NO_VALUE, ANY_VALUE]), np.arange(2))
    return Piece(np.arange(len(column)), code_O, names)


def _values(column: pa.Array, event_O: Int64s, relation: str) -> Piece:
    hash_O = hash_column(column)
    present = np.flatnonzero(hash_O != MISSING)
    _, first_V, code_O = np.unique(hash_O[present], return_index=True, return_inverse=True)
    return Piece(event_O[present], code_O, Names(relation, column, present[first_V]))


def _tenths(column: pa.Array) -> Piece:
    """Put numbers between their deciles; what equals a decile is a bin of its own.

    So a number that nearly all users have is told from those above and below it.
    """
    value_E = numbers_of(pa.chunked_array([column]))
    known = np.flatnonzero(np.isfinite(value_E))
    if not len(known):
        return Piece(known, known, Names("", pa.array([], pa.string()), known))
    edges = np.unique(np.quantile(value_E[known], NUMBER_EDGES, method="nearest"))
    code_O = np.searchsorted(edges, value_E[known], "left")
    code_O = code_O + np.searchsorted(edges, value_E[known], "right")
    return Piece(known, code_O, Names("", _bin_names(edges), np.arange(2 * len(edges) + 1)))


def _bin_names(edges: Floats) -> pa.Array:
    names = [f"< {edges[0]:g}"]
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        names += [f"= {low:g}", f"between {low:g} and {high:g}"]
    return pa.array([*names, f"= {edges[-1]:g}", f"> {edges[-1]:g}"])


def _words(column: pa.Array) -> Piece:
    texts = pc.fill_null(column.cast(pa.large_string()), "")
    lists = pc.utf8_split_whitespace(pc.utf8_lower(texts))
    words, owner_O = pc.list_flatten(lists), pc.list_parent_indices(lists)
    words = pc.if_else(pc.equal(words, ""), None, words)
    event_O: npt.NDArray[np.int64] = owner_O.to_numpy(zero_copy_only=False).astype(np.int64)
    return _values(words, event_O, "has the word")


def _join(name: str, pieces: list[Piece]) -> FieldValues:
    starts = np.cumsum([0, *(piece.names.size for piece in pieces)])
    return FieldValues(
        name,
        np.concatenate([piece.event_O for piece in pieces]),
        np.concatenate(
            [piece.code_O + start for piece, start in zip(pieces, starts, strict=False)]
        ).astype(np.int64),
        tuple(piece.names for piece in pieces),
    )
