"""What the platform's moderators know, when, and how wrongly; and the truth beside it.

Shape key: `U` users of a chunk. Times are microseconds since the first day of the records.
"""

from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.simulator.cast import NOBODY, Cast, Part
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.lifetimes import DAY_US, HOUR_US, Lifetimes
from jobs.simulator.styles import POLICIES, STYLES
from jobs.simulator.traits import Traits

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

RINGS_FOUND = 0.6  # rings whose caught members are recorded as one group
UNKNOWN = -1  # a time that is not set


def make_labels(
    config: SimulatorConfig,
    user_ids: list[str],
    cast: Cast,
    lifetimes: Lifetimes,
    ring_names: list[str],
    rng: np.random.Generator,
) -> pa.Table:
    """Return the labels in the order in which they became known.

    A user not caught within the review time is recorded as benign at its end: young users have
    no label yet, and a violator caught later has two rows. Nothing is known after the records end.
    """
    tables = (
        _benign(config, user_ids, lifetimes, rng),
        _violators(config, user_ids, cast, lifetimes, ring_names, rng),
        _false_alarms(config, user_ids, cast, lifetimes, rng),
    )
    table = pa.concat_tables(tables)
    return table.sort_by([("known_at", "ascending"), ("user_id", "ascending")])


def make_truth(
    config: SimulatorConfig,
    user_ids: list[str],
    cast: Cast,
    traits: Traits,
    lifetimes: Lifetimes,
    predecessors: Int64s,
    ring_names: list[str],
    household_names: list[str],
) -> pa.Table:
    """Return one row per user: what the user is, whatever moderators believe."""
    before_U = np.full(len(user_ids), NOBODY, dtype=np.int64)
    before_U[cast.rows(Part.EVADER)] = predecessors
    banned_us = np.where(lifetimes.is_banned_U, lifetimes.stop_U, UNKNOWN)
    return pa.table(
        {
            "user_id": user_ids,
            "part": _pick([part.name.lower() for part in Part], cast.part_U),
            "is_violator": cast.is_violator_U,
            "policy": _pick([policy.name for policy in POLICIES], cast.policy_U),
            "style": _pick([style.name for style in STYLES], traits.style_U),
            "ring": _pick(ring_names, cast.ring_U),
            "household": _pick(household_names, cast.household_U),
            "evader_of": _pick(user_ids, before_U),
            "banned_at": _times(config.starts_at, banned_us),
        }
    )


def _benign(
    config: SimulatorConfig, user_ids: list[str], lifetimes: Lifetimes, rng: np.random.Generator
) -> pa.Table:
    due_us = lifetimes.start_U + int(config.review_days * DAY_US)
    banned_before = lifetimes.is_banned_U & (lifetimes.stop_U <= due_us)
    reviewed = rng.random(len(user_ids)) < config.share_reviewed
    rows = np.flatnonzero(reviewed & ~banned_before & (due_us < config.num_days * DAY_US))
    nothing = np.full(len(rows), UNKNOWN, dtype=np.int64)
    return _label_table(config, user_ids, rows, 0, nothing, nothing, due_us[rows], nothing, [])


def _violators(
    config: SimulatorConfig,
    user_ids: list[str],
    cast: Cast,
    lifetimes: Lifetimes,
    ring_names: list[str],
    rng: np.random.Generator,
) -> pa.Table:
    rows = np.flatnonzero(lifetimes.is_banned_U)
    median_us = config.detection_delay_hours * HOUR_US
    delay_us = (rng.lognormal(np.log(median_us), 1.2, len(rows))).astype(np.int64)
    known_us = lifetimes.stop_U[rows] + delay_us
    other = rng.integers(0, len(POLICIES), len(rows))
    policy = np.where(rng.random(len(rows)) < config.policy_noise, other, cast.policy_U[rows])
    found = rng.random(len(ring_names) + 1) < RINGS_FOUND
    ring = cast.ring_U[rows]
    ring = np.where((ring >= 0) & found[ring] & (rng.random(len(rows)) < 0.9), ring, NOBODY)
    kept = np.flatnonzero(known_us < config.num_days * DAY_US)
    names = _pick(ring_names, ring[kept])
    occurred = lifetimes.stop_U[rows[kept]]
    nothing = np.full(len(kept), UNKNOWN, dtype=np.int64)
    return _label_table(
        config, user_ids, rows[kept], 1, policy[kept], occurred, known_us[kept], nothing, names
    )


def _false_alarms(
    config: SimulatorConfig,
    user_ids: list[str],
    cast: Cast,
    lifetimes: Lifetimes,
    rng: np.random.Generator,
) -> pa.Table:
    """Label some innocents as violators; half of these labels are taken back within weeks."""
    innocent = np.flatnonzero(~cast.is_violator_U)
    rows = innocent[rng.random(len(innocent)) < config.share_false_alarms]
    lived_us = lifetimes.stop_U[rows] - lifetimes.start_U[rows]
    until_us = (lived_us * rng.uniform(0.3, 1.0, len(rows))).astype(np.int64)
    occurred = lifetimes.start_U[rows] + until_us
    known = occurred + int(config.detection_delay_hours * HOUR_US)
    appeal = known + (rng.uniform(1, 20, len(rows)) * DAY_US).astype(np.int64)
    ends = config.num_days * DAY_US
    revoked = np.where((rng.random(len(rows)) < 0.5) & (appeal < ends), appeal, UNKNOWN)
    policy = rng.integers(0, len(POLICIES), len(rows))
    kept = np.flatnonzero(known < ends)
    return _label_table(
        config,
        user_ids,
        rows[kept],
        1,
        policy[kept],
        occurred[kept],
        known[kept],
        revoked[kept],
        [],
    )


def _label_table(
    config: SimulatorConfig,
    user_ids: list[str],
    rows: Int64s,
    label: int,
    policy: Int64s,
    occurred_us: Int64s,
    known_us: Int64s,
    revoked_us: Int64s,
    groups: "list[str] | pa.Array",
) -> pa.Table:
    group = groups if len(groups) else pa.nulls(len(rows), pa.string())
    return pa.table(
        {
            "user_id": _pick(user_ids, rows),
            "label": pa.array(np.full(len(rows), label, dtype=np.int8)),
            "policy": _pick([policy.name for policy in POLICIES], policy),
            "group": group,
            "occurred_at": _times(config.starts_at, occurred_us),
            "known_at": _times(config.starts_at, known_us),
            "revoked_at": _times(config.starts_at, revoked_us),
            "source": pa.array(["simulator"] * len(rows), pa.string()),
        }
    )


def _pick(names: list[str], rows: Int64s) -> pa.Array:
    """Return the names of these rows; null for -1."""
    return pa.array(names, pa.string()).take(pa.array(rows, mask=rows < 0))


def _times(starts_at: datetime, since_us: Int64s) -> pa.Array:
    first = int(starts_at.timestamp()) * 1_000_000
    whole = (since_us // 1_000_000) * 1_000_000 + first
    return pa.array(whole, mask=since_us == UNKNOWN).cast(pa.timestamp("us", tz="UTC"))
