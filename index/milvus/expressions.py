"""Filters as expressions of Milvus; they hold numbers alone, so there is nothing to escape."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from index.answers import Filter
from index.milvus.entities import ENTRY, POLICIES
from store.clock import to_us

INT64_MAX = 2**63 - 1
NOBODY = f"{ENTRY} < 0"
EVERYONE = f"{ENTRY} >= 0"


def expression_of(
    condition: Filter | None, *, known_violators: bool, codes: Mapping[str, int]
) -> str:
    """Return what every entry fulfils that has a user who passes.

    Args:
        condition: The filter; None lets everyone pass.
        known_violators: Let known violators pass alone.
        codes: Number of each policy, as in the entities.
    """
    terms = ["violator == true"] if known_violators else []
    if condition is not None:
        terms += _terms(condition, codes)
    return " and ".join(terms) or EVERYONE


def _terms(condition: Filter, codes: Mapping[str, int]) -> Iterator[str]:
    if condition.label is not None:
        yield f"{'violator' if condition.label == 1 else 'benign'} == true"
    if condition.min_events is not None:
        yield f"num_events_max >= {_int64(condition.min_events)}"
    if condition.max_events is not None:
        yield f"num_events_min <= {_int64(condition.max_events)}"
    yield from _between("first_us", condition.first_seen_after, condition.first_seen_before)
    yield from _between("last_us", condition.last_seen_after, condition.last_seen_before)
    if condition.policies is not None:
        wanted = sorted({codes[name] for name in condition.policies if name in codes})
        named = f"violator == true and array_contains_any({POLICIES}, {wanted})"
        yield named if wanted else NOBODY


def _between(name: str, after: datetime | None, before: datetime | None) -> Iterator[str]:
    if after is not None:
        yield f"{name}_max >= {to_us(after)}"
    if before is not None:
        yield f"{name}_min < {to_us(before)}"


def _int64(number: int) -> int:
    """Return the nearest number that an expression can hold; no count is beyond it."""
    return max(-INT64_MAX, min(number, INT64_MAX))
