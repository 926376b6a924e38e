"""Fits the risk model on users whose labels the encoder was never told.

References are the labelled users known by T. Those of them that supervised the encoder are the
gallery while the stack is fitted; the *window*, labelled users held out of supervision, are its
examples, each at every age it reached, and once more right after its events. The model that is
shipped has all of them as references.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedder.config import BENIGN_MIN
from embedder.embedder import Embedder
from embedder.training_data import ALWAYS_KNOWN_US, UserLabels, join_labels
from index.errors import TooFewLabels
from index.risk.calibration import (
    Bands,
    Bools,
    choose_bands,
    fit_calibrator,
    precision_in_sample,
)
from index.risk.config import RiskConfig
from index.risk.flight_fitting import FittedFlight, fit_flight, look_in_flight
from index.risk.gallery import GALLERY_MIN, Floats, References, members, usable_ages
from index.risk.membership import RingMembership
from index.risk.model import RiskModel
from index.risk.neighbors import neighbor_features
from index.risk.policies import PolicyBand, PolicyBands, PolicyVoters, fit_policy_bands, policies_of
from index.risk.ring_rates import NO_RING, Asked, RingRates
from index.risk.stack import StackExamples, out_of_fold
from index.risk.weighing import Weighing, place_of_opinion
from index.vectors import Vectors
from store.clock import to_us
from store.labels import LabelView
from store.lake import EventLake
from store.sequences import Int64s

MATURITY_QUANTILE, NIGHTLY_LOOKS = 0.8, 1.0

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Labelled:
    """The labelled users that may become references.

    Attributes:
        user_ids: Ascending.
        num_events, first_ts_us, known_at_us: Of each user.
        is_violator: Class.
        vote: How many users each stands for.
    """

    user_ids: pa.Array
    num_events: Int64s
    first_ts_us: Int64s
    known_at_us: Int64s
    is_violator: Bools
    vote: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def thinning(self) -> float:
        """How many times more of the others than of the violators were left out."""
        return float(self.vote[~self.is_violator].mean() / self.vote[self.is_violator].mean())


def fit_risk(
    lake: EventLake,
    view: LabelView,
    embedder: Embedder,
    *,
    as_of: datetime,
    config: RiskConfig,
    rings: RingMembership | None = None,
    in_flight: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> RiskModel:
    """Fit on what was known at a time.

    Without `in_flight`, users who may act again in a minute are judged as those who stopped.

    Raises:
        TooFewLabels: If there are not enough held-out labels of both classes; a build then has no
            risk model and says so.
    """
    labelled = choose_references(
        lake, view, as_of=as_of, config=config, benign_min=embedder.benign_min
    )
    window = window_of(labelled, embedder, as_of=as_of)
    told = ~embedder.held_out(labelled.user_ids)
    counts = check_labels(labelled, window, told, config)
    progress("embed references", 0, 1)
    rings = rings or RingMembership.nobody()
    ring = rings.of(labelled.user_ids)
    ages = usable_ages(labelled.num_events[told], labelled.is_violator[told])
    weighing = Weighing.of(embedder.blocks, label_share=config.label_share)
    vectors = embed_ages(
        lake, view, embedder, labelled, ages, weighing, as_of=as_of, progress=progress
    )
    progress("fit risk", 0, 1)
    opinion = place_of_opinion(embedder.blocks)
    gallery = references_of(labelled, vectors, ring, told, opinion)
    rates = rings.rates_among(~embedder.held_out(rings.user_ids))
    examples = window_examples(labelled, vectors, window)
    asked = Asked.by_strangers(examples.ring_E(labelled, ring))
    looks = stack_examples(labelled, examples, gallery, rates, asked, config)
    stack, score = out_of_fold(looks, folds=config.folds)
    thinning = labelled.thinning
    calibrator = fit_calibrator(score, looks.is_violator, looks.weight_Q).of_population(thinning)
    log_odds = calibrator.to_log_odds(score)
    policy_R = policies_of(view, labelled.user_ids)
    voters = PolicyVoters(gallery, policy_R.filter(pa.array(told)))
    num_events, judged, fitted = examples.num_events, looks, None
    if in_flight:
        fitted = fit_in_flight(
            lake, view, embedder, labelled, window, gallery, rates, config, weighing, as_of=as_of
        )
    if fitted is not None:
        judged = looks.and_also(fitted.examples)
        num_events = np.append(num_events, fitted.num_events)
        log_odds = np.append(log_odds, fitted.log_odds)
    bands, of_policies = fit_bands(judged, num_events, log_odds, voters, config, thinning)
    own = PolicyBands(policy_R, of_policies)
    about = {
        "as_of": as_of.isoformat(),
        **counts,
        "num_examples": len(examples.user),
        "calibration": calibrator.method,
        "stack_scales": asdict(stack.scales),
        "flight_looks": 0 if fitted is None else len(fitted.num_events),
        "policy_bands": own.to_dict(),
    }
    everyone = references_of(labelled, vectors, ring, np.ones_like(told), opinion)
    flight = None if fitted is None else fitted.flight
    parts = everyone, rings, stack, calibrator, bands, config, about, own, flight, weighing
    return RiskModel(*parts)


def fit_in_flight(
    lake: EventLake,
    view: LabelView,
    embedder: Embedder,
    labelled: Labelled,
    window: Bools,
    gallery: References,
    rates: RingRates,
    config: RiskConfig,
    weighing: Weighing,
    *,
    as_of: datetime,
) -> FittedFlight | None:
    """Look at the window's users in flight, and fit on that; None where too few are in it."""
    users = np.flatnonzero(window)
    ids = labelled.user_ids.take(pa.array(users))
    looks = look_in_flight(lake, view, embedder, ids, as_of=as_of)
    looks = replace(looks, user=users[looks.user], vectors=weighing.weigh(looks.vectors))
    return fit_flight(
        looks,
        labelled.is_violator,
        labelled.first_ts_us,
        gallery,
        rates,
        config,
        thinning=labelled.thinning,
    )


def fit_bands(
    looks: StackExamples,
    num_events_Q: Int64s,
    log_odds: Floats,
    voters: PolicyVoters,
    config: RiskConfig,
    thinning: float,
) -> tuple[Bands, dict[str, PolicyBand]]:
    """Return the bands of everyone and of policies, proven on looks at events enough for them.

    What they promise holds for all users, of whom the looks are a sample of each class.
    """
    chosen = num_events_Q >= config.likely_events_min
    judged, log_odds = looks.some(chosen), log_odds[chosen]
    bands = choose_bands(
        log_odds,
        judged.is_violator,
        judged.user_Q,
        precision=precision_in_sample(config.likely_precision, thinning),
        possible_probability=config.possible_probability,
    )
    demanded = config.likely_precision_by_policy
    num_events_L = num_events_Q[chosen]
    return bands, fit_policy_bands(
        demanded, voters, judged, num_events_L, log_odds, thinning=thinning
    )


def stack_examples(
    labelled: Labelled,
    examples: "Examples",
    gallery: References,
    rates: RingRates,
    asked: Asked,
    config: RiskConfig,
) -> StackExamples:
    """Return what the stack is fitted on: the looks with their users' classes and first days."""
    strangers = np.full(len(examples.user), -1)
    features = neighbor_features(
        gallery, rates, examples.vectors, examples.num_events, strangers, asked, config
    )
    return StackExamples(
        features,
        examples.vectors,
        labelled.is_violator[examples.user],
        examples.user,
        examples.weight_E,
        labelled.first_ts_us[examples.user],
    )


def check_labels(
    labelled: Labelled, window: Bools, told: Bools, config: RiskConfig
) -> dict[str, int]:
    """Return how many violators and others the window has."""
    is_violator = labelled.is_violator
    violators, others = int((window & is_violator).sum()), int((window & ~is_violator).sum())
    known = int((told & is_violator).sum()), int((told & ~is_violator).sum())
    if min(violators, others) < config.labels_min or min(known) < GALLERY_MIN:
        raise TooFewLabels(
            f"a risk model needs {config.labels_min} violators and others whose labels the encoder "
            f"was not told, and {GALLERY_MIN} of each that it may have been told; there are "
            f"{violators} and {others}, {known[0]} and {known[1]}"
        )
    return {
        "num_references": len(labelled),
        "num_reference_violators": int(is_violator.sum()),
        "window_violators": violators,
        "window_others": others,
    }


def choose_references(
    lake: EventLake,
    view: LabelView,
    *,
    as_of: datetime,
    config: RiskConfig,
    benign_min: int = BENIGN_MIN,
) -> Labelled:
    """Return the labelled users with events, thinned to the configured numbers."""
    users = lake.users(as_of=as_of, cutoffs=view.cutoffs())
    ids = users["user_id"].combine_chunks()
    labels: UserLabels = join_labels(ids, view, benign_min=benign_min)
    rng = np.random.default_rng([config.seed, 1])
    kept, votes = [], []
    for kind, most in ((1, config.gallery_violators_max), (0, config.gallery_others_max)):
        rows = np.flatnonzero(labels.label == kind)
        chosen = rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
        kept.append(chosen)
        votes.append(np.full(len(chosen), len(rows) / max(len(chosen), 1)))
    rows = np.concatenate(kept)
    order = np.argsort(rows)
    rows = rows[order]
    return Labelled(
        ids.take(pa.array(rows)),
        users["num_events"].to_numpy()[rows],
        users["first_ts_us"].to_numpy()[rows],
        labels.known_at_us[rows],
        labels.label[rows] == 1,
        np.concatenate(votes)[order],
    )


def window_of(labelled: Labelled, embedder: Embedder, *, as_of: datetime) -> Bools:
    """Return the users to fit on: not told to the encoder, and old enough to have been caught.

    Old enough is the time within which most violators were caught; for both classes, or the
    youngest would nearly all be violators.
    """
    window = embedder.held_out(labelled.user_ids)
    caught = labelled.is_violator & (labelled.known_at_us > ALWAYS_KNOWN_US)
    if not caught.any():
        return window
    took = labelled.known_at_us[caught] - labelled.first_ts_us[caught]
    span = to_us(as_of) - int(labelled.first_ts_us.min())
    mature = min(int(np.quantile(took, MATURITY_QUANTILE)), span // 4)
    return window & (labelled.first_ts_us < to_us(as_of) - mature)


def embed_ages(
    lake: EventLake,
    view: LabelView,
    embedder: Embedder,
    labelled: Labelled,
    ages: tuple[int, ...],
    weighing: Weighing,
    *,
    as_of: datetime,
    progress: Progress,
) -> dict[int, Vectors]:
    """Return, for each age, weighed vectors of the users in its gallery, as `labelled` has them."""
    rows = members(labelled.num_events, ages)
    vectors = {
        age: np.empty((len(inside), embedder.dim), dtype=np.float32)
        for age, inside in zip(ages, rows, strict=True)
    }
    columns = [column.name for column in embedder.schema.columns]
    done = 0
    for batch in lake.batches(
        as_of=as_of, cutoffs=view.cutoffs(), users=labelled.user_ids.to_pylist(), columns=columns
    ):
        first = done
        done += batch.num_users
        assert batch.user_ids[0] == labelled.user_ids[first].as_py()
        for age, inside in zip(ages, rows, strict=True):
            mine = np.flatnonzero((inside >= first) & (inside < done))
            local = inside[mine] - first
            stop = np.full(len(local), age, dtype=np.int64)
            looks = embedder.embed(batch.take(local, stop=stop), as_newcomers=True)
            vectors[age][mine] = weighing.weigh(looks)
        progress("embed references", done, len(labelled))
    return vectors


def references_of(
    labelled: Labelled,
    vectors: dict[int, Vectors],
    ring: Int64s,
    chosen: Bools,
    opinion_at: tuple[int, int] = (0, 0),
) -> References:
    """Return the references among some of the labelled users."""
    place = np.cumsum(chosen) - 1
    rows, kept = [], []
    for age, inside in zip(vectors, members(labelled.num_events, tuple(vectors)), strict=True):
        mine = chosen[inside]
        rows.append(place[inside[mine]].astype(np.int64))
        kept.append(np.ascontiguousarray(vectors[age][mine]))
    return References(
        tuple(labelled.user_ids.filter(pa.array(chosen)).to_pylist()),
        labelled.is_violator[chosen],
        labelled.vote[chosen],
        ring[chosen],
        tuple(vectors),
        tuple(rows),
        tuple(kept),
        opinion_at,
    )


@dataclass(frozen=True)
class Examples:
    """Window users at every age they reached.

    `weight_E` makes every user's looks count the same: one at each age, of which a user who lived
    no longer shows the whole life each time, and one more at the whole life, as the user stands
    when the nightly job looks.
    """

    user: Int64s
    num_events: Int64s
    vectors: Vectors
    weight_E: npt.NDArray[np.float64]

    def ring_E(self, labelled: Labelled, ring: Int64s) -> Int64s:
        """Return the ring of each: a whole life's own, of a look in between none is known yet."""
        whole = self.num_events == labelled.num_events[self.user]
        return np.where(whole, ring[self.user], NO_RING)


def window_examples(labelled: Labelled, vectors: dict[int, Vectors], window: Bools) -> Examples:
    """Return one example per window user and age; a short user's whole life counts once."""
    ages = tuple(vectors)
    users, sizes, parts, weights = [], [], [], []
    for place, (age, inside) in enumerate(
        zip(ages, members(labelled.num_events, ages), strict=True)
    ):
        mine = inside[window[inside]]
        users.append(mine)
        sizes.append(np.minimum(labelled.num_events[mine], age))
        parts.append(vectors[age][window[inside]])
        looks_left = len(ages) - place - 1 + NIGHTLY_LOOKS
        weights.append(np.where(labelled.num_events[mine] <= age, looks_left, 1.0))
    return Examples(
        np.concatenate(users), np.concatenate(sizes), np.concatenate(parts), np.concatenate(weights)
    )
