"""From rows and arrays to answers.

Shape key: `Q` queries, `K` neighbors, `M` users found or who share a vector, `D` dimensions,
`C` channels, `F` features.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index.answers import Band, Hit, Member, NeighborRequest, RingInfo, RiskAnswer
from index.parts import RiskAssessment
from index.population import Population
from index.sharing import Found
from index.vectors import Floats, Rows, Vectors


def hits_of(
    population: Population, query_D: Vectors, found: Found, request: NeighborRequest
) -> tuple[Hit, ...]:
    """Return the hits that were found, in their order; similarities are computed again, exactly."""
    rows_K = found.rows_K
    if len(rows_K) == 0:
        return ()
    blocks = population.build.manifest.blocks
    product_KD = population.build.view(request).products(query_D, population.vectors_of(rows_K))
    share_KC = np.add.reduceat(product_KD, [block.start for block in blocks], axis=1)
    explain, names = request.explain, [block.name for block in blocks]
    channels = (
        dict(zip(names, share, strict=True)) if explain else None for share in share_KC.tolist()
    )
    members = (
        (_members_of(population, rows) for rows in found.members) if found.members else repeat(None)
    )
    return tuple(
        map(
            Hit,
            population.ids_of(rows_K),
            np.minimum(np.maximum(share_KC.sum(axis=1), -1.0), 1.0).tolist(),
            population.is_violator(rows_K).tolist(),
            population.policies_of(rows_K),
            population.num_events_of(rows_K).tolist(),
            found.duplicates_K.tolist(),
            channels,
            members,
        )
    )


def _members_of(population: Population, rows_M: Rows) -> tuple[Member, ...]:
    """Return some users who share the vector of a hit."""
    return tuple(
        map(
            Member,
            population.ids_of(rows_M),
            population.is_violator(rows_M).tolist(),
            population.policies_of(rows_M),
            population.num_events_of(rows_M).tolist(),
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


def features_table(
    user_ids: Sequence[str],
    found_Q: npt.NDArray[np.bool_],
    num_events_M: Rows,
    names: Sequence[str],
    feature_MF: Floats,
) -> pa.Table:
    """Return features by user asked for, given those of the M users found; null for the others."""
    place_Q = pa.array(np.where(found_Q, np.cumsum(found_Q) - 1, 0), mask=~found_Q)
    columns = {
        "user_id": pa.array(user_ids, pa.string()),
        "found": pa.array(found_Q),
        "num_events": pa.array(num_events_M).take(place_Q),
    }
    for column, name in enumerate(names):
        columns[name] = pa.array(np.ascontiguousarray(feature_MF[:, column])).take(place_Q)
    return pa.table(columns)
