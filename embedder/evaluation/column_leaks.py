"""Columns that are no behavior: those named as leaks, and those whose values name their users.

Shape key: `B` users of a batch, `E` events of all of them.
"""

from collections.abc import Collection, Iterable, Sequence

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
from embedder.fields import count_users
from embedder.hashing import MISSING, hash_column
from store.schema import EventSchema, Role
from store.sequences import SequenceBatch

LEAK_COLUMNS, IDENTITY = "leak_columns", "identity_fields"
LEAK_NAME = "leak_"
VALUES = frozenset({Role.CATEGORY, Role.FLAG, Role.TARGET})


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
    reads_text: bool,
    owned_max: float,
    confidence: float,
) -> Finding:
    """Fail where a column whose values name their users is read by the encoder.

    Training leaves such columns out by itself, but not texts; simple methods read all of them. The
    target may name its users: it is compared, not learned by value.

    Args:
        batch: The training users.
        schema: Roles of the columns.
        left_out: Columns that training leaves out.
        reads_text: Whether texts are embedded.
        owned_max: Largest share of events whose value is one user's alone that training keeps.
        confidence: Coverage of the intervals.
    """
    owned: dict[str, Estimate] = {}
    for column in schema.columns:
        roles = column.roles if reads_text else column.roles - {Role.TEXT}
        if not roles - {Role.IGNORE} or column.name not in batch.events.column_names:
            continue
        owned[column.name] = owned_share(
            batch, column.name, repeated=not roles & VALUES, confidence=confidence
        )
    kept = [name for name in owned if name not in left_out]
    read = [name for name in kept if owned[name].value > owned_max]
    names = sorted(owned, key=lambda name: (name not in read, -owned[name].value))
    details = [
        f"{name}: {percent(owned[name])} of its values are one user's alone"
        + (", not learned by value" if name in left_out else "")
        for name in names
        if owned[name].value > owned_max or name in left_out
    ]
    beside = [name for name in left_out if name != schema.target]
    verdict = Verdict.WARN if beside else Verdict.PASS
    return Finding(
        IDENTITY,
        Verdict.FAIL if read else verdict,
        "largest share of a column's values that are one user's alone, of the columns learned from",
        max((owned[name] for name in kept), key=lambda share: share.value, default=None),
        f"fail above {owned_max:g}; warn where one is left out",
        'give such a column the role "ignore" in [schema.roles]: it names its users, and simple '
        "methods read it even where training leaves it out",
        RETRIEVAL_TASKS,
        counts={"columns": len(owned), "left_out": len(left_out), "naming_users": len(read)},
        details=at_most(details),
        rows=tuple(
            {"name": name, "owned": owned[name].to_dict(), "left_out": name in left_out}
            for name in names
        ),
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
