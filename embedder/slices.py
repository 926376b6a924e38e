"""Sampling of slices: which pieces of which users' sequences make a training batch.

All functions return half-open spans of event positions, vectorised over the batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store.sequences import Int64s

PREFIX_AGES = (3, 5, 10, 20, 50)


@dataclass(frozen=True)
class Spans:
    """Half-open spans of event positions, one per slice."""

    first: Int64s
    last: Int64s


def span_rows(spans: Spans) -> tuple[Int64s, Int64s]:
    """Return the event positions in the spans, one span after the other, and the span of each."""
    sizes = spans.last - spans.first
    owner = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    offsets = np.cumsum(sizes) - sizes
    return np.arange(sizes.sum(), dtype=np.int64) - offsets[owner] + spans.first[owner], owner


def in_pieces(spans: Spans, *, events_at_once: int) -> Iterator[tuple[slice, Spans]]:
    """Cut spans into consecutive pieces of about so many events, each with its place."""
    ends = np.cumsum(spans.last - spans.first)
    cuts = np.flatnonzero(np.diff(ends // events_at_once, prepend=0) > 0).tolist()
    for first, last in zip([0, *cuts], [*cuts, len(ends)], strict=True):
        if first < last:
            yield slice(first, last), Spans(spans.first[first:last], spans.last[first:last])


def pair_spans(
    offsets: Int64s,
    users: Int64s,
    *,
    longest: int,
    apart_share: float,
    rng: np.random.Generator,
) -> tuple[Spans, Spans]:
    """Return two slices of each user, who must have at least two events.

    A share of the pairs lie on two sides of a cut in time, as a banned user and the new account do;
    the others are two windows anywhere, which may overlap.
    """
    start, size = offsets[users], np.diff(offsets)[users]
    cut = start + 1 + (rng.random(len(users)) * (size - 1)).astype(np.int64)
    apart = rng.random(len(users)) < apart_share
    first = _window(start, np.where(apart, cut, start + size), longest, rng)
    second = _window(np.where(apart, cut, start), start + size, longest, rng)
    return first, second


def prefix_spans(
    offsets: Int64s, users: Int64s, *, longest: int, rng: np.random.Generator
) -> Spans:
    """Return a prefix of each user's sequence, as risk sees users: at one of the ages or whole.

    Between two ages there are thus only users who stopped there. Prefixes of any length would drown
    them among users who went on, and that a user stopped tells the classes apart.
    """
    size = np.minimum(np.diff(offsets)[users], longest)
    length = rng.choice(np.array([*PREFIX_AGES, longest]), len(users))
    return Spans(offsets[users], offsets[users] + np.minimum(length, size))


@dataclass(frozen=True)
class Looks:
    """Users at every age they reached, as risk sees them.

    A user who stopped between two ages is looked at once, whole, and weighs as much as all the
    looks that show the same.
    """

    user: Int64s
    spans: Spans
    weight: npt.NDArray[np.float64]


def looks_at(offsets: Int64s, users: Int64s) -> Looks:
    """Return the looks at some users, age by age."""
    size = np.diff(offsets)[users]
    ages = (*PREFIX_AGES, np.iinfo(np.int64).max)
    seen, lengths, weights = [], [], []
    for place, (before, age) in enumerate(zip((0, *PREFIX_AGES), ages, strict=True)):
        reached = np.flatnonzero(size > before)
        seen.append(users[reached])
        lengths.append(np.minimum(size[reached], age))
        weights.append(np.where(size[reached] <= age, len(ages) - place, 1))
    first = offsets[np.concatenate(seen)]
    return Looks(
        np.concatenate(seen),
        Spans(first, first + np.concatenate(lengths)),
        np.concatenate(weights).astype(np.float64),
    )


def drawn(users: Int64s, most: int, rng: np.random.Generator) -> Int64s:
    """Return the users, or as many of them as are wanted at most, ascending."""
    return users if len(users) <= most else np.sort(rng.choice(users, most, replace=False))


def draw_labelled(
    violators: Int64s, others: Int64s, count: int, *, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return users for a supervised batch, half violators; few are drawn with replacement."""
    half = count // 2
    return np.concatenate([_draw(violators, half, rng), _draw(others, count - half, rng)])


def _draw(users: Int64s, count: int, rng: np.random.Generator) -> Int64s:
    return rng.choice(users, count, replace=len(users) < count)


def _window(start: Int64s, stop: Int64s, longest: int, rng: np.random.Generator) -> Spans:
    """Return a window of at most `longest` events within each span; its length varies."""
    size = stop - start
    most = np.minimum(size, longest)
    least = np.minimum(most, 2)
    length = least + (rng.random(len(size)) * (most - least + 1)).astype(np.int64)
    length = np.where(rng.random(len(size)) < 0.5, most, length)
    first = start + (rng.random(len(size)) * (size - length + 1)).astype(np.int64)
    return Spans(first, first + length)
