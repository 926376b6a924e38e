"""The vectors that a retrieval task compares: the encoder's and the TF-IDF floor's.

A method turns several sets of users into unit rows at once, so that a floor can weight its tokens
over all of them.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from embedder.evaluation.floors import Tokenizer, tfidf
from embedder.evaluation.ranking import Rows
from store.schema import EventSchema
from store.sequences import SequenceBatch

Method = Callable[[Sequence[SequenceBatch]], list[Rows]]

ENCODER = "lookalike"
TFIDF = "tfidf"
TFIDF_TARGET = "tfidf_target"
WITH_CSLS = "_csls"


class Encoder(Protocol):
    """What an evaluation needs of an encoder; `embedder.embedder.Embedder` is one."""

    schema: EventSchema

    def embed(self, batch: SequenceBatch) -> npt.NDArray[np.float32]: ...


def retrieval_methods(embedder: Encoder) -> dict[str, Method]:
    """Return the methods to compare, the encoder first, then the floors."""
    return {ENCODER: _encoder_method(embedder)} | floor_methods(embedder.schema)


def floor_methods(schema: EventSchema) -> dict[str, Method]:
    """Return TF-IDF of all tokens, and of the target alone where there is one."""
    floors = {TFIDF: _tfidf_method(schema, target_only=False)}
    if schema.target is not None:
        floors[TFIDF_TARGET] = _tfidf_method(schema, target_only=True)
    return floors


def _encoder_method(embedder: Encoder) -> Method:
    def vectors(batches: Sequence[SequenceBatch]) -> list[Rows]:
        return [embedder.embed(batch) for batch in batches]

    return vectors


def _tfidf_method(schema: EventSchema, *, target_only: bool) -> Method:
    def vectors(batches: Sequence[SequenceBatch]) -> list[Rows]:
        tokenizer = Tokenizer.fit(batches[-1], schema)
        if target_only:
            tokenizer = Tokenizer((schema.target or "",), {})
        return list(tfidf([tokenizer.count(batch) for batch in batches]))

    return vectors
