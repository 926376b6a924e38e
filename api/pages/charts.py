"""Small charts as numbers for SVG; the templates draw them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """One channel's part of a bar, in percent of the bar's width."""

    channel: int
    start: float
    width: float
    is_negative: bool


@dataclass(frozen=True)
class Bar:
    """A similarity split by channel; `text` says the same in words."""

    segments: tuple[Segment, ...]
    zero: float
    text: str


def similarity_bars(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> list[Bar]:
    """Return one bar a row, all to one scale, so that bars can be compared down a table.

    Shares against the likeness extend left of zero, the others right of it.
    """
    below = max((_sum_of_sign(row, -1) for row in rows), default=0.0)
    above = max((_sum_of_sign(row, +1) for row in rows), default=0.0)
    span = max(below + max(above, 1.0), 1e-9)
    return [_bar(row, names, zero=below / span, span=span) for row in rows]


def _sum_of_sign(row: Mapping[str, float], sign: int) -> float:
    return sum(max(0.0, sign * share) for share in row.values())


def _bar(row: Mapping[str, float], names: Sequence[str], *, zero: float, span: float) -> Bar:
    left = right = zero
    segments = []
    for channel, name in enumerate(names):
        share = row.get(name, 0.0)
        width = abs(share) / span
        if share < 0:
            left -= width
        start = left if share < 0 else right
        if share > 0:
            right += width
        segments.append(
            Segment(channel, round(start * 100, 2), round(width * 100, 2), is_negative=share < 0)
        )
    text = ", ".join(f"{name} {_signed(row.get(name, 0.0))}" for name in names)
    return Bar(tuple(segments), round(zero * 100, 2), text)


def _signed(share: float) -> str:
    return f"{share:.2f}".replace("-0.00", "0.00").replace("-", "−")
