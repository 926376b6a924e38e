"""Signatures: words that one user alone writes, and in most of what that user writes.

A name or an address in every message, an own folder in every path. Such strings seldom repeat as a
whole, so they are looked at word by word.

Shape key: `B` users of a batch, `E` events, `P` pairs of a user and a string, `O` occurrences of a
word in the string of a pair, `S` distinct strings, `W` distinct words of each of them.
"""

import string

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedder.evaluation.bootstrap import Estimate
from embedder.evaluation.intervals import estimate_share
from embedder.evaluation.metrics import Flags, Int64s
from embedder.evaluation.sample import owners
from embedder.hashing import MISSING, Hashes, hash_column, mix
from embedder.wording import distinct_strings, string_pieces
from store.sequences import SequenceBatch

OCCURRENCES_AT_ONCE = 1 << 22
STRINGS_MIN = 3  # of a user: with fewer every rare word looks like a habit


def signed_share(batch: SequenceBatch, name: str, *, confidence: float) -> Estimate:
    """Return the share of a column's strings that hold a signature of their user.

    A signature is a word that no other user writes and that is in more than half of the different
    strings of its user. Users with fewer than three of them are not asked. Words are in lower case:
    what stands between spaces, such as an address, and its parts between signs.

    Args:
        batch: The users.
        name: The column.
        confidence: Coverage of the interval.

    Cost: a sort of the words of every user's different strings; beside a hash for each distinct
    word of each string, memory is bounded by `OCCURRENCES_AT_ONCE`.
    """
    strings, code_E = distinct_strings(batch, name)
    has_E = code_E >= 0
    user_E = owners(batch)[has_E]
    pair_E = user_E * np.int64(max(len(strings), 1)) + code_E[has_E]
    pairs, pair_of_E = np.unique(pair_E, return_inverse=True)
    user_P, string_P = np.divmod(pairs, max(len(strings), 1))
    num_strings_B = np.bincount(user_P, minlength=batch.num_users)
    asked_P = num_strings_B[user_P] >= STRINGS_MIN
    if not asked_P.any():
        return Estimate(0.0, None, None)
    signed_P = _signed(user_P, string_P, num_strings_B, _words_of(strings))
    events_P = np.bincount(pair_of_E).astype(np.float64)
    asked_B = np.bincount(user_P, np.where(asked_P, events_P, 0.0), batch.num_users)
    signed_P &= asked_P
    signed_B = np.bincount(user_P, np.where(signed_P, events_P, 0.0), batch.num_users)
    return estimate_share(
        signed_B.astype(np.float64), asked_B.astype(np.float64), confidence=confidence
    )


def _words_of(strings: pa.LargeStringArray) -> tuple[Hashes, Int64s]:
    """Return the distinct words of each string, one string after the other, and how many, S."""
    pieces = [_words_of_some(some) for _, some in string_pieces(strings)]
    return np.concatenate([hash_W for hash_W, _ in pieces]), np.concatenate(
        [size_S for _, size_S in pieces]
    )


def _words_of_some(strings: pa.LargeStringArray) -> tuple[Hashes, Int64s]:
    lower = pc.utf8_lower(strings)
    kinds = pc.utf8_split_whitespace(lower), pc.split_pattern_regex(lower, r"[\s\pP\pS]+")
    hash_O = np.concatenate([_hashes(pc.list_flatten(lists)) for lists in kinds])
    string_O = pa.concat_arrays([pc.list_parent_indices(lists) for lists in kinds]).to_numpy()
    order = np.lexsort((hash_O, string_O))
    string_O, hash_O = string_O[order].astype(np.int64), hash_O[order]
    is_new = (np.diff(string_O, prepend=-1) != 0) | (hash_O != np.roll(hash_O, 1))
    kept = is_new & (hash_O != MISSING)
    return hash_O[kept], np.bincount(string_O[kept], minlength=len(strings))


def _hashes(words: pa.Array) -> Hashes:
    trimmed = pc.utf8_trim(words, characters=string.punctuation)
    return hash_column(pc.if_else(pc.equal(trimmed, ""), None, trimmed))


def _signed(
    user_P: Int64s, string_P: Int64s, num_strings_B: Int64s, words: tuple[Hashes, Int64s]
) -> Flags:
    """Return which pairs' strings hold a signature of the pair's user, by parts of the words."""
    hash_W, size_S = words
    string_W = np.repeat(np.arange(len(size_S), dtype=np.int32), size_S)
    num_parts = np.uint64(-(-int(size_S[string_P].sum()) // OCCURRENCES_AT_ONCE))
    signed_P = np.zeros(len(user_P), dtype=np.bool_)
    for part in range(int(num_parts)):
        mine = hash_W % num_parts == part
        sizes = np.bincount(string_W[mine], minlength=len(size_S))
        signed_P |= _signed_by(user_P, string_P, num_strings_B, (hash_W[mine], sizes))
    return signed_P


def _signed_by(
    user_P: Int64s, string_P: Int64s, num_strings_B: Int64s, words: tuple[Hashes, Int64s]
) -> Flags:
    hash_W, size_S = words
    size_P = size_S[string_P]
    pair_O = np.repeat(np.arange(len(user_P)), size_P)
    place_O = np.arange(len(pair_O)) - np.repeat(np.cumsum(size_P) - size_P, size_P)
    hash_O = hash_W[(np.cumsum(size_S) - size_S)[string_P][pair_O] + place_O]
    user_O = user_P[pair_O]
    _, first, habit_O, count = np.unique(
        hash_O ^ mix(user_O.astype(np.uint64) + np.uint64(1)),
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    _, word, num_users = np.unique(hash_O[first], return_inverse=True, return_counts=True)
    is_signature = (num_users[word] == 1) & (2 * count > num_strings_B[user_O[first]])
    signed_P = np.zeros(len(user_P), dtype=np.bool_)
    signed_P[pair_O[is_signature[habit_O]]] = True
    return signed_P
