"""Profiles: what a user does, field by field; the statistics and target blocks.

A field's histogram is damped (square root of the counts), weighted by inverse document frequency
and scaled to unit length, so that a talkative field does not drown a telling one. Fields with few
slots are laid side by side and rotated to few dimensions (an uncentred SVD); hashed columns are
sketched with random signs (Achlioptas 2003), which keeps inner products between rare values that an
SVD loses. How much each field counts is learned without labels: see `embedder.weighting`.

Shape key: `B` users, `E` events, `V` small slots, `F` fields, `D` dimensions of a block.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from embedder.featurizer import EncodedEvents, Featurizer, SlotRange, name_of_slots
from embedder.fields import HashedField
from embedder.hashing import MISSING, Hashes, mix
from store.sequences import Int64s

Floats = npt.NDArray[np.float32]
Histograms = Callable[[], Iterator[Floats]]
USERS_AT_ONCE, EVENTS_AT_ONCE = 2_048, 131_072
DENSE_SLOTS, OVERSAMPLE, ITERATIONS = 2_048, 16, 4
"""Slots from which a matrix of all pairs, and its eigenvectors, would cost too much."""


@dataclass(frozen=True)
class ProfileModel:
    """Fitted weights of the histograms.

    Attributes:
        fields: Ranges of small slots, in the order of `field_weights`; then the hashed columns.
        idf_V: Inverse document frequency of each small slot.
        field_weights: Non-negative, summing to one: small fields first, then hashed columns.
        rotation_VD: Rows of the statistics block's basis, V x D.
        dim_target: Dimensions of the sketch.
    """

    fields: tuple[SlotRange, ...]
    hashed: tuple[HashedField, ...]
    idf_V: Floats
    field_weights: Floats
    rotation_VD: Floats
    dim_target: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the weighted fields; a column called as a derived field is none of these."""
        hashed = (name_of_slots(field.name) for field in self.hashed)
        return (*(field.name for field in self.fields), *hashed)

    @property
    def slot_scale(self) -> Floats:
        """Square root of the field's weight, for each small slot."""
        scale_V = np.zeros(len(self.idf_V), dtype=np.float32)
        for field, weight in zip(self.fields, self.field_weights, strict=False):
            scale_V[field.start : field.stop] = np.sqrt(weight)
        return scale_V

    def weighted(self, field_weights: Floats) -> "ProfileModel":
        """Return the same model with other field weights."""
        return replace(self, field_weights=field_weights.astype(np.float32))

    def histograms(
        self, slots: tuple[npt.NDArray[np.int32], Floats], user_E: Int64s, num_users: int
    ) -> Floats:
        """Return unit histograms of the small fields, side by side; B x V."""
        counts_BV = count_slots(slots, user_E, num_users, len(self.idf_V))
        damped = np.sqrt(counts_BV, out=counts_BV) * self.idf_V
        for field in self.fields:
            part = damped[:, field.start : field.stop]
            part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-9)
        for gap in _outside(self.fields, len(self.idf_V)):
            damped[:, gap] = 0.0
        return damped

    def statistics(self, histograms_BV: Floats) -> Floats:
        """Return the statistics block, B x D, not yet of unit length."""
        scaled_BV: Floats = histograms_BV * self.slot_scale
        product: Floats = scaled_BV @ self.rotation_VD
        return product

    def sketches(
        self, events: EncodedEvents, rows: Int64s, user_E: Int64s, num_users: int
    ) -> list[Floats]:
        """Return a unit sketch per hashed column, each B x dim_target."""
        tokens_EH = events.tokens_EH[rows]
        return [
            sketch_tokens(tokens_EH[:, place], user_E, num_users, field, self.dim_target)
            for place, field in enumerate(self.hashed)
        ]

    def target(self, sketches: list[Floats]) -> Floats:
        """Return the target block: the weighted sum of the sketches, B x dim_target."""
        weights = np.sqrt(self.field_weights[len(self.fields) :])
        total = np.zeros_like(sketches[0])
        for weight, sketch in zip(weights, sketches, strict=True):
            total += weight * sketch
        return total


def fit_profiles(featurizer: Featurizer, events: EncodedEvents, *, dim_target: int) -> ProfileModel:
    """Count users per slot; equal field weights and no rotation yet."""
    fields = tuple(field for field in featurizer.layout if field.in_profile)
    size = featurizer.num_small_slots
    num_users = len(events.offsets) - 1
    frequency_V = np.zeros(size)
    for user_rows in event_chunks(events.offsets):
        rows, user_E = rows_of_users(events.offsets, user_rows)
        start = events.offsets[user_rows][user_E]
        counts = count_slots(
            profile_slots(featurizer, events, rows, start), user_E, len(user_rows), size
        )
        frequency_V += (counts > 0).sum(axis=0)
    idf_V = (np.log((1 + num_users) / (1 + frequency_V)) + 1).astype(np.float32)
    num_fields = len(fields) + len(featurizer.hashed)
    weights = np.full(num_fields, 1 / num_fields, dtype=np.float32)
    rotation = np.zeros((size, 0), dtype=np.float32)
    return ProfileModel(fields, featurizer.hashed, idf_V, weights, rotation, dim_target)


def fit_rotation(histograms: Histograms, model: ProfileModel, *, dim: int) -> ProfileModel:
    """Return the model with the leading directions of the weighted histograms.

    Args:
        histograms: Of all users, some at a time; read anew each time it is called.
        model: With its final field weights.
        dim: Most directions to keep.
    """
    size = len(model.idf_V)
    scale_V = model.slot_scale.astype(np.float64)
    if size <= DENSE_SLOTS:
        second_VV = np.zeros((size, size))
        for part_BV in histograms():
            second_VV += part_BV.T.astype(np.float64) @ part_BV
        values, vectors = np.linalg.eigh(second_VV * scale_V[:, None] * scale_V[None, :])
    else:
        values, vectors = leading_directions(histograms, scale_V, dim)
    kept = np.argsort(values)[::-1][: min(dim, int((values > values.max() * 1e-9).sum()))]
    basis = vectors[:, kept]
    basis *= np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(len(kept))])
    return replace(model, rotation_VD=np.ascontiguousarray(basis, dtype=np.float32))


def leading_directions(
    histograms: Histograms, scale_V: npt.NDArray[np.float64], dim: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return eigenvalues and vectors, K and V x K, of the second moment without ever making it.

    Randomized subspace iteration (Halko, Martinsson and Tropp 2011): memory grows with V, time with
    the slots that users have.
    """

    def moment(basis_VK: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        product_VK = np.zeros_like(basis_VK)
        for part_BV in histograms():
            sparse_BV = sp.csr_matrix(part_BV).multiply(scale_V).tocsr()
            product_VK += sparse_BV.T @ (sparse_BV @ basis_VK)
        return product_VK

    count = min(dim + OVERSAMPLE, len(scale_V))
    basis_VK = np.random.default_rng(0).normal(size=(len(scale_V), count))
    for _ in range(ITERATIONS):
        basis_VK, _ = np.linalg.qr(moment(basis_VK))
    values, vectors = np.linalg.eigh(basis_VK.T @ moment(basis_VK))
    return values, basis_VK @ vectors


def profile_slots(
    featurizer: Featurizer, events: EncodedEvents, rows: Int64s, start: Int64s
) -> tuple[npt.NDArray[np.int32], Floats]:
    """Return static and relative slots of some events, the hashed ones left out by weight."""
    relative_ids, relative_weights = featurizer.relative(events, rows, start)
    ids = np.concatenate([events.ids_ES[rows], relative_ids], axis=1)
    return ids, np.concatenate([events.weights_ES[rows], relative_weights], axis=1)


def count_slots(
    slots: tuple[npt.NDArray[np.int32], Floats], user_E: Int64s, num_users: int, size: int
) -> Floats:
    """Sum the weights of each user's slots below `size`; B x V."""
    ids_ES, weights_ES = slots
    keep = ids_ES < size
    flat = (user_E[:, None] * size + ids_ES)[keep]
    counts = np.bincount(flat, weights=weights_ES[keep], minlength=num_users * size)
    return counts.reshape(num_users, size).astype(np.float32)


def sketch_tokens(
    tokens_E: Hashes, user_E: Int64s, num_users: int, field: HashedField, dim: int
) -> Floats:
    """Return the unit sketch of each user's damped, IDF-weighted values; B x dim.

    Every distinct value has a vector of `dim` random signs made from its hash, so values never seen
    in training need no table and two values never share one.
    """
    present = np.flatnonzero(tokens_E != MISSING)
    pair = mix(tokens_E[present] ^ mix(user_E[present].astype(np.uint64) + np.uint64(1)))
    _, first, counts = np.unique(pair, return_index=True, return_counts=True)
    tokens, users = tokens_E[present[first]], user_E[present[first]]
    distinct, code = np.unique(tokens, return_inverse=True)
    known = field.users_with(distinct)
    idf = np.log((1 + field.num_users) / (1 + known)) + 1
    weights = np.sqrt(counts) * idf[code]
    norms = np.sqrt(np.bincount(users, weights=weights**2, minlength=num_users))
    weights /= np.maximum(norms[users], 1e-9)
    matrix = sp.csr_matrix(
        (weights.astype(np.float32), (users, code)), shape=(num_users, len(distinct))
    )
    product: Floats = np.asarray(matrix @ random_signs(distinct, dim), dtype=np.float32)
    return product


def random_signs(tokens: Hashes, dim: int) -> Floats:
    """Return +-1/sqrt(dim) per value and dimension, drawn from the value's hash."""
    words = np.arange(1, dim // 64 + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = mix(tokens[:, None] ^ mix(words)[None, :])
    unpacked = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
    return (unpacked.astype(np.float32) * 2 - 1) / np.float32(np.sqrt(dim))


def rows_of_users(offsets: Int64s, users: Int64s) -> tuple[Int64s, Int64s]:
    """Return the event positions of consecutive users and the (local) user of each."""
    sizes = np.diff(offsets)[users]
    rows = np.arange(offsets[users[0]], offsets[users[-1] + 1], dtype=np.int64)
    return rows, np.repeat(np.arange(len(users), dtype=np.int64), sizes)


def user_chunks(num_users: int) -> list[Int64s]:
    """Cut users into runs of at most `USERS_AT_ONCE`."""
    return [
        np.arange(first, min(first + USERS_AT_ONCE, num_users), dtype=np.int64)
        for first in range(0, num_users, USERS_AT_ONCE)
    ]


def event_chunks(
    offsets: Int64s, *, most_events: int = EVENTS_AT_ONCE, most_users: int = USERS_AT_ONCE
) -> list[Int64s]:
    """Cut users into consecutive runs of so many at most, and of so many events or one user."""
    runs, first, num_users = [], 0, len(offsets) - 1
    while first < num_users:
        fits = int(np.searchsorted(offsets, offsets[first] + most_events, side="right")) - 1
        last = min(max(fits, first + 1), first + most_users, num_users)
        runs.append(np.arange(first, last, dtype=np.int64))
        first = last
    return runs


def _outside(fields: tuple[SlotRange, ...], size: int) -> list[slice]:
    """Return the ranges of slots that no profile field has."""
    ends = [0, *(field.stop for field in fields)]
    starts = [*(field.start for field in fields), size]
    return [slice(end, start) for end, start in zip(ends, starts, strict=True) if start > end]
