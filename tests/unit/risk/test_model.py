from pathlib import Path

import numpy as np
import pytest

from index.risk.calibration import Bands, fit_calibrator
from index.risk.config import RiskConfig
from index.risk.model import RiskModel
from index.risk.neighbors import FEATURES, neighbor_features
from index.risk.stack import Scales, StackExamples, fit_stack
from index.risk.weighing import Weighing
from tests.unit.risk.reference_users import make_references, membership_of, random_unit

QUERY = random_unit(np.random.default_rng(5), 40, 8)
AGES = np.random.default_rng(6).integers(1, 200, 40)
STRANGERS = [None] * 40


@pytest.fixture(scope="module")
def model() -> RiskModel:
    config = RiskConfig(neighbors=25, bandwidth_rank=5)
    references = make_references(300, ring=np.where(np.arange(300) < 30, np.arange(300) // 6, -1))
    is_violator = references.is_violator_R[references.rows[0]]
    vectors = references.vectors[0]
    own, ages = references.rows[0], np.full(len(vectors), 3)
    rings = membership_of(references, num_users=500)
    asked = rings.asked([references.user_ids[row] for row in own])
    features = neighbor_features(references, rings.rates(), vectors, ages, own, asked, config)
    weight = np.ones(len(vectors))
    looks = StackExamples(features, vectors, is_violator, own, weight, own)
    stack = fit_stack(looks, Scales(0.03, age=1.0, nearness=0.3, vector=0.3))
    calibrator = fit_calibrator(stack.score(features, vectors), is_violator, weight)
    bands, about = Bands(1.0, -0.8), {"as_of": "2025-06-01"}
    return RiskModel(references, rings, stack, calibrator, bands, config, about)


def test_a_model_read_back_says_the_same(model: RiskModel, tmp_path: Path) -> None:
    model.save(tmp_path / "risk")
    read = RiskModel.load(tmp_path / "risk")
    own = [f"r{place:04d}" for place in range(20)] + [None] * 20
    before, after = (one.assess(QUERY, AGES, own_ids=own) for one in (model, read))
    for name in ("probability", "low", "high", "log_odds", "features_QF"):
        assert (getattr(before, name) == getattr(after, name)).all(), name
    assert before.band == after.band
    assert read.about == model.about


def test_vectors_are_weighed_as_the_references_were(model: RiskModel, tmp_path: Path) -> None:
    weighing = Weighing(((0, 3, 0.5), (3, 8, 2.0)))
    weighed = RiskModel(
        model._references,
        model._rings,
        model._stack,
        model._calibrator,
        model._bands,
        model._config,
        model.about,
        weighing=weighing,
    )
    weighed.save(tmp_path / "risk")
    by_model = model.assess(weighing.weigh(QUERY), AGES, own_ids=STRANGERS)

    for one in (weighed, RiskModel.load(tmp_path / "risk")):
        found = one.assess(QUERY, AGES, own_ids=STRANGERS)
        assert (found.log_odds == by_model.log_odds).all()
        assert (found.features_QF == one.features(QUERY, AGES, own_ids=STRANGERS)).all()


def test_an_assessment_is_consistent(model: RiskModel) -> None:
    risk = model.assess(QUERY, AGES, own_ids=STRANGERS)
    assert model.feature_names == FEATURES
    assert risk.features_QF.shape == (40, len(FEATURES))
    assert ((risk.low >= 0) & (risk.high <= 1)).all()
    assert ((risk.low <= risk.probability) & (risk.probability <= risk.high)).all()
    assert risk.probability == pytest.approx(1 / (1 + np.exp(-risk.log_odds)))
    for band, log_odds, age in zip(risk.band, risk.log_odds, AGES, strict=True):
        if age < 2:
            assert band == "insufficient_data"
        else:
            expected = "likely" if log_odds >= 1.0 else "possible" if log_odds >= -0.8 else None
            assert band == (("possible" if age < 3 else expected) if expected else "unlikely")


def test_a_user_of_too_few_events_is_insufficient_data(model: RiskModel) -> None:
    risk = model.assess(QUERY[:2], np.array([1, 2]), own_ids=[None, None])
    assert risk.band[0] == "insufficient_data"
    assert risk.band[1] != "insufficient_data"


def test_nobody_is_likely_before_there_are_events_enough(model: RiskModel) -> None:
    """The probability is told; but who had so few events in the fit had stopped there."""
    many = model.assess(QUERY, np.full(40, 5), own_ids=STRANGERS)
    few = model.assess(QUERY, np.full(40, 2), own_ids=STRANGERS)
    would_be_likely = few.log_odds >= 1.0
    assert "likely" in many.band
    assert would_be_likely.any()
    assert {few.band[row] for row in np.flatnonzero(would_be_likely)} == {"possible"}


def test_look_alikes_of_violators_are_riskier(model: RiskModel) -> None:
    references = make_references(300)
    place = references.rows[1]
    is_violator = references.is_violator_R[place]
    ids = [references.user_ids[row] for row in place]
    risk = model.assess(references.vectors[1], np.full(len(place), 3), own_ids=ids)
    assert risk.probability[is_violator].mean() > risk.probability[~is_violator].mean() + 0.1


def test_assessing_nobody_is_no_error(model: RiskModel) -> None:
    risk = model.assess(QUERY[:0], AGES[:0], own_ids=[])
    assert risk.band == []
    assert len(risk.probability) == 0
