"""What a build knows of a user beside the vector: profile and ring."""

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from index.answers import RingInfo, UserProfile
from index.build import RINGS_FILE, Build
from index.errors import BuildCorrupt
from index.risk.ring_rates import NO_RING, Asked, RingRates
from index.users import UserTable
from index.vectors import Rows
from store.clock import from_us

RING_COLUMNS = ["ring", "num_users", "num_violators", "cohesion"]


@dataclass(frozen=True)
class StoredRings:
    """The rings of a build.

    Attributes:
        users: Who is in which.
        rates: Counts of each ring.
        cohesion_R: Mean similarity within each.
    """

    users: UserTable
    rates: RingRates
    cohesion_R: list[float]

    def of(self, rows: Rows) -> list[RingInfo | None]:
        """Return the ring of each user as the others in it tell; None for one who is in none.

        Rings, and the labels they count, are those of the build; its row is -1 for who came since.
        """
        known = pa.array(rows, mask=rows < 0)
        ring = self.users.table.column("ring").take(known).fill_null(NO_RING).to_numpy()
        ring = np.where(ring < len(self.cohesion_R), ring, NO_RING).astype(np.int64)
        asked = Asked(ring, ring != NO_RING, self.users.label_N[rows] == 1)
        _, num_violators = self.rates.others(asked)
        lower = self.rates.rate_lower(asked)
        return [
            None
            if number == NO_RING
            else RingInfo(
                id=number,
                num_users=int(self.rates.users_R[number]),
                num_violators=violators,
                violator_rate_lower=rate,
                cohesion=self.cohesion_R[number],
            )
            for number, violators, rate in zip(
                ring.tolist(), num_violators.tolist(), lower.tolist(), strict=True
            )
        ]


def read_rings(build: Build) -> StoredRings:
    """Return the rings of a build; none where there is no file of them.

    Raises:
        BuildCorrupt: If the file can't be read.
    """
    path = build.directory / RINGS_FILE
    try:
        if path.is_file():
            table = pq.read_table(path, columns=RING_COLUMNS)
        else:
            table = pa.table({name: pa.array([], pa.int64()) for name in RING_COLUMNS})
        if table["ring"].to_pylist() != list(range(table.num_rows)):
            raise BuildCorrupt(f"the rings in {path} are not numbered")
        users, violators = (table[name].to_numpy() for name in ("num_users", "num_violators"))
        cohesion = table["cohesion"].to_pylist()
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise BuildCorrupt(f"{path} can't be read: {error}") from error
    rates = RingRates(
        users.astype(np.int64),
        violators.astype(np.int64),
        build.manifest.num_users,
        build.manifest.num_violators,
    )
    return StoredRings(build.users, rates, cohesion)


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
