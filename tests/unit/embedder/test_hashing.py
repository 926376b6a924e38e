import numpy as np
import pyarrow as pa
import pytest

from embedder.hashing import MISSING, hash_column, hash_name, hash_strings, mix

WORDS = ["a", "b", "", "a", None, "ü", "longer than the others", "b"]


def test_equal_text_has_equal_hashes_and_other_text_has_others() -> None:
    hashes = hash_column(pa.array(WORDS))
    distinct = {word: hashes[place] for place, word in enumerate(WORDS)}
    assert hashes.tolist() == [distinct[word] for word in WORDS]
    assert len(set(distinct.values())) == len(set(WORDS))


def test_null_is_missing_and_nothing_else_is() -> None:
    hashes = hash_column(pa.array(WORDS))
    assert (hashes == MISSING).tolist() == [word is None for word in WORDS]


@pytest.mark.parametrize(
    "column",
    [
        pa.chunked_array([WORDS[:3], WORDS[3:4], [], WORDS[4:]], pa.string()),
        pa.array(WORDS).dictionary_encode(),
        pa.array(["zzz", *WORDS, None]).slice(1, len(WORDS)),
        pa.array(WORDS, pa.large_string()),
        pa.array(WORDS, pa.string_view()),
    ],
    ids=["chunks", "dictionary", "slice", "large", "view"],
)
def test_hashes_do_not_depend_on_how_the_column_is_kept(
    column: pa.Array | pa.ChunkedArray,
) -> None:
    assert hash_column(column).tolist() == hash_column(pa.array(WORDS)).tolist()


def test_a_column_hashes_as_its_text_does() -> None:
    """The service reads events as text where the lake has numbers."""
    assert hash_column(pa.array([3, None, -7])).tolist() == (
        hash_column(pa.array(["3", None, "-7"])).tolist()
    )
    assert hash_column(pa.array([True, False])).tolist() == (
        hash_column(pa.array(["true", "false"])).tolist()
    )


@pytest.mark.parametrize("kind", [pa.string(), pa.int64(), pa.float64(), pa.null()])
def test_columns_of_nulls_and_empty_columns_are_hashed(kind: pa.DataType) -> None:
    assert hash_column(pa.nulls(3, kind)).tolist() == [MISSING] * 3
    assert hash_column(pa.nulls(0, kind)).tolist() == []


def test_a_name_hashes_as_a_column_of_it() -> None:
    assert hash_name("page") == hash_column(pa.array(["page"]))[0]


def test_hashes_are_spread_evenly_and_do_not_collide() -> None:
    hashes = hash_strings(
        pa.array([f"item {place}" for place in range(100_000)], pa.large_string())
    )
    assert len(np.unique(hashes)) == 100_000
    counts = np.bincount((hashes % np.uint64(64)).astype(np.int64), minlength=64)
    assert np.abs(counts / (100_000 / 64) - 1).max() < 0.15
    bits = np.unpackbits(hashes.view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.abs(bits - 0.5).max() < 0.02


def test_swapped_and_repeated_bytes_are_told_apart() -> None:
    words = ["ab", "ba", "aab", "aba", "baa", "aa", "aaa", "\x00", "\x00\x00", ""]
    assert len(np.unique(hash_column(pa.array(words)))) == len(words)


def test_mix_is_a_bijection_on_what_it_is_given() -> None:
    values = np.arange(50_000, dtype=np.uint64)
    assert len(np.unique(mix(values))) == len(values)
