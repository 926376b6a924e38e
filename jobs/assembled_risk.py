"""Rings and risk of an assembly; builds and evaluations fit them in the same way."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedder.embedder import Embedder
from index.errors import TooFewLabels
from index.risk.fit import fit_risk
from index.risk.membership import RingMembership
from index.risk.model import RiskModel
from index.risk.rings import Rings, find_rings
from jobs.assembly import Assembly
from jobs.settings import Settings
from jobs.terminal import Progress
from store.labels import VIOLATOR, LabelView
from store.lake import EventLake
from store.sequences import Int64s

UNLABELLED = -1


def find_assembled_rings(assembly: Assembly, settings: Settings, progress: Progress) -> Rings:
    """Find the rings among the users of an assembly."""
    progress("find rings", 0, 1)
    num_events_N = assembly.users["num_events"].to_numpy()
    rings = find_rings(assembly.vectors_ND, num_events_N, _labels(assembly), settings.rings)
    progress("find rings", 1, 1)
    return rings


def fit_assembled_risk(
    lake: EventLake,
    labels: LabelView,
    embedder: Embedder,
    assembly: Assembly,
    rings: Rings,
    settings: Settings,
    *,
    as_of: datetime,
    progress: Progress,
) -> RiskModel | TooFewLabels:
    """Fit the risk model; the error, where there are too few labels, says why there is none."""
    ids = assembly.users["user_id"].combine_chunks()
    try:
        return fit_risk(
            lake,
            labels,
            embedder,
            as_of=as_of,
            config=settings.risk,
            rings=RingMembership(
                ids, rings.ring_N.astype(np.int64), _labels(assembly) == VIOLATOR, len(ids)
            ),
            progress=progress,
        )
    except TooFewLabels as error:
        return error


def _labels(assembly: Assembly) -> Int64s:
    """Return the label of each user, `UNLABELLED` where there is none."""
    label_N: Int64s = pc.fill_null(assembly.users["label"].cast(pa.int64()), UNLABELLED).to_numpy()
    return label_N
