"""Vectorised 64-bit hashing of column values: one pass over the bytes, no loop over strings."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Hashes = npt.NDArray[np.uint64]

MISSING = np.uint64(0)
_MULTIPLIER = 0x9E3779B97F4A7C15


def mix(value: Hashes) -> Hashes:
    """Return a bijective scramble of 64-bit integers (the finalizer of SplitMix64)."""
    with np.errstate(over="ignore"):
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def hash_name(name: str) -> np.uint64:
    """Return the hash of one string; equal to `hash_column` of a column that holds it."""
    return np.uint64(hash_column(pa.array([name], type=pa.string()))[0])


def hash_column(values: pa.Array | pa.ChunkedArray) -> Hashes:
    """Return one hash per value of a column; null is `MISSING`, equal text has equal hashes.

    Strings are hashed by their UTF-8 bytes, other types by their text form.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    encoded = values.dictionary_encode()
    distinct = hash_strings(encoded.dictionary.cast(pa.large_string()))
    codes = pc.fill_null(encoded.indices, len(distinct)).to_numpy(zero_copy_only=False)
    hashes: Hashes = np.append(distinct, MISSING)[codes]
    return hashes


def hash_strings(values: pa.LargeStringArray) -> Hashes:
    """Return a polynomial hash of the bytes of each non-null string, mixed; never `MISSING`."""
    count = len(values)
    if count == 0:
        return np.zeros(0, dtype=np.uint64)
    buffers = values.buffers()
    offsets = np.frombuffer(buffers[1], dtype=np.int64)[values.offset : values.offset + count + 1]
    raw = buffers[2] if buffers[2] is not None else b""
    data = np.frombuffer(raw, dtype=np.uint8)[offsets[0] : offsets[-1]]
    starts = offsets[:-1] - offsets[0]
    lengths = np.diff(offsets)
    position = np.arange(len(data), dtype=np.int64) - np.repeat(starts, lengths)
    terms = (data.astype(np.uint64) + np.uint64(1)) * _powers(int(lengths.max(initial=0)))[position]
    sums = np.zeros(count, dtype=np.uint64)
    filled = lengths > 0
    if filled.any():
        sums[filled] = np.add.reduceat(terms, starts[filled])
    hashed = mix(sums + lengths.astype(np.uint64) * np.uint64(0x2545F4914F6CDD1D))
    return np.where(hashed == MISSING, np.uint64(1), hashed)


def _powers(count: int) -> Hashes:
    """Return the first powers of the multiplier modulo 2^64, each scrambled."""
    with np.errstate(over="ignore"):
        steps = np.full(max(count, 1), _MULTIPLIER, dtype=np.uint64)
        return mix(np.multiply.accumulate(steps)) | np.uint64(1)
