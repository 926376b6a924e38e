"""Fits the risk of users in flight: held-out users, looked at right after an event.

Shape key: `U` users, `E` looks at those of them who are held out.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
ENDLESS = np.iinfo(np.int64).max


@dataclass(frozen=True)
class FlightLooks:
    """Held-out users right after their second event, third, and so on, age by age.

    Attributes:
        user: Place of each look's user among the held-out ones.
        num_events: Events seen.
        vectors: Unit vectors of these.
        gap_us: Time from the last of them to the user's next event, `STOPPED` where there is none.
        watched_us: Time from the last of them to the newest event of all; `ENDLESS` for who
            violated, after which no event counts.
    """

    user: Int64s
    num_events: Int64s
    vectors: Vectors
    gap_us: Int64s
    watched_us: Int64s


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
    parts = [FlightLooks(nothing, nothing, no_vectors, nothing, nothing)]
    seen_us = [nothing]
    ended = pc.is_in(user_ids, value_set=view.cutoffs()["user_id"].combine_chunks())
    has_ended_U = ended.to_numpy(zero_copy_only=False)
    done, newest_us = 0, 0
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
            seen_us.append(batch.ts_us[at - 1])
            gap_us = np.where(goes_on, next_us - seen_us[-1], STOPPED)
            vectors = embedder.embed(seen, as_newcomers=True)
            parts.append(FlightLooks(rows + done, seen.num_events, vectors, gap_us, nothing))
        newest_us = max(newest_us, int(batch.ts_us.max(initial=0)))
        done += batch.num_users
    user = np.concatenate([part.user for part in parts])
    return FlightLooks(
        user,
        np.concatenate([part.num_events for part in parts]),
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.gap_us for part in parts]),
        np.where(has_ended_U[user], ENDLESS, newest_us - np.concatenate(seen_us)),
    )


def fit_flight(
    looks: FlightLooks,
    is_violator_U: Bools,
    since_us_U: Int64s,
    gallery: References,
    rates: RingRates,
    config: RiskConfig,
    *,
    thinning: float,
) -> FittedFlight | None:
    """Fit on looks at held-out users; None where too few of a class lived to be looked at.

    Args:
        looks: The looks.
        is_violator_U, since_us_U: Class and first day of each user whom a look may name.
        gallery: References among whom none of them is.
        rates: Of the rings, without them.
        config: Neighbors, folds, fewest labels.
        thinning: How many times more of the others than of the violators are no looks' users.
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
    fitted = fit_calibrator(score, examples.is_violator, examples.weight_Q)
    calibrator = fitted.of_population(thinning)
    flight = Flight(
        stack, calibrator, fit_silence(looks.num_events, looks.gap_us, looks.watched_us)
    )
    return FittedFlight(flight, examples, looks.num_events, calibrator.to_log_odds(score))


def fit_silence(num_events_E: Int64s, gap_us_E: Int64s, watched_us_E: Int64s) -> Silence:
    """Estimate who stops at each age, and the times to the next event of those who do not.

    Who did nothing more until the data end may yet go on, the likelier the shorter that was. So
    the times are estimated as Kaplan and Meier 1958 (JASA 53) do, with these looks censored, and
    of those who go on at an age as many are counted as seen as had been watched for long enough.

    Args:
        num_events_E: Events seen at each look.
        gap_us_E: Time to the next event, `STOPPED` where none was seen.
        watched_us_E: Time that a next event had to be seen; `ENDLESS` where none can follow.
    """
    goes_on_E = gap_us_E != STOPPED
    ages = np.unique(num_events_E)
    if not goes_on_E.any():
        return Silence(tuple(ages.tolist()), (1.0,) * len(ages), (0,) * GAP_QUANTILES)
    time_us_T, share_T = gap_shares(gap_us_E[goes_on_E], watched_us_E[~goes_on_E])
    seen_E = np.append(0.0, share_T)[np.searchsorted(time_us_T, watched_us_E, side="right")]

    overall = goes_on_E.sum() / seen_E.sum()
    goes_on = [
        goes_on_E[mine].sum() / seen_E[mine].sum() if seen_E[mine].any() else overall
        for mine in (num_events_E == age for age in ages)
    ]
    shares = np.linspace(0.0, 1.0, GAP_QUANTILES)
    place = np.searchsorted(share_T, shares * (1 - 1e-12), side="left")
    return Silence(
        tuple(ages.tolist()),
        tuple(1.0 - min(float(share), 1.0) for share in goes_on),
        tuple(time_us_T[place].tolist()),
    )


def gap_shares(gap_us: Int64s, censored_us: Int64s) -> tuple[Int64s, Floats]:
    """Return the times to a next event, ascending, and the share of all gaps that are no longer.

    Args:
        gap_us: Those seen; at least one.
        censored_us: How long those without a next event were watched.
    """
    time_us_T, count_T = np.unique(gap_us, return_counts=True)
    watched_us = np.sort(np.concatenate([gap_us, censored_us]))
    at_risk_T = len(watched_us) - np.searchsorted(watched_us, time_us_T, side="left")
    gone_T = 1.0 - np.cumprod(1.0 - count_T / at_risk_T)
    return time_us_T, gone_T / gone_T[-1]
