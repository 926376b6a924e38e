import json

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import beta

from index.risk.calibration import (
    Bands,
    Calibrator,
    choose_bands,
    fit_calibrator,
    fit_platt,
    interval,
    likely_from,
    precision_in_sample,
    precision_lower,
    to_probability,
)


def drawn_scores(count: int, seed: int, *, slope: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Return scores whose true log odds are `slope * score - 1`."""
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 3, count)
    return score, rng.random(count) < expit(slope * score - 1)


@pytest.mark.parametrize(("count", "method"), [(300, "platt"), (5000, "isotonic")])
def test_probabilities_are_what_happens(count: int, method: str) -> None:
    score, is_violator = drawn_scores(count, 1)
    calibrator = fit_calibrator(score, is_violator, np.ones(count))
    assert calibrator.method == method
    test_score, happened = drawn_scores(20_000, 2)
    probability = to_probability(calibrator.to_log_odds(test_score))
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        inside = (probability >= low) & (probability < high)
        assert happened[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.09)


@pytest.mark.parametrize("count", [120, 300, 5000])
def test_the_map_strictly_increases_everywhere(count: int) -> None:
    score, is_violator = drawn_scores(count, 3)
    calibrator = fit_calibrator(score, is_violator, np.ones(count))
    asked = np.linspace(-60, 60, 4001)
    assert (np.diff(calibrator.to_log_odds(asked)) > 0).all()


def test_a_score_that_misleads_does_not_turn_the_map() -> None:
    score, is_violator = drawn_scores(400, 4)
    calibrator = fit_calibrator(-score, is_violator, np.ones(400))
    assert (np.diff(calibrator.to_log_odds(np.linspace(-9, 9, 50))) > 0).all()


def test_weights_say_how_much_an_example_counts() -> None:
    score, is_violator = drawn_scores(400, 5)
    doubled = np.concatenate([score, score[:100]]), np.concatenate([is_violator, is_violator[:100]])
    weight = np.where(np.arange(400) < 100, 2.0, 1.0)
    assert fit_platt(score, is_violator, weight) == pytest.approx(
        fit_platt(*doubled, np.ones(500)), abs=0.02
    )
    caught_more = fit_calibrator(score, is_violator, np.where(is_violator, 10.0, 1.0))
    plain = fit_calibrator(score, is_violator, np.ones(400))
    asked = np.linspace(-5, 5, 11)
    assert (caught_more.to_log_odds(asked) > plain.to_log_odds(asked) + 1).all()


@pytest.mark.parametrize("count", [200, 3000])
def test_equal_scores_are_calibrated_to_the_base_rate(count: int) -> None:
    is_violator = np.arange(count) % 4 == 0
    calibrator = fit_calibrator(np.zeros(count), is_violator, np.ones(count))
    probability = to_probability(calibrator.to_log_odds(np.zeros(1)))[0]
    assert probability == pytest.approx(0.25, abs=0.04)


def test_log_odds_never_saturate() -> None:
    score = np.concatenate([np.full(200, -50.0), np.full(200, 50.0)])
    calibrator = fit_calibrator(score, score > 0, np.ones(400))
    log_odds = calibrator.to_log_odds(np.array([-1e6, -50.0, 50.0, 60.0, 1e6]))
    assert np.isfinite(log_odds).all()
    assert (np.diff(log_odds) > 0).all()


@pytest.mark.parametrize("count", [300, 3000])
def test_a_calibrator_survives_json(count: int) -> None:
    calibrator = fit_calibrator(*drawn_scores(count, 6), np.ones(count))
    read = Calibrator.from_dict(json.loads(json.dumps(calibrator.to_dict())))
    assert read == calibrator


def test_the_lower_bound_is_clopper_and_pearsons() -> None:
    hits, count = np.array([0, 19, 20, 57]), np.array([10, 20, 20, 60])
    bound = precision_lower(hits, count)
    assert bound[0] == 0.0
    for at in (1, 2, 3):
        assert bound[at] == pytest.approx(beta.ppf(0.05, hits[at], count[at] - hits[at] + 1))
    assert (bound < hits / count + 1e-12).all()
    assert bound[2] == pytest.approx(0.05 ** (1 / 20))


def test_likely_begins_where_precision_is_beyond_doubt() -> None:
    log_odds = np.linspace(-5, 5, 2000)
    is_violator = np.random.default_rng(0).random(2000) < expit(2 * log_odds)
    bands = choose_bands(
        log_odds, is_violator, np.arange(len(log_odds)), precision=0.9, possible_probability=0.3
    )
    assert bands.likely is not None
    inside = log_odds >= bands.likely
    hits, count = np.array([is_violator[inside].sum() * 1.0]), np.array([inside.sum() * 1.0])
    assert precision_lower(hits, count)[0] >= 0.9
    assert bands.possible == pytest.approx(np.log(0.3 / 0.7))


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 2.0), (-1.0, 3.0), (2.9, 0.3)])
def test_the_precision_holds_among_new_users_in_nineteen_of_twenty_fits(
    mean: float, deviation: float
) -> None:
    """The lowest of many thresholds is taken, and that costs little of the bound's confidence."""
    rng = np.random.default_rng(0)
    everyone = np.sort(rng.normal(mean, deviation, 200_000))
    precision = np.cumsum(expit(everyone)[::-1])[::-1] / np.arange(len(everyone), 0, -1)
    missed = 0
    for _ in range(200):
        log_odds = rng.normal(mean, deviation, 2000)
        likely = likely_from(
            log_odds, rng.random(2000) < expit(log_odds), np.arange(2000), precision=0.95
        )
        if likely is not None:
            at = min(int(np.searchsorted(everyone, likely)), len(everyone) - 1)
            missed += bool(precision[at] < 0.95)
            assert precision[at] > 0.93
    assert missed <= 200 * 0.09


def test_without_proof_nobody_is_likely() -> None:
    log_odds = np.linspace(-5, 5, 30)
    bands = choose_bands(
        log_odds, log_odds > 0, np.arange(30), precision=0.95, possible_probability=0.3
    )
    assert bands.likely is None
    assert bands.name(np.array([-9.0, 0.0, 99.0])) == ["unlikely", "possible", "possible"]


def test_many_looks_at_a_user_prove_no_more_than_one() -> None:
    """Forty violators prove less than .95, however often each was looked at."""
    log_odds, is_violator = np.repeat(np.linspace(5, 1, 40), 10), np.ones(400, dtype=bool)

    def likely(user: np.ndarray) -> float | None:
        bands = choose_bands(log_odds, is_violator, user, precision=0.95, possible_probability=0.3)
        return bands.likely

    assert likely(np.arange(400)) is not None
    assert likely(np.repeat(np.arange(40), 10)) is None


def test_the_threshold_counts_everybody_who_stands_on_it() -> None:
    """Bots have equal scores: those behind the threshold's tie are over it too."""
    log_odds = np.concatenate([np.full(100, 3.0), np.full(900, 1.0)])
    is_violator = np.arange(1000) < 300
    bands = choose_bands(
        log_odds, is_violator, np.arange(len(log_odds)), precision=0.9, possible_probability=0.3
    )
    assert bands.likely == 3.0


def test_bands_have_names() -> None:
    bands = Bands(likely=2.0, possible=-1.0)
    assert bands.name(np.array([2.0, 1.99, -1.0, -1.01])) == [
        "likely",
        "possible",
        "possible",
        "unlikely",
    ]


def test_intervals_narrow_with_the_votes_and_hold_the_probability() -> None:
    probability = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    wide = interval(probability, np.full(5, 3.0), coverage=0.9)
    narrow = interval(probability, np.full(5, 300.0), coverage=0.9)
    for low, high in (wide, narrow):
        assert (low >= 0).all()
        assert (high <= 1).all()
        assert ((low <= probability) & (probability <= high)).all()
    assert ((narrow[1] - narrow[0])[1:4] < (wide[1] - wide[0])[1:4]).all()
    higher = interval(probability, np.full(5, 3.0), coverage=0.99)
    assert (higher[1][1:4] >= wide[1][1:4]).all()


def test_nobody_is_likely_where_there_is_nobody_to_prove_it_on() -> None:
    nobody = np.zeros(0)
    assert likely_from(nobody, nobody > 0, nobody.astype(np.int64), precision=0.9) is None


def rare_violators(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores that are log odds, and violators, of whom one in ten or so is one."""
    rng = np.random.default_rng(seed)
    score = rng.normal(-4, 2.5, count)
    return score, rng.random(count) < expit(score)


def test_a_sample_without_most_others_is_calibrated_for_all() -> None:
    score, is_violator = rare_violators(200_000, 1)
    kept = is_violator | (np.random.default_rng(2).random(len(score)) < 1 / 20)
    calibrator = fit_calibrator(score[kept], is_violator[kept], np.ones(kept.sum()))
    everyone = expit(calibrator.of_population(20).to_log_odds(score))
    assert everyone.mean() == pytest.approx(is_violator.mean(), rel=0.05)
    top = score > 2
    assert everyone[top].mean() == pytest.approx(is_violator[top].mean(), abs=0.04)
    assert expit(calibrator.to_log_odds(score)).mean() > 2 * is_violator.mean()
    assert calibrator.of_population(1) == calibrator


def test_likely_holds_among_all_where_most_others_were_left_out() -> None:
    score, is_violator = rare_violators(200_000, 3)
    kept = is_violator | (np.random.default_rng(4).random(len(score)) < 1 / 20)
    log_odds, told, user = score[kept], is_violator[kept], np.arange(kept.sum())
    likely = likely_from(log_odds, told, user, precision=precision_in_sample(0.8, 20))
    assert likely is not None
    score, is_violator = rare_violators(200_000, 5)
    assert is_violator[score >= likely].mean() >= 0.8
    too_low = likely_from(log_odds, told, user, precision=0.8)
    assert too_low is not None
    assert is_violator[score >= too_low].mean() < 0.5
    assert precision_in_sample(0.9, 1) == pytest.approx(0.9)
