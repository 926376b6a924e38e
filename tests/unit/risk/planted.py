"""Users with made-up vectors of whom some stand in groups."""

import numpy as np

from index.vectors import Vectors
from store.sequences import Int64s
from tests.unit.risk.reference_users import unit_rows

DIM, ALONE = 32, -1


def with_groups(
    num_users: int, groups: list[tuple[int, float]], *, seed: int = 0
) -> tuple[Vectors, Int64s]:
    """Return users, and the group of each, -1 for none.

    Args:
        num_users: In all.
        groups: Size of each group, and how far its members stray from its middle.
        seed: Of directions and places.
    """
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(num_users, DIM))
    group = np.full(num_users, ALONE)
    places = rng.permutation(num_users)
    for number, (size, spread) in enumerate(groups):
        mine, places = places[:size], places[size:]
        group[mine] = number
        vectors[mine] = rng.normal(size=DIM) + spread * rng.normal(size=(size, DIM))
    return unit_rows(vectors), group


def with_ring_in_a_crowd(*, ring: int, crowd: int, num_users: int) -> tuple[Vectors, Int64s]:
    """Return a crowd (group 0), a ring within it (1) and another elsewhere (2)."""
    vectors, group = with_groups(num_users, [(crowd, 0.5), (0, 0.0), (5, 0.15)])
    rng = np.random.default_rng(1)
    inner = np.flatnonzero(group == 0)[:ring]
    middle = vectors[inner[0]] * np.sqrt(DIM)
    vectors[inner] = unit_rows(middle + 0.1 * rng.normal(size=(ring, DIM)))
    group[inner] = 1
    return vectors, group
