"""Field audit: columns whose values belong to one user each are found before they are learned from.

A session id, a device or one's own page identifies its user. An encoder trained to recognise slices
of the same user learns to read such a field and nothing else, and fails on the next user. So does a
clock that gives each user one time for all events, as an export with the day of joining does.
"""

from dataclasses import asdict, dataclass

import numpy as np

from embedder.config import FeaturizerConfig
from embedder.featurizer import TIME, categories_of, column_of
from embedder.hashing import MISSING, Hashes, hash_column, mix
from store.schema import EventSchema, Role
from store.sequences import Int64s, SequenceBatch


@dataclass(frozen=True)
class FieldFinding:
    """What the audit found of one column.

    Attributes:
        name: The column.
        num_values: Distinct values.
        shared_share: Share of the events (of those with a value) whose value several users have;
            of `ts`, whose users had other events at another time.
        left_out: Whether the encoder must not learn from it.
    """

    name: str
    num_values: int
    shared_share: float
    left_out: bool

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return asdict(self)


def audit_fields(
    batch: SequenceBatch, schema: EventSchema, config: FeaturizerConfig
) -> tuple[FieldFinding, ...]:
    """Measure every column; a number is refused only when most events repeat a value of one user.

    The clock is refused, and only then told of, when most events are those of users who have one
    time for all of theirs.

    Cost: one sort of the events per column.
    """
    user_E = np.repeat(np.arange(batch.num_users), batch.num_events)
    findings = []
    for name in sorted({*categories_of(schema), *schema.with_role(Role.NUMBER)}):
        hashes = hash_column(column_of(batch, name))
        num_values, shared, owned = _ownership(hashes, user_E)
        is_number = name not in categories_of(schema)
        left_out = (
            owned > 1.0 - config.shared_share_min if is_number else shared < config.shared_share_min
        )
        findings.append(FieldFinding(name, num_values, round(shared, 4), left_out))
    moving = _moving_share(batch)
    if moving < config.shared_share_min:
        findings.append(FieldFinding(TIME, len(np.unique(batch.ts_us)), round(moving, 4), True))
    return tuple(findings)


def _moving_share(batch: SequenceBatch) -> float:
    """Return the share of events whose users had others at another time; of users of several."""
    several = np.flatnonzero(batch.num_events > 1)
    if len(several) == 0:
        return 1.0
    first, last = batch.offsets[several], batch.offsets[several + 1] - 1
    num_events = batch.num_events[several]
    moves = batch.ts_us[first] != batch.ts_us[last]
    return float(num_events[moves].sum() / num_events.sum())


def _ownership(hashes: Hashes, user_E: Int64s) -> tuple[int, float, float]:
    """Return distinct values, and the shares of events whose value several have, or one repeats."""
    present = hashes != MISSING
    if not present.any():
        return 0, 1.0, 0.0
    values, code = np.unique(hashes[present], return_inverse=True)
    pair = mix(hashes[present] ^ mix(user_E[present].astype(np.uint64) + np.uint64(1)))
    _, first = np.unique(pair, return_index=True)
    users = np.bincount(code[first], minlength=len(values))
    events = np.bincount(code, minlength=len(values))
    return (
        len(values),
        float(np.mean(users[code] > 1)),
        float(np.mean((users[code] == 1) & (events[code] > 1))),
    )
