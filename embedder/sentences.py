"""Sentences: what the strings of targets and texts mean to a sentence model that somebody vetted.

Where such a model is set, the opinion reads, beside how strings are worded, the mean of the
embeddings of a user's early strings, reduced by a PCA to few numbers. Strings that look like ids (a
single word with digits in it) are passed over.

Shape key: `E` events, `B` slices, `S` distinct strings, `W` width of the sentence model, `D` kept
numbers, `C` columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedder.profiles import Floats
from embedder.slices import Spans, in_pieces, span_rows
from embedder.text import StringMemory, encode_texts, fingerprint
from embedder.wording import distinct_strings
from store.sequences import Int64s, SequenceBatch

DIM, EARLY_EVENTS, FITTED_STRINGS = 32, 20, 20_000
EVENTS_AT_ONCE = 262_144
WORDS = r"^[^\d]*\pL[^\d]*$|\pL\s|\s\pL"  # letters and no digit at all, or several words


@dataclass(frozen=True)
class Sentences:
    """A sentence model and what is kept of it.

    Attributes:
        columns: Columns of strings.
        folder: Where the sentence model lies.
        fingerprint: Hash of its files; another model is another space.
        mean_W, rotation_WD: The PCA.
    """

    columns: tuple[str, ...]
    folder: str
    fingerprint: str
    mean_W: Floats
    rotation_WD: Floats
    _memory: StringMemory = field(default_factory=StringMemory, repr=False, compare=False)

    def read(self, batch: SequenceBatch) -> "Read":
        """Embed the early strings of a batch; linear in the distinct ones.

        The latest strings are remembered, for users are read again at every age. Beyond the result,
        memory is bounded by `STRINGS_AT_ONCE` and `REMEMBERED`.
        """
        vectors, codes = [], []
        for name in self.columns:
            texts, code_E = early_strings(batch, name)
            vectors.append(self._vectors_of(texts))
            codes.append(code_E)
        return Read(tuple(vectors), tuple(codes))

    def _vectors_of(self, texts: Sequence[str]) -> Floats:
        """Return what is kept of each text, S x D."""

        def embed(unmet: Sequence[str]) -> Floats:
            centred: Floats = encode_texts(unmet, self.folder) - self.mean_W
            return centred @ self.rotation_WD

        return self._memory.vectors_of(texts, embed, dim=self.rotation_WD.shape[1])


@dataclass(frozen=True)
class Read:
    """The embedded strings of a batch.

    Attributes:
        vectors: Of the distinct strings of each column, S x D.
        codes: The string of each event, of length E, or -1.
    """

    vectors: tuple[Floats, ...]
    codes: tuple[Int64s, ...]

    def means(self, spans: Spans) -> Floats:
        """Return the mean over the early events of each slice, B x CD; NaN where nothing is said.

        Beyond the result, memory is bounded by `EVENTS_AT_ONCE`.
        """
        early = Spans(spans.first, np.minimum(spans.last, spans.first + EARLY_EVENTS))
        columns = []
        for vectors_SD, code_E in zip(self.vectors, self.codes, strict=True):
            means_BD = np.empty((len(spans.first), vectors_SD.shape[1]), dtype=np.float32)
            for place, piece in in_pieces(early, events_at_once=EVENTS_AT_ONCE):
                means_BD[place] = _means(vectors_SD, code_E, piece)
            columns.append(means_BD)
        return np.concatenate(columns, axis=1)


def fit_sentences(batch: SequenceBatch, columns: Sequence[str], folder: str) -> Sentences | None:
    """Fit the PCA on the early strings of a batch; None where no column has two that are words.

    Raises:
        TextModelMissing: If the sentence model or its library is not there.
    """
    texts = [early_strings(batch, name)[0] for name in columns]
    spoken = tuple(name for name, some in zip(columns, texts, strict=True) if len(some) > 1)
    sample = [text for some in texts if len(some) > 1 for text in some[:: _stride(some)]]
    if not spoken:
        return None
    vectors = encode_texts(sample, folder)
    mean_W = vectors.mean(axis=0)
    centred = (vectors - mean_W).astype(np.float64)
    values, basis = np.linalg.eigh(centred.T @ centred)
    leading = np.argsort(values)[::-1][: min(DIM, len(sample) - 1)]
    rotation = np.ascontiguousarray(basis[:, leading], dtype=np.float32)
    return Sentences(spoken, folder, fingerprint(folder), mean_W, rotation)


def early_strings(batch: SequenceBatch, name: str) -> tuple[list[str], Int64s]:
    """Return the distinct early strings that are words, and the string of each event, or -1."""
    strings, code_E = distinct_strings(batch, name)
    words = pc.match_substring_regex(strings, WORDS).to_numpy(zero_copy_only=False)
    place_E = np.arange(len(code_E)) - np.repeat(batch.offsets[:-1], batch.num_events)
    code_E = np.where(place_E < EARLY_EVENTS, code_E, -1)
    used = np.unique(code_E[code_E >= 0])
    used = used[words[used]] if len(used) else used
    number_S = np.full(len(strings) + 1, -1, dtype=np.int64)  # the last one is of -1
    number_S[used] = np.arange(len(used))
    texts: list[str] = strings.take(pa.array(used, pa.int64())).to_pylist()
    return texts, number_S[code_E]


def _means(vectors_SD: Floats, code_E: Int64s, spans: Spans) -> Floats:
    rows, owner_R = span_rows(spans)
    spoken = code_E[rows] >= 0
    owner_R, code_R = owner_R[spoken], code_E[rows[spoken]]
    count_B = np.bincount(owner_R, minlength=len(spans.first))
    first_B = np.cumsum(count_B) - count_B
    means = np.full((len(count_B), vectors_SD.shape[1]), np.nan, dtype=np.float32)
    there = np.flatnonzero(count_B)
    if len(there):
        sums = np.add.reduceat(vectors_SD[code_R], first_B[there])
        means[there] = sums / count_B[there, None]
    return means


def _stride(texts: Sequence[str]) -> int:
    return -(-len(texts) // FITTED_STRINGS)
