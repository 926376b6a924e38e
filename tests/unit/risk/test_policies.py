"""Which policy a user is most like, and from where on `likely` is proven for it."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from index.risk.calibration import Bands, likely_from, precision_lower
from index.risk.config import RiskConfig
from index.risk.gallery import WHOLE, References
from index.risk.model import RiskModel
from index.risk.policies import (
    PolicyBand,
    PolicyBands,
    PolicyVoters,
    fit_policy_bands,
    name_bands,
    num_users_needed,
)
from index.risk.stack import StackExamples
from store.sequences import Int64s
from tests.unit.risk.reference_users import random_unit, unit_rows
from tests.unit.risk.test_model import AGES, QUERY, STRANGERS

FIXTURES = Path(__file__).parents[2] / "fixtures"
AXES = np.eye(3, 8)


def voters(*, num_spam: int = 12, num_bots: int = 12) -> PolicyVoters:
    """Spammers about the first axis, bots about the second, others about the third."""
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1, 2], [num_spam, num_bots, 12])
    vectors = unit_rows(AXES[kind] + rng.normal(size=(len(kind), 8)) * 0.05)
    rows = np.arange(len(kind), dtype=np.int64)
    references = References(
        tuple(f"r{row:03}" for row in rows),
        kind < 2,
        np.ones(len(kind)),
        np.full(len(kind), -1),
        (WHOLE,),
        (rows,),
        (vectors,),
    )
    names = np.array(["spam", "bot", None], dtype=object)[kind]
    return PolicyVoters(references, pa.array(names, pa.string()))


def nearest(found: PolicyVoters, query: np.ndarray, own: list[int] | None = None) -> list[object]:
    rows = unit_rows(query)
    strangers = np.full(len(rows), -1) if own is None else np.array(own)
    return list(found.nearest(rows, np.full(len(rows), 7), strangers))


def test_a_user_has_the_policy_of_the_violators_most_like_it() -> None:
    assert nearest(voters(), AXES[[0, 1]]) == ["spam", "bot"]


def test_violators_without_a_policy_vote_for_none() -> None:
    known = voters()
    bare = PolicyVoters(known.references, pa.nulls(len(known.policy_R), pa.string()))
    assert nearest(bare, AXES[[0, 1]]) == [None, None]


def test_the_own_label_has_no_part_in_the_policy() -> None:
    """The only spammer is nearest to itself and to nothing else of its kind."""
    alone = voters(num_spam=1)
    own_vector = alone.references.vectors[0][:1]
    assert nearest(alone, own_vector, [0]) == ["bot"]
    relabelled = pa.array(["scam", *alone.policy_R.to_pylist()[1:]], pa.string())
    other = PolicyVoters(alone.references, relabelled)
    assert nearest(other, own_vector, [0]) == ["bot"]


def test_who_is_alone_has_no_policy() -> None:
    alone = voters(num_spam=1, num_bots=0)
    assert nearest(alone, alone.references.vectors[0][:1], [0]) == [None]


def looks(
    num_spam: int, num_bots: int, *, spam_share: float
) -> tuple[StackExamples, Int64s, np.ndarray]:
    """Return looks at held-out users: the higher the log odds, the surer a violator."""
    rng = np.random.default_rng(1)
    kind = np.repeat([0, 1], [num_spam, num_bots])
    vectors = unit_rows(AXES[kind] + rng.normal(size=(len(kind), 8)) * 0.02)
    log_odds = rng.normal(0, 2, len(kind))
    share = np.where(kind == 0, spam_share, 1.0)
    is_violator = (log_odds > 0) & (rng.random(len(kind)) < share)
    user = np.arange(len(kind))
    ones = np.ones(len(kind))
    seen = StackExamples(ones[:, None], vectors, is_violator, user, ones, user)
    return seen, np.full(len(kind), 7), log_odds


def test_each_policy_proves_its_own_precision_on_its_own_users() -> None:
    """Spam is told less well than bots, so its threshold is earned apart from theirs."""
    given = looks(900, 900, spam_share=0.93)
    bands = fit_policy_bands({"spam": 0.8, "bot": 0.99}, voters(), *given, thinning=1.0)
    (seen, _, log_odds), user = given, given[0].user_Q
    is_violator = seen.is_violator
    for name, mine in (("spam", user < 900), ("bot", user >= 900)):
        band = bands[name]
        assert (band.fitted_on, band.num_users, band.note) == ("policy", 900, "")
        assert band.num_violators == is_violator[mine].sum()
        assert band.likely is not None
        inside = mine & (log_odds >= band.likely)
        hits, count = np.array([1.0 * is_violator[inside].sum()]), np.array([1.0 * inside.sum()])
        assert precision_lower(hits, count)[0] >= band.precision


def test_too_few_of_a_policy_take_the_threshold_of_everyone_at_its_own_precision() -> None:
    """Not the looser one that others have: that would promise what nobody asked for."""
    given = looks(40, 2000, spam_share=1.0)
    band = fit_policy_bands({"spam": 0.99}, voters(), *given, thinning=1.0)["spam"]
    seen, _, log_odds = given
    assert band.fitted_on == "everyone"
    assert band.likely == likely_from(log_odds, seen.is_violator, seen.user_Q, precision=0.99)
    assert "only 40 held-out users are like violators of 'spam', 299 are needed" in band.note


def test_a_policy_nobody_is_like_falls_back_and_says_so() -> None:
    given = looks(500, 500, spam_share=1.0)
    band = fit_policy_bands({"typo": 0.95}, voters(), *given, thinning=1.0)["typo"]
    assert (band.fitted_on, band.num_users) == ("everyone", 0)
    assert "only 0 held-out users" in band.note


def test_enough_users_without_proof_make_nobody_likely() -> None:
    """That is no lack of users but a finding, and the threshold of others would hide it."""
    given = looks(900, 900, spam_share=0.5)
    band = fit_policy_bands({"spam": 0.99}, voters(), *given, thinning=1.0)["spam"]
    assert (band.fitted_on, band.likely) == ("policy", None)
    assert "nobody is likely" in band.note


def test_so_many_users_can_just_prove_a_precision() -> None:
    for precision in (0.8, 0.95, 0.99):
        needed = num_users_needed(precision)
        bound = precision_lower(np.array([needed, needed - 1.0]), np.array([needed, needed - 1.0]))
        assert bound[0] >= precision > bound[1]


def test_bands_are_named_by_the_threshold_of_each_user() -> None:
    strict = PolicyBand("spam", 0.99, 5.0, "policy", 400, 300, "")
    never = PolicyBand("scam", 0.99, None, "policy", 400, 3, "none")
    named = name_bands(Bands(2.0, -1.0), [None, strict, strict, never], np.array([3, 3, 6, 9.0]))
    assert named == ["likely", "possible", "likely", "possible"]


def test_without_own_precisions_nothing_is_searched_and_one_rule_holds() -> None:
    given = looks(50, 50, spam_share=1.0)
    assert fit_policy_bands({}, voters(), *given, thinning=1.0) == {}
    rows = random_unit(np.random.default_rng(2), 3, 8)
    bare = PolicyBands.none(36)
    assert bare.of(voters().references, rows, np.full(3, 7), np.full(3, -1)) == [None] * 3


@pytest.mark.parametrize("precision", [0.5, 1.0, 95])
def test_a_precision_that_means_nothing_is_refused(precision: float) -> None:
    with pytest.raises(ValidationError):
        RiskConfig(likely_precision_by_policy={"spam": precision})


def test_a_model_of_before_policy_bands_says_what_it_said() -> None:
    """The fixture was written by the version before, with the answers it gave."""
    read = RiskModel.load(FIXTURES / "risk_before_policy_bands")
    expected = json.loads((FIXTURES / "risk_before_policy_bands.json").read_text())
    risk = read.assess(QUERY, AGES, own_ids=STRANGERS)
    assert risk.log_odds == pytest.approx(expected["log_odds"], abs=1e-5)
    assert risk.band == expected["band"]
    assert read.policy_bands == ()
    assert {rule.fitted_on for rule in risk.band_rule} == {"everyone"}


def test_policy_bands_survive_saving(tmp_path: Path) -> None:
    read = RiskModel.load(FIXTURES / "risk_before_policy_bands")
    references = read._references
    policy = pa.array(
        ["spam" if one else None for one in references.is_violator_R.tolist()], pa.string()
    )
    band = PolicyBand("spam", 0.99, 0.5, "policy", 400, 300, "")
    own = PolicyBands(policy, {"spam": band})
    model = RiskModel(
        references,
        read._rings,
        read._stack,
        read._calibrator,
        read._bands,
        read._config,
        read.about,
        own,
    )
    model.save(tmp_path / "risk")
    after = RiskModel.load(tmp_path / "risk")
    assert after.policy_bands == (band,)
    risks = [one.assess(QUERY, AGES, own_ids=STRANGERS) for one in (model, after)]
    assert risks[0].band_rule == risks[1].band_rule == [band.rule()] * len(QUERY)
    assert risks[0].band == risks[1].band
    assert (risks[0].log_odds == read.assess(QUERY, AGES, own_ids=STRANGERS).log_odds).all()
