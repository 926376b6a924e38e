"""From rows and arrays to answers.

Shape key: `K` neighbors, `M` users who share a vector, `D` dimensions, `C` channels.
"""

from itertools import repeat
from typing import cast

import numpy as np

from index.answers import Band, Hit, Member, NeighborRequest, RingInfo, RiskAnswer
from index.build import Build
from index.parts import RiskAssessment
from index.sharing import Found
from index.users import UserTable
from index.vectors import Rows, Vectors


def hits_of(
    build: Build, query_D: Vectors, found: Found, request: NeighborRequest
) -> tuple[Hit, ...]:
    """Return the hits that were found, in their order; similarities are computed again, exactly."""
    rows_K = found.rows_K
    if len(rows_K) == 0:
        return ()
    blocks = build.manifest.blocks
    product_KD = build.view(request).products(query_D, rows_K)
    share_KC = np.add.reduceat(product_KD, [block.start for block in blocks], axis=1)
    explain, names = request.explain, [block.name for block in blocks]
    users = build.users
    channels = (
        dict(zip(names, share, strict=True)) if explain else None for share in share_KC.tolist()
    )
    members = (
        (_members_of(users, rows) for rows in found.members) if found.members else repeat(None)
    )
    return tuple(
        map(
            Hit,
            users.ids_of(rows_K),
            np.clip(share_KC.sum(axis=1), -1.0, 1.0).tolist(),
            (users.label_N[rows_K] == 1).tolist(),
            users.policies_of(rows_K),
            users.num_events_N[rows_K].tolist(),
            found.duplicates_K.tolist(),
            channels,
            members,
        )
    )


def _members_of(users: UserTable, rows_M: Rows) -> tuple[Member, ...]:
    """Return some users who share the vector of a hit."""
    return tuple(
        map(
            Member,
            users.ids_of(rows_M),
            (users.label_N[rows_M] == 1).tolist(),
            users.policies_of(rows_M),
            users.num_events_N[rows_M].tolist(),
        )
    )


def risk_answer(
    assessed: RiskAssessment,
    query: int,
    *,
    user_id: str | None,
    num_events: int,
    ring: RingInfo | None,
    known_violator: bool,
) -> RiskAnswer:
    """Return one of the assessed risks; without numbers where the data does not suffice."""
    band = cast(Band, str(assessed.band[query]))
    if band == "insufficient_data":
        return RiskAnswer(user_id, band, None, None, band, None, num_events, ring, known_violator)
    return RiskAnswer(
        user_id,
        "ok",
        float(assessed.probability[query]),
        float(assessed.log_odds[query]),
        band,
        (float(assessed.low[query]), float(assessed.high[query])),
        num_events,
        ring,
        known_violator,
        assessed.band_rule[query],
    )
