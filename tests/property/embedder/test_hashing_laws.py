import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from embedder.hashing import MISSING, hash_column

COLUMNS = st.lists(st.none() | st.text(max_size=12), max_size=40)


@given(COLUMNS)
def test_hashes_are_equal_exactly_where_values_are(values: list[str | None]) -> None:
    hashes = hash_column(pa.array(values, pa.string())).tolist()
    assert len(set(zip(values, hashes, strict=True))) == len(set(values)) == len(set(hashes))
    assert [value is None for value in values] == [one == MISSING for one in hashes]


@given(COLUMNS, st.data())
def test_a_slice_of_a_column_hashes_as_its_values(
    values: list[str | None], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(values)))
    last = data.draw(st.integers(first, len(values)))
    column = pa.array(values, pa.string())
    whole = hash_column(column)
    assert (hash_column(column.slice(first, last - first)) == whole[first:last]).all()
    chunked = pa.chunked_array([column[:first], column[first:last], column[last:]], pa.string())
    assert (hash_column(chunked) == whole).all()
    assert (hash_column(column.dictionary_encode()) == whole).all()
    assert whole.dtype == np.uint64
