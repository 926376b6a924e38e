import numpy as np
import pytest

from embedder.composite import Block, Composer
from embedder.config import FeaturizerConfig
from embedder.featurizer import ALWAYS, fit_featurizer
from embedder.opinion import OPINION, SOFTNESS, Opinion, log_odds_of
from embedder.profiles import fit_profiles
from embedder.slices import Spans
from embedder.summary import fit_summarizer
from embedder.trees import fit_trees
from embedder.wording import BUCKETS, Wording
from tests.unit.embedder.people import SCHEMA, make_people


@pytest.fixture(scope="module")
def opinion_and_summary() -> tuple[Opinion, np.ndarray]:
    people = make_people(400, 1)
    featurizer = fit_featurizer(people, SCHEMA, FeaturizerConfig())
    events = featurizer.encode(people, counted_before_us=ALWAYS)
    summarizer = fit_summarizer(featurizer, fit_profiles(featurizer, events, dim_target=64).idf_V)
    spans = Spans(events.offsets[:-1], events.offsets[1:])
    nothing = np.zeros((len(events.ts_us), 0), dtype=np.float32)
    summary = summarizer.summarize(events, nothing, spans)
    is_violator = np.diff(events.offsets) > 12
    trees = fit_trees(
        summary,
        is_violator,
        np.ones(400),
        held_summary=summary,
        held_is_violator=is_violator,
        held_weight=np.ones(400),
        seed=0,
    )
    head = np.linspace(-1, 1, 8).astype(np.float32)
    wording = Wording((), np.zeros((0, BUCKETS), dtype=np.float32))
    return Opinion(wording, summarizer, trees, head, 0.25, (0.4, 0.7, -0.1)), summary


def test_the_blend_is_the_weighted_sum_of_head_and_trees(
    opinion_and_summary: tuple[Opinion, np.ndarray],
) -> None:
    opinion, summary = opinion_and_summary
    conduct = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    head, trees = opinion.of_each(conduct, summary)
    assert head == pytest.approx(conduct.astype(np.float64) @ opinion.head_D + 0.25)
    assert opinion.log_odds(conduct, summary) == pytest.approx(0.4 * head + 0.7 * trees - 0.1)


def test_a_block_can_be_read_back_at_any_length(
    opinion_and_summary: tuple[Opinion, np.ndarray],
) -> None:
    opinion, summary = opinion_and_summary
    conduct = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    block = opinion.block(conduct, summary)
    assert np.linalg.norm(block, axis=1) == pytest.approx(1.0, abs=1e-6)
    told = opinion.log_odds(conduct, summary)
    assert log_odds_of(block * 0.1) == pytest.approx(told, abs=1e-3)


def test_no_opinion_is_beyond_reading() -> None:
    ends = np.array([[1.0, 0.0], [-1.0, 0.0], [-1.0, -1e-9], [0.0, 1.0]], dtype=np.float32)
    told = log_odds_of(ends)
    most = SOFTNESS * np.log((1 - 1e-4) / 1e-4)
    assert told == pytest.approx([-most, most, most, 0.0], abs=1e-6)


def test_the_opinion_of_a_short_user_is_not_drawn_to_the_population() -> None:
    blocks = (Block("conduct", 0, 2, 0.6), Block(OPINION, 2, 4, 0.4))
    mean = np.array([0.6, 0.8], dtype=np.float32)
    composer = Composer(blocks, {"conduct": mean, OPINION: mean}, shrink_events=1.0)
    own = np.array([[0.0, 1.0]], dtype=np.float32)
    vector = composer.compose({"conduct": own, OPINION: own}, np.array([1]))
    assert vector[0, 2:] == pytest.approx(own[0] * np.sqrt(0.4))
    assert vector[0, 0] > 0.1
    nobody = composer.compose({"conduct": own * 0, OPINION: own * 0}, np.array([0]))
    assert nobody[0, 2:] == pytest.approx(mean * np.sqrt(0.4))
