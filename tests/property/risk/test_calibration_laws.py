import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from index.risk.calibration import (
    choose_bands,
    fit_calibrator,
    interval,
    precision_lower,
    to_probability,
)

Floats = npt.NDArray[np.float64]
SCORES = arrays(np.float64, st.integers(20, 200), elements=st.floats(-30, 30, width=32))
SEEDS = st.integers(0, 2**32 - 1)


@given(SCORES, SEEDS, arrays(np.float64, 25, elements=st.floats(-1e3, 1e3)))
def test_any_scores_are_mapped_to_finite_rising_log_odds(
    score: Floats, seed: int, asked: Floats
) -> None:
    rng = np.random.default_rng(seed)
    is_violator = rng.random(len(score)) < 0.4
    is_violator[:2] = (True, False)
    calibrator = fit_calibrator(score, is_violator, rng.random(len(score)) + 0.1)
    log_odds = calibrator.to_log_odds(np.sort(asked))
    assert np.isfinite(log_odds).all()
    assert (np.diff(log_odds) >= 0).all()
    assert ((to_probability(log_odds) >= 0) & (to_probability(log_odds) <= 1)).all()


@given(
    arrays(np.float64, 12, elements=st.floats(0, 1)),
    arrays(np.float64, 12, elements=st.floats(0.5, 1e6)),
    st.floats(0.51, 0.99),
)
def test_an_interval_holds_its_probability(
    probability: Floats, votes: Floats, coverage: float
) -> None:
    low, high = interval(probability, votes, coverage=coverage)
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()
    assert (low >= 0).all()
    assert (high <= 1).all()
    assert ((low <= probability) & (probability <= high)).all()


@given(SCORES, SEEDS, st.floats(0.55, 0.99))
def test_the_likely_hold_their_precision(score: Floats, seed: int, precision: float) -> None:
    is_violator = np.random.default_rng(seed).random(len(score)) < 1 / (1 + np.exp(-score))
    bands = choose_bands(
        score, is_violator, np.arange(len(score)), precision=precision, possible_probability=0.3
    )
    if bands.likely is not None:
        inside = score >= bands.likely
        hits, count = np.array([is_violator[inside].sum()]), np.array([inside.sum()])
        assert precision_lower(hits, count)[0] >= precision
