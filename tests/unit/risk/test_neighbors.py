from dataclasses import replace

import numpy as np
import pytest

from embedder.opinion import log_odds_of
from index.risk.config import RiskConfig
from index.risk.gallery import Floats, References, age_of
from index.risk.neighbors import (
    DENSITY_NEIGHBORS,
    DENSITY_SCALE,
    FEATURES,
    NEAREST,
    neighbor_features,
)
from index.risk.ring_rates import Asked, RingRates
from index.vectors import Vectors
from store.sequences import Int64s
from tests.unit.risk.reference_users import (
    make_references,
    membership_of,
    random_unit,
    without,
)

CONFIG = RiskConfig(neighbors=25, bandwidth_rank=5)
AGES_ASKED = np.array([1, 3, 4, 9, 40, 200])


def features_of(
    references: References,
    query_QD: Vectors,
    num_events_Q: Int64s,
    own_Q: Int64s | None = None,
    config: RiskConfig = CONFIG,
    ring_Q: Int64s | None = None,
) -> Floats:
    """Ask as the risk model does; the rings are those of a build of 200 users."""
    own = np.full(len(query_QD), -1) if own_Q is None else own_Q
    rings = membership_of(references, num_users=200)
    asked = rings.asked([None if row < 0 else references.user_ids[row] for row in own])
    if ring_Q is not None:
        asked = Asked.by_strangers(ring_Q)
    return neighbor_features(references, rings.rates(), query_QD, num_events_Q, own, asked, config)


def slow_features(references: References, query_D: Vectors, num_events: int) -> list[float]:
    """The features of one query in plain loops, with the query no reference."""
    place = int(age_of(np.array([num_events]), references.ages)[0])
    rows = references.rows[place].tolist()
    similarity = [float(np.float32(query_D @ v)) for v in references.vectors[place]]
    near = sorted(range(len(rows)), key=lambda at: (-similarity[at], at))[: CONFIG.neighbors]
    distance = [np.sqrt(max(2 - 2 * similarity[at], 0)) for at in near]
    bandwidth = max(distance[CONFIG.bandwidth_rank - 1], 1e-3)
    weights = [
        float(np.exp(-0.5 * (d / bandwidth) ** 2)) * references.vote_R[rows[at]]
        for at, d in zip(near, distance, strict=True)
    ]
    of_violators = sum(
        w for w, at in zip(weights, near, strict=True) if references.is_violator_R[rows[at]]
    )
    effective = sum(weights) ** 2 / sum(w * w for w in weights)
    share = of_violators / sum(weights)
    rate = float(references.vote_R[references.is_violator_R].sum() / references.vote_R.sum())
    prior = CONFIG.prior_votes
    sides = [
        sorted((s for s, row in zip(similarity, rows, strict=True) if violator(row)), reverse=True)
        for violator in (
            lambda row: references.is_violator_R[row],
            lambda row: not references.is_violator_R[row],
        )
    ]
    near_violators, near_others = (float(np.mean(side[:NEAREST])) for side in sides)
    density = [
        np.log(sum(np.exp((s - 1) / DENSITY_SCALE) for s in side[:DENSITY_NEIGHBORS]) / len(side))
        for side in sides
    ]
    around = [int(references.ring_R[rows[at]]) for at in near[:3]]
    shared = [ring for ring in around if ring >= 0 and around.count(ring) >= 2]
    asked = Asked.by_strangers(np.array(shared[:1] or [-1]))
    rates = RingRates.count(references.ring_R, references.is_violator_R, num_rings=10)
    everyone = RingRates(rates.users_R, rates.violators_R, 200, rates.num_violators)
    odds = (share * effective + prior * rate) / ((1 - share) * effective + prior * (1 - rate))
    return [
        float(np.log(odds)),
        float(np.log(effective)),
        near_violators,
        near_violators - near_others,
        float(density[0] - density[1]),
        float(everyone.excess_log_odds(asked)[0]),
        0.0,
        float(np.log(num_events)),
    ]


def rings_for(num_users: int) -> Int64s:
    return np.where(np.arange(num_users) % 4 == 0, np.arange(num_users) // 12, -1)


def test_the_opinion_is_read_from_its_place_in_the_vector() -> None:
    query = random_unit(np.random.default_rng(9), len(AGES_ASKED), 8)
    features = features_of(replace(make_references(), opinion_at=(2, 4)), query, AGES_ASKED)
    told = features[:, FEATURES.index("opinion_log_odds")]
    assert told == pytest.approx(log_odds_of(query[:, 2:4]))
    assert len(np.unique(told)) > 1


def test_features_are_those_of_plain_loops() -> None:
    vote = np.where(np.arange(120) % 5 == 0, 2.5, 1.0)
    references = make_references(ring=rings_for(120), vote=vote)
    query = random_unit(np.random.default_rng(9), len(AGES_ASKED), 8)
    features = features_of(references, query, AGES_ASKED)
    expected = [
        slow_features(references, one, int(age)) for one, age in zip(query, AGES_ASKED, strict=True)
    ]
    for place, name in enumerate(FEATURES):
        assert features[:, place] == pytest.approx([row[place] for row in expected], abs=2e-4), name


def test_every_known_violator_of_a_crowd_of_equal_users_votes() -> None:
    """Answers show few of them; for the risk each is evidence, and the user asked about is none."""
    references = make_references()
    violators = np.flatnonzero(references.is_violator_R)
    whole = references.rows[-1]
    told = []
    for num_copies in (3, 20):
        vectors = references.vectors[-1].copy()
        crowd = np.flatnonzero(np.isin(whole, violators))[:num_copies]
        vectors[crowd] = vectors[crowd[0]]
        crowded = replace(references, vectors=(*references.vectors[:-1], vectors))
        query, age = vectors[crowd[:1]], np.array([200])
        stranger = features_of(crowded, query, age)
        member = features_of(crowded, query, age, own_Q=whole[crowd[:1]])
        odds = FEATURES.index("knn_log_odds")
        assert member[0, odds] < stranger[0, odds]
        told.append(stranger[0, odds])
    assert member[0, FEATURES.index("violator_similarity")] == pytest.approx(1.0, abs=1e-6)
    assert told[1] > told[0] + 1.0


@pytest.mark.parametrize("config", [CONFIG, RiskConfig(neighbors=2000, bandwidth_rank=500)])
@pytest.mark.parametrize("user", [0, 1, 12, 40])
def test_features_of_a_reference_are_those_without_it(user: int, config: RiskConfig) -> None:
    vote = np.where(np.arange(120) % 5 == 0, 2.5, 1.0)
    references = make_references(ring=rings_for(120), vote=vote)
    query = np.repeat(references.vectors[0][user : user + 1], len(AGES_ASKED), axis=0)
    own = np.full(len(query), user)
    with_own = features_of(references, query, AGES_ASKED, own, config)
    ring = np.full(len(query), references.ring_R[user])
    removed = features_of(without(references, user), query, AGES_ASKED, config=config, ring_Q=ring)
    assert with_own == pytest.approx(removed, abs=1e-5)


@pytest.mark.parametrize("user", [0, 1, 12, 40])
def test_the_own_label_never_votes(user: int) -> None:
    """Whatever a user is labelled, all that is said of the user stays the same."""
    labels = np.arange(120) % 3 == 0
    flipped = labels.copy()
    flipped[user] = ~flipped[user]
    told = [make_references(is_violator=one, ring=rings_for(120)) for one in (labels, flipped)]
    query = np.repeat(told[0].vectors[0][user : user + 1], len(AGES_ASKED), axis=0)
    own = np.full(len(query), user)
    before, after = (features_of(one, query, AGES_ASKED, own) for one in told)
    assert before == pytest.approx(after, abs=1e-12)
    strangers = (features_of(one, query, AGES_ASKED) for one in told)
    assert next(strangers) != pytest.approx(next(strangers), abs=1e-3)


def test_features_do_not_depend_on_who_else_is_asked_about() -> None:
    references = make_references(600)
    rng = np.random.default_rng(1)
    query, ages = random_unit(rng, 1100, 8), rng.integers(1, 300, 1100)
    together = features_of(references, query, ages)
    some = np.array([0, 511, 512, 1023, 1099])
    alone = [features_of(references, query[[at]], ages[[at]])[0] for at in some]
    assert together[some] == pytest.approx(np.array(alone), abs=1e-5)
    assert np.isfinite(together).all()


def test_a_look_alike_of_violators_is_told_from_a_look_alike_of_others() -> None:
    references = make_references(600)
    place = references.rows[-1]
    whole = references.vectors[-1].astype(np.float64)
    is_violator = references.is_violator_R[place]
    query = np.stack([whole[is_violator].mean(0), whole[~is_violator].mean(0)])
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    features = features_of(references, query.astype(np.float32), np.array([200, 200]))
    for name in ("knn_log_odds", "violator_lead", "log_density_ratio"):
        at = FEATURES.index(name)
        assert features[0, at] > features[1, at] + 0.1


def test_identical_references_are_no_obstacle() -> None:
    references = make_references()
    same = tuple(np.tile(v[:1], (len(v), 1)) for v in references.vectors)
    bots = References(
        references.user_ids,
        references.is_violator_R,
        references.vote_R,
        references.ring_R,
        references.ages,
        references.rows,
        same,
    )
    features = features_of(bots, same[0][:1], np.array([3]))
    assert np.isfinite(features).all()
    knn, effective = features[0, :2]
    assert effective == pytest.approx(np.log(CONFIG.neighbors), abs=1e-5)
    assert knn < 0


RING = FEATURES.index("ring_log_odds")


def in_one_ring(*, caught: list[int]) -> tuple[References, Vectors]:
    """Return references of whom the first twelve are in one ring, and someone in its middle."""
    ring = np.where(np.arange(120) < 12, 0, -1)
    labels = np.zeros(120, dtype=bool)
    labels[[*caught, *range(20, 50)]] = True
    references = make_references(is_violator=labels, ring=ring)
    for of_age, rows in zip(references.vectors, references.rows, strict=True):
        mates = np.flatnonzero(rows < 12)
        of_age[mates] = of_age[mates[:1]]
    return references, references.vectors[0][:1]


def test_the_ring_speaks_without_the_user() -> None:
    """Of a ring in which only the user was caught, no more is known than of one without."""
    alone, query = in_one_ring(caught=[0])
    nobody, _ = in_one_ring(caught=[])
    others, _ = in_one_ring(caught=[1, 2, 3])
    one, own = np.array([1]), np.array([0])
    itself, uncaught, among = (
        features_of(references, query, one, own)[0, RING] for references in (alone, nobody, others)
    )
    assert itself == uncaught
    assert features_of(alone, query, one)[0, RING] > itself
    assert among > max(itself, 0)


def test_a_stranger_is_asked_about_the_ring_around() -> None:
    references, query = in_one_ring(caught=[1, 2, 3])
    far = -query
    ages = np.array([1])
    assert features_of(references, query, ages)[0, RING] > 1
    assert features_of(references, far, ages)[0, RING] == 0


def test_a_member_is_asked_about_the_own_ring_wherever_it_stands() -> None:
    references, query = in_one_ring(caught=[1, 2, 3])
    ages, own = np.array([1]), np.array([4])
    assert features_of(references, -query, ages, own)[0, RING] > 1
