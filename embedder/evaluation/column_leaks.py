"""Columns that are no behavior: those named as leaks, and those whose values name their users.

Shape key: `B` users of a batch, `E` events of all of them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from embedder.evaluation.bootstrap import Estimate
from embedder.evaluation.intervals import estimate_share
from embedder.evaluation.leak_checks import (
    ALL_TASKS,
    RETRIEVAL_TASKS,
    Finding,
    Verdict,
    at_most,
    percent,
)
from embedder.evaluation.metrics import Flags
from embedder.evaluation.sample import owners
from embedder.evaluation.signatures import signed_share
from embedder.featurizer import TIME
from embedder.fields import count_users
from embedder.hashing import MISSING, hash_column
from store.schema import EventSchema, Role
from store.sequences import SequenceBatch

LEAK_COLUMNS, IDENTITY = "leak_columns", "identity_fields"
LEAK_NAME = "leak_"
VALUES = frozenset({Role.CATEGORY, Role.FLAG, Role.TARGET})
STRINGS = frozenset({Role.TARGET, Role.TEXT})


def judge_leak_columns(read: Iterable[str], withheld: Collection[str]) -> Finding:
    """Fail where a column named `leak_*` was read.

    Args:
        read: Names of the columns of everything that was read.
        withheld: Columns of the lake that must not be.
    """
    names = sorted(set(read))
    leaked = [name for name in names if name.lower().startswith(LEAK_NAME)]
    leaked += [name for name in names if name in withheld and name not in leaked]
    details = [f"read: {', '.join(leaked)}"] if leaked else []
    if withheld:
        details.append(f"in the lake and not read: {', '.join(sorted({*withheld} - {*leaked}))}")
    return Finding(
        LEAK_COLUMNS,
        Verdict.FAIL if leaked else Verdict.PASS,
        "share of the columns read that are named leak_*",
        Estimate(len(leaked) / max(len(names), 1), None, None),
        "fail above 0",
        "report a bug of the store: columns named leak_* are never inputs",
        ALL_TASKS,
        counts={"read": len(names), "leaks_read": len(leaked), "leaks_withheld": len(withheld)},
        details=tuple(details),
    )


def judge_identity(
    batch: SequenceBatch,
    schema: EventSchema,
    *,
    left_out: Sequence[str],
    embeds_text: bool,
    owned_max: float,
    confidence: float,
) -> Finding:
    """Fail where a column whose values name their users is learned from; warn where it is read.

    Training leaves such columns out by itself, but not texts; simple methods read all of them. The
    target may name its users: it is compared, not learned by value. The strings of targets and
    texts are read once more, by whoever was told labels (`embedder.wording`): a name in most of
    them speaks of its user's label there, so they are looked at word by word.

    Args:
        batch: The training users.
        schema: Roles of the columns.
        left_out: Columns that training leaves out, `ts` for the clock.
        embeds_text: Whether texts are embedded, too.
        owned_max: Largest share of events whose value is one user's alone that training keeps.
        confidence: Coverage of the intervals.
    """
    owned: dict[str, Estimate] = {}
    signed: dict[str, Estimate] = {}
    for name, roles in _read(batch, schema):
        if roles - {Role.TEXT}:
            repeated = not roles & VALUES
            owned[name] = owned_share(batch, name, repeated=repeated, confidence=confidence)
        if roles & STRINGS:
            signed[name] = signed_share(batch, name, confidence=confidence)
        if Role.TEXT in roles:
            copied = owned_share(batch, name, repeated=True, confidence=confidence)
            signed[name] = _larger(copied, signed[name])
            if embeds_text:
                owned[name] = _larger(signed[name], owned.get(name, signed[name]))
    return _identity(owned, signed, [*left_out], schema.target, owned_max)


def _read(batch: SequenceBatch, schema: EventSchema) -> Iterator[tuple[str, frozenset[Role]]]:
    """Yield the columns that are read, each with what it is read as."""
    for column in schema.columns:
        roles = column.roles - {Role.IGNORE}
        if roles and column.name in batch.events.column_names:
            yield column.name, roles


def _larger(one: Estimate, other: Estimate) -> Estimate:
    return max(one, other, key=lambda share: share.value)


def _identity(
    owned: Mapping[str, Estimate],
    signed: Mapping[str, Estimate],
    left_out: Sequence[str],
    target: str | None,
    owned_max: float,
) -> Finding:
    kept = [name for name in owned if name not in left_out]
    failed = [name for name in kept if owned[name].value > owned_max]
    beside = [name for name in left_out if name != target]
    naming = [name for name in signed if signed[name].value > owned_max and name not in failed]
    names = sorted(owned, key=lambda name: (name not in failed, -owned[name].value))
    details = [
        f"{name}: {percent(owned[name])} of its values are one user's alone"
        + (", not learned by value" if name in left_out else "")
        for name in names
        if owned[name].value > owned_max or name in left_out
    ]
    details[len(failed) : len(failed)] = [
        f"{name}: {percent(signed[name])} of its strings name their user, by a word that is in "
        "most strings of this user and in nobody else's"
        for name in naming
    ]
    details += [
        f"{name}: users have one time for all of their events; it is not learned from"
        for name in left_out
        if name == TIME
    ]
    warned = Verdict.WARN if beside or naming else Verdict.PASS
    rows = [
        {
            "name": name,
            "owned": owned[name].to_dict() if name in owned else None,
            "signed": signed[name].to_dict() if name in signed else None,
            "left_out": name in left_out,
        }
        for name in (*names, *(name for name in signed if name not in owned))
    ]
    return Finding(
        IDENTITY,
        Verdict.FAIL if failed else warned,
        "largest share of a column's values that are one user's alone, of the columns learned from",
        max((owned[name] for name in kept), key=lambda share: share.value, default=None),
        f"fail above {owned_max:g}; warn where one is left out, or where strings name users",
        'give such a column the role "ignore" in [schema.roles]: it names its users, and simple '
        "methods read it even where training leaves it out",
        RETRIEVAL_TASKS,
        counts={
            "columns": len(rows),
            "left_out": len(left_out),
            "naming_users": len(failed) + len(naming),
        },
        details=at_most(details),
        rows=tuple(rows),
    )


def owned_share(batch: SequenceBatch, name: str, *, repeated: bool, confidence: float) -> Estimate:
    """Return the share of a column's values in events that only one user has.

    Args:
        batch: The users.
        name: The column.
        repeated: Count values that the one user has several times only: numbers and texts are
            often unique, and tell nobody's name by that.
        confidence: Coverage of the interval.
    """
    user_E, hash_E = owners(batch), hash_column(batch.events[name])
    present_E = hash_E != MISSING
    if not present_E.any():
        return Estimate(0.0, None, None)
    values, num_users = count_users(hash_E, user_E)
    code_E = np.searchsorted(values, hash_E[present_E])
    owned_E: Flags = num_users[code_E] == 1
    if repeated:
        owned_E &= np.bincount(code_E, minlength=len(values))[code_E] > 1
    user_E = user_E[present_E]
    owned_B = np.bincount(user_E[owned_E], minlength=batch.num_users).astype(np.float64)
    all_B = np.bincount(user_E, minlength=batch.num_users).astype(np.float64)
    return estimate_share(owned_B, all_B, confidence=confidence)
