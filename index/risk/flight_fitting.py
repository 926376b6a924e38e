"""Fits the risk of users in flight: held-out users, looked at right after an event.

Shape key: `U` users, `E` looks at those of them who are held out.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from embedder.embedder import Embedder
from index.risk.calibration import Bools, fit_calibrator
from index.risk.config import RiskConfig
from index.risk.flight import Flight, Silence
from index.risk.gallery import Floats, References
from index.risk.neighbors import neighbor_features
from index.risk.ring_rates import NO_RING, Asked, RingRates
from index.risk.stack import StackExamples, out_of_fold
from index.vectors import Vectors
from store.labels import LabelView
from store.lake import EventLake
from store.sequences import Int64s

LOOK_AGES = (2, 3, 4, 5, 7, 10, 15, 20, 35, 50, 100, 300)
GAP_QUANTILES = 256
STOPPED = -1


@dataclass(frozen=True)
class FlightLooks:
    """Held-out users right after their second event, third, and so on, age by age.

    Attributes:
        user: Place of each look's user among the held-out ones.
        num_events: Events seen.
        vectors: Unit vectors of these.
        gap_us: Time from the last of them to the user's next event, `STOPPED` where there is none.
    """

    user: Int64s
    num_events: Int64s
    vectors: Vectors
    gap_us: Int64s


@dataclass(frozen=True)
class FittedFlight:
    """The model, and what each look was told by a stack that never saw its user."""

    flight: Flight
    examples: StackExamples
    num_events: Int64s
    log_odds: Floats


def look_in_flight(
    lake: EventLake, view: LabelView, embedder: Embedder, user_ids: pa.Array, *, as_of: datetime
) -> FlightLooks:
    """Look at users right after their events of `LOOK_AGES`; a look knows nothing of after it.

    Args:
        lake, view: Events before `as_of` and before the violation.
        embedder: Makes the vectors.
        user_ids: Ascending.
        as_of: The time.

    Cost is linear in the events; a user of 20 events is embedded eight times.
    """
    nothing = np.empty(0, dtype=np.int64)
    no_vectors = np.empty((0, embedder.dim), dtype=np.float32)
    parts = [FlightLooks(nothing, nothing, no_vectors, nothing)]
    done = 0
    columns = [column.name for column in embedder.schema.columns]
    for batch in lake.batches(
        as_of=as_of, cutoffs=view.cutoffs(), users=user_ids.to_pylist(), columns=columns
    ):
        for age in LOOK_AGES:
            rows = np.flatnonzero(batch.num_events >= age)
            if not len(rows):
                break
            seen = batch.take(rows, stop=np.full(len(rows), age, dtype=np.int64))
            at = batch.offsets[rows] + age
            goes_on = batch.num_events[rows] > age
            next_us = batch.ts_us[np.minimum(at, len(batch.ts_us) - 1)]
            gap_us = np.where(goes_on, next_us - batch.ts_us[at - 1], STOPPED)
            vectors = embedder.embed(seen, as_newcomers=True)
            parts.append(FlightLooks(rows + done, seen.num_events, vectors, gap_us))
        done += batch.num_users
    return FlightLooks(
        np.concatenate([part.user for part in parts]),
        np.concatenate([part.num_events for part in parts]),
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.gap_us for part in parts]),
    )


def fit_flight(
    looks: FlightLooks,
    is_violator_U: Bools,
    since_us_U: Int64s,
    gallery: References,
    rates: RingRates,
    config: RiskConfig,
) -> FittedFlight | None:
    """Fit on looks at held-out users; None where too few of a class lived to be looked at.

    Args:
        looks: The looks.
        is_violator_U, since_us_U: Class and first day of each user whom a look may name.
        gallery: References among whom none of them is.
        rates: Of the rings, without them.
        config: Neighbors, folds, fewest labels.
    """
    seen = np.unique(looks.user)
    num_violators = int(is_violator_U[seen].sum())
    if min(num_violators, len(seen) - num_violators) < config.labels_min:
        return None
    strangers = np.full(len(looks.user), -1)
    features = neighbor_features(
        gallery,
        rates,
        looks.vectors,
        looks.num_events,
        strangers,
        Asked.by_strangers(np.full(len(looks.user), NO_RING)),
        config,
    )
    examples = StackExamples(
        features,
        looks.vectors,
        is_violator_U[looks.user],
        looks.user,
        np.ones(len(looks.user)),
        since_us_U[looks.user],
    )
    stack, score = out_of_fold(examples, folds=config.folds)
    calibrator = fit_calibrator(score, examples.is_violator, examples.weight_Q)
    flight = Flight(stack, calibrator, fit_silence(looks.num_events, looks.gap_us))
    return FittedFlight(flight, examples, looks.num_events, calibrator.to_log_odds(score))


def fit_silence(num_events_E: Int64s, gap_us_E: Int64s) -> Silence:
    """Count who stopped at each age, and the times to the next event of those who did not."""
    goes_on_E = gap_us_E != STOPPED
    ages = np.unique(num_events_E)
    stopped = [float(1.0 - goes_on_E[num_events_E == age].mean()) for age in ages]
    gaps = gap_us_E[goes_on_E] if goes_on_E.any() else np.zeros(1, dtype=np.int64)
    shares = np.linspace(0.0, 1.0, GAP_QUANTILES)
    quantiles = np.quantile(gaps, shares, method="higher")
    return Silence(tuple(ages.tolist()), tuple(stopped), tuple(quantiles.astype(int).tolist()))
