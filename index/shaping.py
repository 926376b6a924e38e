"""From rows and arrays to answers.

Shape key: `Q` queries, `K` neighbors, `M` users found or who share a vector, `D` dimensions,
`C` channels, `F` features.
"""

from collections.abc import Iterable, Sequence
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
    build = population.build
    blocks = build.manifest.blocks
    product_KD = build.view(request).products(query_D, population.vectors_of(rows_K))
    share_KC = np.add.reduceat(product_KD, [block.start for block in blocks], axis=1)
    channels: Iterable[dict[str, float] | None] = repeat(None)
    if request.explain:
        names = [block.name for block in blocks]
        channels = (dict(zip(names, share, strict=True)) for share in share_KC.tolist())
    members: Iterable[tuple[Member, ...] | None] = repeat(None)
    if found.members:
        members = (tuple(map(Member, *population.shown(rows))) for rows in found.members)
    shown = population.shown(rows_K)
    similarity_K = share_KC.sum(axis=1).clip(-1.0, 1.0)
    fields = zip(
        shown.user_ids,
        similarity_K.tolist(),
        shown.known_violator,
        shown.policies,
        shown.num_events,
        found.duplicates_K.tolist(),
        channels,
        members,
        strict=False,  # two of them have no end
    )
    return tuple(map(Hit._make, fields))


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
