"""Galleries for property tests: few dimensions and coarse values, so that ties are common."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from index.vectors import Vectors


@st.composite
def galleries(draw: Any, *, max_size: int = 60, min_size: int = 1, dim: int = 4) -> Vectors:
    """Draw unit rows of whom many are equal or equally far from each other."""
    coordinate = st.integers(-2, 2)
    row = st.lists(coordinate, min_size=dim, max_size=dim).filter(any)
    rows = draw(st.lists(row, min_size=min_size, max_size=max_size))
    vectors = np.array(rows, dtype=np.float64)
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
