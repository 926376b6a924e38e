"""Laws of collapsing vectors that differ by float noise alone."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from index.distinct import Entries, group_identical
from index.noise import LEADERS_MAX, NOISE, RADIUS
from index.vectors import Rows, Vectors
from tests.property.index.strategies import galleries

ROUNDING = 2.0**-23
"""Rounding a unit vector to float32 moves it by less."""


def classes(entries: Entries) -> set[frozenset[int]]:
    """Return the groups as sets of rows."""
    parts = np.split(entries.rows_N, entries.offsets_E[1:-1])
    return {frozenset(part.tolist()) for part in parts}


def classes_of(owner: Rows) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(owner == one).tolist()) for one in np.unique(owner)}


@st.composite
def copies(draw: Any) -> tuple[Vectors, Rows]:
    """Draw distinct vectors, how often each is there, and what noise moved each copy.

    Noise of the full size stated is drawn along one axis or anywhere, so that copies stand on both
    sides of any border.
    """
    originals = np.unique(draw(galleries(max_size=12, dim=draw(st.integers(2, 9)))), axis=0)
    owner = np.array(
        draw(st.lists(st.integers(0, len(originals) - 1), min_size=1, max_size=60)), dtype=np.int64
    )
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    direction = generator.normal(size=(len(owner), originals.shape[1]))
    if draw(st.booleans()):
        direction = np.eye(originals.shape[1])[
            generator.integers(0, originals.shape[1], len(owner))
        ] * generator.choice([-1.0, 1.0], size=(len(owner), 1))
    size = draw(st.sampled_from([0.0, 1e-7, 1e-6, NOISE / 2 - ROUNDING]))
    size = size * generator.integers(0, 2, size=(len(owner), 1))
    noise = size * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return (originals[owner] + noise).astype(np.float32), owner


@settings(max_examples=300)
@given(copies())
def test_noise_never_changes_the_groups(drawn: tuple[Vectors, Rows]) -> None:
    vectors, owner = drawn
    assert classes(group_identical(vectors)) == classes_of(owner)


@st.composite
def near_vectors(draw: Any) -> Vectors:
    """Draw rows at all distances from none to beyond the tolerance: chains, heaps, equal ones."""
    dim = draw(st.integers(2, 6))
    step = draw(st.sampled_from([1e-7, 1e-6, 5e-6, 1e-5, 4e-5, 1e-4]))
    place = st.lists(st.integers(-6, 6), min_size=dim, max_size=dim)
    places = np.array(draw(st.lists(place, min_size=1, max_size=80)), dtype=np.float64)
    centre = np.ones(dim) / np.sqrt(dim)
    near: Vectors = (centre + step * places).astype(np.float32)
    return near


@settings(max_examples=200)
@given(near_vectors(), st.integers(0, 2**32 - 1))
def test_rows_that_differ_are_apart_and_equal_ones_together_in_any_order(
    vectors: Vectors, seed: int
) -> None:
    entries = group_identical(vectors)
    found = classes(entries)
    for rows in found:
        part = vectors[sorted(rows)].astype(np.float64)
        assert np.linalg.norm(part[:, None] - part[None, :], axis=2).max() <= 2 * RADIUS
    of_content = np.unique(vectors, axis=0, return_inverse=True)[1].ravel()
    for rows in classes_of(of_content):
        assert len(np.unique(entries.entry_N[sorted(rows)])) == 1
    order = np.random.default_rng(seed).permutation(len(vectors))
    shuffled = classes(group_identical(np.ascontiguousarray(vectors[order])))
    assert {frozenset(order[sorted(rows)].tolist()) for rows in shuffled} == found


@given(galleries())
def test_entries_are_the_classes_of_equal_rows_in_the_order_of_their_first(
    vectors: Vectors,
) -> None:
    entries = group_identical(vectors)
    assert sorted(entries.rows_N.tolist()) == list(range(len(vectors)))
    assert (np.diff(entries.first_rows_E) > 0).all()
    assert len(np.unique(vectors, axis=0)) == entries.num_entries
    for entry in range(entries.num_entries):
        rows = entries.rows_N[entries.offsets_E[entry] : entries.offsets_E[entry + 1]]
        assert (vectors[rows] == vectors[rows[0]]).all()
        assert (np.diff(rows) > 0).all()
        assert rows[0] == entries.first_rows_E[entry]
        assert (entries.entry_N[rows] == entry).all()


def test_a_continuum_is_taken_apart_and_its_copies_stay_together() -> None:
    """Far more places than leaders in every cell, each there three times with noise."""
    generator = np.random.default_rng(0)
    heap = 1e-5 * generator.normal(size=(20 * LEADERS_MAX, 16)) / 4
    vectors = np.repeat(0.25 + heap, 3, axis=0).astype(np.float32)
    vectors[1::3, 0] = np.nextafter(vectors[1::3, 0], np.float32(1))
    entries = group_identical(vectors)
    assert entries.num_entries == 20 * LEADERS_MAX
    assert (np.diff(entries.offsets_E) == 3).all()


def test_a_chain_of_small_steps_joins_no_ends() -> None:
    angle = np.arange(2_000) * NOISE * 0.9
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    entries = group_identical(vectors)
    for rows in classes(entries):
        part = vectors[sorted(rows)].astype(np.float64)
        assert np.linalg.norm(part - part[0], axis=1).max() <= 2 * RADIUS


def test_copies_of_thousands_of_behaviors_fall_together_in_many_dimensions() -> None:
    generator = np.random.default_rng(1)
    originals = generator.normal(size=(3_000, 96))
    originals /= np.linalg.norm(originals, axis=1, keepdims=True)
    owner = generator.integers(0, 3_000, 12_000)
    noise = generator.normal(size=(12_000, 96))
    noise *= (NOISE / 2 - ROUNDING) / np.linalg.norm(noise, axis=1, keepdims=True)
    entries = group_identical((originals[owner] + noise).astype(np.float32))
    assert classes(entries) == classes_of(owner)
