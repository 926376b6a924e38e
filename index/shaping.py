"""From rows and arrays to answers.

Shape key: `K` neighbors, `D` dimensions, `C` channels.
"""

from typing import cast

import numpy as np

from index.answers import Band, Hit, NeighborRequest, RingInfo, RiskAnswer
from index.build import Build
from index.parts import RiskAssessment
from index.vectors import Rows, Vectors


def hits_of(
    build: Build, query_D: Vectors, rows_K: Rows, request: NeighborRequest
) -> tuple[Hit, ...]:
    """Return the hits for some rows, in their order; similarities are computed again, exactly."""
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
    return tuple(
        map(
            Hit,
            users.ids_of(rows_K),
            np.clip(share_KC.sum(axis=1), -1.0, 1.0).tolist(),
            (users.label_N[rows_K] == 1).tolist(),
            users.policies_of(rows_K),
            users.num_events_N[rows_K].tolist(),
            channels,
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
