"""Labelled users with made-up vectors: two crowds that overlap, violators and others."""

import numpy as np
import pyarrow as pa

from index.risk.gallery import WHOLE, References, members, usable_ages
from index.risk.membership import RingMembership
from index.vectors import Vectors
from store.sequences import Int64s


def unit_rows(values: np.ndarray) -> Vectors:
    """Return rows of unit length, float32."""
    rows: Vectors = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return rows


def random_unit(rng: np.random.Generator, count: int, dim: int) -> Vectors:
    """Return directions drawn evenly."""
    return unit_rows(rng.normal(size=(count, dim)))


def make_references(
    num_users: int = 120,
    *,
    seed: int = 0,
    dim: int = 8,
    is_violator: np.ndarray | None = None,
    ring: Int64s | None = None,
    vote: np.ndarray | None = None,
) -> References:
    """Return references of all ages, violators leaning one way; labels can be given."""
    rng = np.random.default_rng(seed)
    leaning = np.arange(num_users) % 3 == 0
    labels = leaning if is_violator is None else is_violator
    num_events = np.tile([1, 2, 4, 8, 30, 90], num_users)[:num_users]
    centre = random_unit(rng, 2, dim)
    drawn = rng.normal(size=(num_users, dim)) * 0.6 + centre[leaning.astype(np.int64)]
    ages = usable_ages(num_events, leaning)
    rows = members(num_events, ages)
    vectors = [
        unit_rows(drawn[inside] + rng.normal(size=(len(inside), dim)) * 0.1) for inside in rows
    ]
    assert ages[-1] == WHOLE
    return References(
        tuple(f"r{place:04d}" for place in range(num_users)),
        labels,
        np.ones(num_users) if vote is None else vote,
        np.full(num_users, -1) if ring is None else ring,
        ages,
        tuple(rows),
        tuple(vectors),
    )


def membership_of(references: References, *, num_users: int) -> RingMembership:
    """Return the rings of the references as those of a build of so many users."""
    return RingMembership(
        pa.array(references.user_ids, pa.string()),
        references.ring_R,
        references.is_violator_R,
        num_users,
    )


def without(references: References, user: int) -> References:
    """Return the references as if one of them were none."""
    kept = np.arange(len(references.user_ids)) != user
    place = np.cumsum(kept) - 1
    rows, vectors = [], []
    for inside, of_age in zip(references.rows, references.vectors, strict=True):
        mine = inside != user
        rows.append(place[inside[mine]])
        vectors.append(np.ascontiguousarray(of_age[mine]))
    return References(
        tuple(np.array(references.user_ids)[kept].tolist()),
        references.is_violator_R[kept],
        references.vote_R[kept],
        references.ring_R[kept],
        references.ages,
        tuple(rows),
        tuple(vectors),
    )
