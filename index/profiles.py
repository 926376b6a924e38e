"""What a build knows of a user beside the vector: profile and ring."""

from pathlib import Path
from typing import Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq

from index.answers import RingInfo, UserProfile
from index.build import RINGS_FILE
from index.errors import BuildCorrupt
from index.users import UserTable
from store.clock import from_us

Rings = dict[int, RingInfo]

RING_COLUMNS = ["ring", "num_users", "num_violators", "violator_rate_lower", "cohesion"]


def read_rings(directory: Path) -> Rings:
    """Return the rings of a build by id; none where there is no file of them.

    Raises:
        BuildCorrupt: If the file can't be read.
    """
    path = directory / RINGS_FILE
    if not path.is_file():
        return {}
    try:
        table = pq.read_table(path, columns=RING_COLUMNS)
        rows = zip(*(table.column(name).to_pylist() for name in RING_COLUMNS), strict=True)
        return {values[0]: RingInfo(*values) for values in rows}
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise BuildCorrupt(f"{path} can't be read: {error}") from error


def ring_of(users: UserTable, rings: Rings, row: int) -> RingInfo | None:
    """Return the ring of a user, None for one who is in none."""
    ring = users.table.column("ring")[row].as_py()
    return None if ring is None else rings.get(ring)


def user_profile(users: UserTable, row: int, ring: RingInfo | None) -> UserProfile:
    """Return the profile of a user."""
    fields = users.table.slice(row, 1).to_pylist()[0]
    occurred_at_us, known_at_us = fields["occurred_at_us"], fields["known_at_us"]
    return UserProfile(
        user_id=fields["user_id"],
        num_events=fields["num_events"],
        first_seen=from_us(fields["first_ts_us"]),
        last_seen=from_us(fields["last_ts_us"]),
        label=cast("Literal[0, 1] | None", fields["label"]),
        policy=fields["policy"],
        group=fields["group"],
        occurred_at=None if occurred_at_us is None else from_us(occurred_at_us),
        known_at=None if known_at_us is None else from_us(known_at_us),
        ring=ring,
    )
