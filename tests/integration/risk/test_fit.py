"""Risk fitted on a simulated platform through a tiny encoder."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from index.errors import TooFewLabels
from index.risk.fit import choose_references, fit_risk, window_examples, window_of
from index.risk.flight_fitting import ENDLESS, LOOK_AGES, STOPPED, look_in_flight
from index.risk.gallery import AGES, WHOLE, members, usable_ages
from index.risk.membership import RingMembership
from index.risk.model import RiskModel
from index.risk.weighing import Weighing
from store.sequences import Int64s
from tests.integration.risk.platform import AS_OF, RISK, Outcome


def test_the_fit_tells_what_it_was_made_from(outcome: Outcome) -> None:
    about = outcome.risk.about
    assert about["as_of"] == AS_OF.isoformat()
    assert 10 <= about["window_violators"] < about["num_reference_violators"]
    assert 10 <= about["window_others"] < about["num_references"]
    assert about["num_examples"] > about["window_violators"] + about["window_others"]
    assert about["calibration"] in ("platt", "isotonic")


def test_the_window_is_of_users_whose_labels_the_encoder_was_not_told(outcome: Outcome) -> None:
    labelled = choose_references(outcome.lake, outcome.labels, as_of=AS_OF, config=RISK)
    window = window_of(labelled, outcome.embedder, as_of=AS_OF)
    assert not (window & ~outcome.embedder.held_out(labelled.user_ids)).any()
    assert labelled.user_ids.to_pylist() == sorted(labelled.user_ids.to_pylist())
    youngest = labelled.first_ts_us[window].max()
    assert youngest < AS_OF.timestamp() * 1e6


def test_known_violators_are_riskier_than_others_without_their_own_votes(outcome: Outcome) -> None:
    labels = dict(
        zip(
            outcome.labels.table["user_id"].to_pylist(),
            outcome.labels.table["label"].to_pylist(),
            strict=True,
        )
    )
    known = np.array([labels.get(user, -1) for user in outcome.user_ids])
    risk = outcome.risk.assess(outcome.vectors, outcome.num_events, own_ids=outcome.user_ids)
    assert np.isfinite(risk.log_odds).all()
    violators, others = risk.log_odds[known == 1], risk.log_odds[known == 0]
    assert (violators[:, None] > others[None, :]).mean() > 0.55


def test_a_thinned_gallery_stands_for_all(outcome: Outcome) -> None:
    few = RISK.model_copy(update={"gallery_others_max": 50, "gallery_violators_max": 40})
    labelled = choose_references(outcome.lake, outcome.labels, as_of=AS_OF, config=few)
    everyone = choose_references(outcome.lake, outcome.labels, as_of=AS_OF, config=RISK)
    assert labelled.is_violator.sum() == 40
    assert (~labelled.is_violator).sum() == 50
    for kind in (True, False):
        assert labelled.vote[labelled.is_violator == kind].sum() == pytest.approx(
            (everyone.is_violator == kind).sum()
        )


def test_probabilities_are_of_all_users_however_few_others_are_references(
    outcome: Outcome,
) -> None:
    about = outcome.risk.about
    num_others = about["num_references"] - about["num_reference_violators"]
    few = RISK.model_copy(update={"gallery_others_max": num_others // 3})
    thinned = fit_risk(outcome.lake, outcome.labels, outcome.embedder, as_of=AS_OF, config=few)
    before, after = (
        risk.assess(outcome.vectors, outcome.num_events, own_ids=outcome.user_ids).probability
        for risk in (outcome.risk, thinned)
    )
    assert after.mean() == pytest.approx(before.mean(), rel=0.2)


def test_who_counts_as_benign_is_what_the_encoder_was_trained_with(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcome.embedder.benign_min == outcome.embedder.manifest["config"]["benign_min"]
    manifest = dict(outcome.embedder.manifest)
    manifest["config"] = manifest["config"] | {"benign_min": 1_000_000}
    before = outcome.risk.about["num_references"]
    monkeypatch.setattr(outcome.embedder, "manifest", manifest)
    risk = fit_risk(outcome.lake, outcome.labels, outcome.embedder, as_of=AS_OF, config=RISK)
    users = outcome.lake.users(as_of=AS_OF, cutoffs=outcome.labels.cutoffs())
    assert before < risk.about["num_references"] == users.num_rows


def test_looks_in_flight_know_nothing_of_after_the_event(outcome: Outcome) -> None:
    columns = [column.name for column in outcome.embedder.schema.columns]
    reading = {"as_of": AS_OF, "cutoffs": outcome.labels.cutoffs(), "columns": columns}
    ids = pa.array(outcome.user_ids[:60], pa.string())
    (batch,) = outcome.lake.batches(users=ids.to_pylist(), **reading)
    looks = look_in_flight(outcome.lake, outcome.labels, outcome.embedder, ids, as_of=AS_OF)
    reached = [int((batch.num_events >= age).sum()) for age in LOOK_AGES]
    assert [int((looks.num_events == age).sum()) for age in LOOK_AGES] == reached
    for age in (2, 5):
        at = looks.num_events == age
        seen = batch.take(looks.user[at], stop=np.full(at.sum(), age))
        assert looks.vectors[at] == pytest.approx(
            outcome.embedder.embed(seen, as_newcomers=True), abs=1e-5
        )
        place = batch.offsets[looks.user[at]] + age
        goes_on = batch.num_events[looks.user[at]] > age
        assert ((looks.gap_us[at] == STOPPED) == ~goes_on).all()
        next_us = batch.ts_us[place[goes_on]]
        assert (looks.gap_us[at][goes_on] == next_us - batch.ts_us[place[goes_on] - 1]).all()
        cut_off = set(outcome.labels.cutoffs()["user_id"].to_pylist())
        ended = np.array([batch.user_ids[row] in cut_off for row in looks.user[at].tolist()])
        watched_us = batch.ts_us.max() - batch.ts_us[place - 1]
        assert (looks.watched_us[at] == np.where(ended, ENDLESS, watched_us)).all()


def test_a_long_silence_is_no_silence_told_and_a_short_one_is_heard(outcome: Outcome) -> None:
    def log_odds(silence_us: int | None) -> np.ndarray:
        silent = None if silence_us is None else np.full(len(outcome.user_ids), silence_us)
        return outcome.risk.assess(
            outcome.vectors, outcome.num_events, own_ids=outcome.user_ids, silence_us_Q=silent
        ).log_odds

    assert outcome.risk.about["flight_looks"] > outcome.risk.about["window_violators"]
    assert log_odds(10**15) == pytest.approx(log_odds(None))
    assert (log_odds(0) != log_odds(None)).any()


def test_too_few_labels_are_said_openly(outcome: Outcome) -> None:
    demanding = RISK.model_copy(update={"labels_min": 5000})
    with pytest.raises(TooFewLabels, match="needs 5000 violators"):
        fit_risk(outcome.lake, outcome.labels, outcome.embedder, as_of=AS_OF, config=demanding)


def membership(outcome: Outcome, ring: Int64s, flipped: Sequence[str] = ()) -> RingMembership:
    """Return rings with the labels of the outcome, some of them the other way round."""
    table = outcome.labels.table.filter(pc.equal(outcome.labels.table["label"], 1))
    violators = set(table["user_id"].to_pylist()) ^ set(flipped)
    is_violator = np.array([user in violators for user in outcome.user_ids])
    ids = pa.array(outcome.user_ids, pa.string())
    return RingMembership(ids, ring, is_violator, len(ids))


def test_galleries_are_of_equal_age_and_rings_are_remembered(outcome: Outcome) -> None:
    ring = np.where(np.arange(len(outcome.user_ids)) % 10 == 0, 3, -1)
    model: RiskModel = fit_risk(
        outcome.lake,
        outcome.labels,
        outcome.embedder,
        as_of=AS_OF,
        config=RISK,
        rings=membership(outcome, ring),
    )
    references = model._references
    assert references.ages[-1] == WHOLE
    assert set(references.ages[:-1]) <= set(AGES)
    place = {user: row for row, user in enumerate(outcome.user_ids)}
    rows = [place[user] for user in references.user_ids]
    assert (references.ring_R == ring[rows]).all()
    whole = references.vectors[-1]
    weighing = Weighing.of(outcome.embedder.blocks, label_share=RISK.label_share)
    stored = weighing.weigh(outcome.vectors[np.array(rows)[references.rows[-1]]])
    assert np.einsum("gd,gd->g", whole, stored).min() > 0.97, "seen as newcomers, nearly the same"
    for age, inside in zip(references.ages, references.rows, strict=True):
        vectors = references.vectors[references.ages.index(age)]
        assert len(vectors) == len(inside)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_rings_know_no_label_of_the_users_the_risk_is_fitted_on(outcome: Outcome) -> None:
    """Or a label would speak for itself through the mates: what is fitted stays as it was."""
    ring = np.arange(len(outcome.user_ids)) // 6
    held_out = outcome.embedder.held_out(pa.array(outcome.user_ids, pa.string()))
    untold = [user for user, held in zip(outcome.user_ids, held_out, strict=True) if held]
    told = [user for user, held in zip(outcome.user_ids, held_out, strict=True) if not held]
    fitted = [
        fit_risk(
            outcome.lake,
            outcome.labels,
            outcome.embedder,
            as_of=AS_OF,
            config=RISK,
            rings=membership(outcome, ring, flipped),
        )._stack
        for flipped in ((), untold, told)
    ]
    assert (fitted[0].coefficient_X == fitted[1].coefficient_X).all()
    assert (fitted[0].mean_F == fitted[1].mean_F).all()
    assert not (fitted[0].mean_F == fitted[2].mean_F).all()


def test_a_look_in_between_knows_no_ring_yet(outcome: Outcome) -> None:
    labelled = choose_references(outcome.lake, outcome.labels, as_of=AS_OF, config=RISK)
    window = window_of(labelled, outcome.embedder, as_of=AS_OF)
    ages = usable_ages(labelled.num_events, labelled.is_violator)
    shapes = {
        age: np.empty((len(inside), 1), np.float32)
        for age, inside in zip(ages, members(labelled.num_events, ages), strict=True)
    }
    examples = window_examples(labelled, shapes, window)
    ring = examples.ring_E(labelled, np.arange(len(labelled)))
    whole = examples.num_events == labelled.num_events[examples.user]
    assert (ring[whole] == examples.user[whole]).all()
    assert (ring[~whole] == -1).all()
    assert whole.any()
    assert (~whole).any()
