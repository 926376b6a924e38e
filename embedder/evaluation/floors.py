"""Floors: simple methods that a learned encoder has to beat, on the same users.

- TF-IDF over attribute tokens (`place=p12`, `device=phone`, `amount in its fourth tenth`), cosine.
- Boosted trees on hand statistics and an SVD of TF-IDF.

Shape key: `B` users, `E` events of all of them, `V` hashed tokens, `F` features.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from embedder.evaluation.metrics import Flags, Floats, Int64s
from embedder.evaluation.statistics import Described, count_statistics
from embedder.fields import numbers_of
from embedder.hashing import hash_column, hash_name, mix
from store.schema import EventSchema, Role
from store.sequences import SequenceBatch

TOKEN_BITS = 20
NUMBER_BINS = 10
SVD_DIM = 32


@dataclass(frozen=True)
class Tokenizer:
    """Turns events into counted tokens; numbers become tenths of what was seen at fitting.

    Attributes:
        names: Columns whose values are tokens.
        edges: Bounds of the bins of each number column.
    """

    names: tuple[str, ...]
    edges: dict[str, Floats]

    @classmethod
    def fit(cls, batch: SequenceBatch, schema: EventSchema) -> "Tokenizer":
        """Find the bins of the number columns."""
        number = set(schema.with_role(Role.NUMBER))
        names = {"event_type", *number, *schema.with_role(Role.FLAG)}
        names |= {*schema.with_role(Role.CATEGORY), *schema.with_role(Role.TARGET)}
        present = sorted(names & set(batch.events.column_names))
        edges = {name: _edges(batch.events[name]) for name in present if name in number}
        return cls(tuple(present), edges)

    def count(self, batch: SequenceBatch) -> sparse.csr_matrix:
        """Return how often each user has each token, float32 of shape (B, 2^20)."""
        user_E = np.repeat(np.arange(batch.num_users), batch.num_events)
        shape = (batch.num_users, 1 << TOKEN_BITS)
        counts = sparse.csr_matrix(shape, dtype=np.float32)
        for name in self.names:
            token_E, known_E = self._tokens(name, batch.events[name])
            user, token = user_E[known_E], token_E[known_E]
            ones = np.ones(len(user), dtype=np.float32)
            counts = counts + sparse.coo_matrix((ones, (user, token)), shape=shape).tocsr()
        return counts

    def _tokens(self, name: str, column: pa.ChunkedArray) -> tuple[Int64s, Flags]:
        known_E = pc.is_valid(column).to_numpy()
        if name in self.edges:
            value_E = numbers_of(column)
            known_E = known_E & np.isfinite(value_E)
            code_E = np.searchsorted(self.edges[name], value_E).astype(np.uint64)
        else:
            code_E = hash_column(column)
        token_E = mix(code_E ^ hash_name(name)) >> np.uint64(64 - TOKEN_BITS)
        return token_E.astype(np.int64), known_E


def tfidf(counts: Sequence[sparse.csr_matrix]) -> list[sparse.csr_matrix]:
    """Weight the counts of several sets of users by one common inverse document frequency.

    Returns:
        Rows of unit length (of zeros, for users without tokens), in the order given.
    """
    idf = _inverse_frequency(sparse.vstack(counts, format="csr"))
    return [_weighted(part, idf) for part in counts]


def _inverse_frequency(counts: sparse.csr_matrix) -> npt.NDArray[np.float32]:
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    idf: npt.NDArray[np.float32] = np.log((1 + counts.shape[0]) / (1 + frequency)) + 1
    return idf.astype(np.float32)


def _weighted(counts: sparse.csr_matrix, idf: npt.NDArray[np.float32]) -> sparse.csr_matrix:
    weight = np.log1p(counts.data) * idf[counts.indices]
    length = np.sqrt(np.add.reduceat(np.append(weight**2, 0), counts.indptr[:-1]))
    length[np.diff(counts.indptr) == 0] = 1.0
    scaled = weight / np.repeat(length, np.diff(counts.indptr)).astype(np.float32)
    return sparse.csr_matrix((scaled, counts.indices, counts.indptr), shape=counts.shape)


class TokenWeights:
    """TF-IDF over the tokens of the users it was fitted on; others' new tokens do not count."""

    def __init__(self, tokenizer: Tokenizer, batches: Iterable[SequenceBatch]) -> None:
        self._tokenizer = tokenizer
        counts = sparse.vstack([tokenizer.count(batch) for batch in batches], format="csr")
        self._idf = _inverse_frequency(counts)
        self._used = np.unique(counts.indices)
        self.fitted = self._compact(counts)

    def rows(self, batch: SequenceBatch) -> sparse.csr_matrix:
        """Return the weighted tokens of users, a column for each token that was seen."""
        return self._compact(self._tokenizer.count(batch))

    def _compact(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        return _weighted(counts, self._idf)[:, self._used]


class TokenRegression:
    """Logistic regression on TF-IDF of the tokens: what the tokens alone tell of risk."""

    def __init__(self, tokenizer: Tokenizer, *, seed: int) -> None:
        self._tokenizer = tokenizer
        self._tokens: TokenWeights | None = None
        self._model = LogisticRegression(solver="liblinear", random_state=seed)

    def fit(self, batches: Sequence[SequenceBatch], is_positive: Sequence[Flags]) -> Self:
        """Train on prefixes or whole sequences; a user may appear at several lengths."""
        self._tokens = TokenWeights(self._tokenizer, batches)
        self._model.fit(self._tokens.fitted, np.concatenate(is_positive))
        return self

    def probabilities(self, batch: SequenceBatch) -> Floats:
        """Return the probability of every user of a batch."""
        assert self._tokens is not None, "fit comes first"
        probability_B: Floats = self._model.predict_proba(self._tokens.rows(batch))[:, 1]
        return probability_B


class BoostedTrees:
    """Boosted trees on hand statistics and an SVD of TF-IDF; the strong and simple floor."""

    def __init__(self, tokenizer: Tokenizer, *, seed: int) -> None:
        self._tokenizer = tokenizer
        self._seed = seed
        self._tokens: TokenWeights | None = None
        self._svd: TruncatedSVD | None = None
        self._described = Described((), frozenset())
        self._known_F: Flags = np.empty(0, dtype=np.bool_)
        self._trees = HistGradientBoostingClassifier(
            max_iter=150, learning_rate=0.06, min_samples_leaf=20, random_state=seed
        )

    def fit(self, batches: Sequence[SequenceBatch], is_positive: Sequence[Flags]) -> Self:
        """Train on prefixes or whole sequences; a user may appear at several lengths."""
        self._tokens = TokenWeights(self._tokenizer, batches)
        dim = max(min(SVD_DIM, min(self._tokens.fitted.shape) - 1), 1)
        self._svd = TruncatedSVD(dim, n_iter=3, random_state=self._seed).fit(self._tokens.fitted)
        self._described = Described.fit(batches[0], self._tokenizer.names)
        features = self._features(self._tokens.fitted, batches)
        self._known_F = np.asarray(np.isfinite(features).any(axis=0))
        self._trees.fit(features[:, self._known_F], np.concatenate(is_positive))
        return self

    def probabilities(self, batch: SequenceBatch) -> Floats:
        """Return the probability of every user of a batch."""
        assert self._tokens is not None, "fit comes first"
        features = self._features(self._tokens.rows(batch), [batch])
        probability_B: Floats = self._trees.predict_proba(features[:, self._known_F])[:, 1]
        return probability_B

    def _features(self, tokens: sparse.csr_matrix, batches: Sequence[SequenceBatch]) -> Floats:
        assert self._svd is not None
        statistics = [count_statistics(batch, self._described) for batch in batches]
        return np.hstack([self._svd.transform(tokens), np.vstack(statistics)])


def _edges(column: pa.ChunkedArray) -> Floats:
    value = numbers_of(column)
    value = value[np.isfinite(value)]
    if not len(value):
        return np.empty(0)
    return np.unique(np.quantile(value, np.linspace(0, 1, NUMBER_BINS + 1)[1:-1]))
