"""Wording: how the strings of targets and texts read to someone who has seen violators' before.

A string is cut into overlapping runs of three to five bytes of its lower-cased text. A run weighs
the log ratio of how often violators and others used it, smoothed towards nothing where it is rare:
the log-count ratios of naive Bayes (Wang and Manning, ACL 2012). A string's wording is the mean
weight of its runs; its length and its share of digits are told beside it. So a page title, an item
name or a message speaks though nobody has met just this one before.

Shape key: `E` events, `N` users, `C` columns, `V` buckets of runs, `S` distinct strings, `P` bytes,
`F` folds, `K` classes or variants.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from embedder.featurizer import column_of
from embedder.profiles import Floats
from store.schema import EventSchema, Role
from store.sequences import Int64s, SequenceBatch

RUNS, BUCKETS = (3, 4, 5), 1 << 17
CHARACTERS, STRINGS_AT_ONCE = 256, 8_192
FOLDS, FIRST_STRINGS, SMOOTHING = 5, 20, 10.0
TOLD_OF_A_STRING = 3  # wording, length, share of digits

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Wording:
    """Weights of runs.

    Attributes:
        columns: Columns of strings.
        weight_CV: Weight of each bucket of runs, positive for violators'.
    """

    columns: tuple[str, ...]
    weight_CV: Floats

    @property
    def names(self) -> tuple[str, ...]:
        """What is told of an event, in order."""
        told = ("wording", "length", "digits")
        return tuple(f"{name} {what}" for name in self.columns for what in told)

    def codes(self, batch: SequenceBatch) -> Floats:
        """Return wording, length and digits of each event's strings, E x 3C; NaN where missing.

        Linear in the bytes of distinct strings; memory is bounded by `STRINGS_AT_ONCE`.
        """
        codes = np.full((len(batch.ts_us), len(self.names)), np.nan, dtype=np.float32)
        for place, (name, weight_V) in enumerate(zip(self.columns, self.weight_CV, strict=True)):
            strings, code_E = distinct_strings(batch, name)
            known = code_E >= 0
            told_S = np.column_stack([mean_weights(strings, weight_V[:, None]), shapes_of(strings)])
            first = TOLD_OF_A_STRING * place
            codes[known, first : first + TOLD_OF_A_STRING] = told_S[code_E[known]]
        return codes


def worded_columns(schema: EventSchema) -> tuple[str, ...]:
    """Return the columns whose strings are read: the target and every text."""
    return tuple(sorted({*schema.with_role(Role.TARGET), *schema.with_role(Role.TEXT)}))


def fit_wording(
    batch: SequenceBatch,
    columns: Sequence[str],
    is_violator_N: Bools,
    is_told_N: Bools,
    rng: np.random.Generator,
) -> tuple[Wording, Floats]:
    """Fit on the users whose labels are told.

    Args:
        batch: N users.
        columns: Columns of strings.
        is_violator_N, is_told_N: Class of each user, and whether it may be learned from.
        rng: Draws the folds.

    Returns:
        The wording, and the codes of the batch: those of a told user are of a wording that was
        fitted on the other folds, so that nobody's own label speaks in them.
    """
    fold_N = rng.integers(0, FOLDS, batch.num_users)
    columns = tuple(name for name in columns if name in batch.events.column_names)
    wording = Wording(columns, np.zeros((len(columns), BUCKETS), dtype=np.float32))
    fold_E = np.repeat(np.where(is_told_N, fold_N, FOLDS), batch.num_events)
    of_fold_EC = np.full((len(fold_E), len(columns)), np.nan, dtype=np.float32)
    for place, name in enumerate(columns):
        strings, code_E = distinct_strings(batch, name)
        users_FKS = _count_users(batch, code_E, len(strings), is_violator_N, is_told_N, fold_N)
        counts_FKV = _count_runs(strings, users_FKS)
        seen_KV = counts_FKV.sum(axis=0)
        ratios = [*(log_ratios(seen_KV - counts_KV) for counts_KV in counts_FKV)]
        ratios.append(log_ratios(seen_KV))  # of whoever is not told
        wording.weight_CV[place] = ratios[-1]
        of_fold_SF = mean_weights(strings, np.stack(ratios, axis=1))
        known = code_E >= 0
        of_fold_EC[known, place] = of_fold_SF[code_E[known], fold_E[known]]
    codes = wording.codes(batch)
    codes[:, ::TOLD_OF_A_STRING] = of_fold_EC
    return wording, codes


def log_ratios(counts_KV: npt.NDArray[np.float64]) -> Floats:
    """Return the smoothed log ratio of violators' (second row) and others' use of each run."""
    total_K = np.maximum(counts_KV.sum(axis=1), 1.0)
    prior_K = SMOOTHING * total_K / total_K.sum()
    others_V, violators_V = (counts_KV + prior_K[:, None]) / total_K[:, None]
    ratios: Floats = np.log(violators_V / others_V).astype(np.float32)
    return ratios


def _count_users(
    batch: SequenceBatch,
    code_E: Int64s,
    num_strings: int,
    is_violator_N: Bools,
    is_told_N: Bools,
    fold_N: Int64s,
) -> Floats:
    """Return how many told users of each fold and class had each string early on, F x 2 x S.

    A user counts once per distinct string among the first, so that nobody is loud.
    """
    user_E = np.repeat(np.arange(batch.num_users), batch.num_events)
    early_E = np.arange(len(user_E)) - batch.offsets[user_E] < FIRST_STRINGS
    counted = np.flatnonzero((code_E >= 0) & early_E & is_told_N[user_E])
    user, code = np.divmod(
        np.unique(user_E[counted] * np.int64(max(num_strings, 1)) + code_E[counted]),
        max(num_strings, 1),
    )
    side = fold_N[user] * 2 + is_violator_N[user]
    counts = np.bincount(side * num_strings + code, minlength=2 * FOLDS * num_strings)
    return counts.reshape(FOLDS, 2, num_strings).astype(np.float32)


def _count_runs(strings: pa.LargeStringArray, users_FKS: Floats) -> npt.NDArray[np.float64]:
    """Return how many told users of each fold and class used each run, F x 2 x V."""
    counts = np.zeros((BUCKETS, 2 * FOLDS))
    for first, piece in string_pieces(strings):
        users_SK = users_FKS[:, :, first : first + len(piece)].reshape(2 * FOLDS, -1).T
        for runs_SV in _runs(piece):
            counts += runs_SV.T @ users_SK
    return np.ascontiguousarray(counts.T).reshape(FOLDS, 2, BUCKETS)


def mean_weights(strings: pa.LargeStringArray, weight_VK: Floats) -> Floats:
    """Return the mean weights of each string's runs, S x K; NaN of a string without any."""
    means = np.empty((len(strings), weight_VK.shape[1]), dtype=np.float32)
    for first, piece in string_pieces(strings):
        total_SK = np.zeros((len(piece), weight_VK.shape[1]))
        count_S1 = np.zeros((len(piece), 1), dtype=np.int64)
        for runs_SV in _runs(piece):
            total_SK += runs_SV @ weight_VK
            count_S1 += np.diff(runs_SV.indptr)[:, None]
        with np.errstate(invalid="ignore"):
            means[first : first + len(piece)] = total_SK / np.where(count_S1 > 0, count_S1, np.nan)
    return means


def shapes_of(strings: pa.LargeStringArray) -> Floats:
    """Return the log of each string's length in characters, and its share of digits, S x 2."""
    digits = pc.utf8_length(pc.replace_substring_regex(strings, r"[^0-9]", "")).to_numpy()
    length = pc.utf8_length(strings).to_numpy()
    return np.stack([np.log1p(length), digits / np.maximum(length, 1)], axis=1).astype(np.float32)


def distinct_strings(batch: SequenceBatch, name: str) -> tuple[pa.LargeStringArray, Int64s]:
    """Return a column's distinct strings, cut to so many characters, and each event's, or -1."""
    column = column_of(batch, name).combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    encoded = column.dictionary_encode()
    strings = encoded.dictionary.cast(pa.large_string())
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return pc.utf8_slice_codeunits(strings, 0, CHARACTERS), codes


def string_pieces(strings: pa.LargeStringArray) -> Iterator[tuple[int, pa.LargeStringArray]]:
    """Cut strings into bounded pieces, each with the place of its first."""
    for first in range(0, len(strings), STRINGS_AT_ONCE):
        yield first, strings.slice(first, STRINGS_AT_ONCE)


def _runs(strings: pa.LargeStringArray) -> Iterator[sparse.csr_matrix]:
    """Yield the buckets of each string's runs, a matrix S x V of ones for each length of run.

    A string is put between two spaces, so that its beginning and its end are runs of their own.
    """
    space = pa.scalar(" ", pa.large_string())
    padded = pc.binary_join_element_wise(
        space, pc.utf8_lower(strings), space, pa.scalar("", pa.large_string())
    )
    _, ends, data = padded.buffers()
    offsets = np.frombuffer(ends, dtype=np.int64)[padded.offset : padded.offset + len(padded) + 1]
    byte_P = np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]].astype(np.uint32)
    size_S = np.diff(offsets)
    left_P = np.repeat(offsets[1:] - offsets[0], size_S) - np.arange(len(byte_P))
    hashed_P = np.zeros(len(byte_P), dtype=np.uint32)
    for length in range(1, max(RUNS) + 1):
        hashed_P *= np.uint32(0x01000193)
        last = max(len(byte_P) - length + 1, 0)
        hashed_P[:last] += byte_P[length - 1 :][:last] + np.uint32(1)
        if length in RUNS:
            whole_P = hashed_P[left_P >= length]
            bucket = (whole_P ^ (whole_P >> np.uint32(15))) * np.uint32(0x85EBCA6B)
            bucket >>= np.uint32(33 - BUCKETS.bit_length())
            stops = np.concatenate([[0], np.cumsum(np.maximum(size_S - length + 1, 0))])
            ones = np.ones(len(bucket), dtype=np.float32)
            shape = len(strings), BUCKETS
            yield sparse.csr_matrix((ones, bucket.astype(np.int32), stops), shape=shape)
