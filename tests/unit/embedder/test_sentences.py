from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from embedder import sentences, text
from embedder.sentences import EARLY_EVENTS, Read, Sentences, early_strings, fit_sentences
from embedder.slices import Spans
from embedder.text import StringMemory, TextModel
from tests.unit.embedder.test_wording import talkers


def spans_of(first: list[int], last: list[int]) -> Spans:
    return Spans(np.array(first, np.int64), np.array(last, np.int64))


def test_strings_that_are_words_are_read_and_ids_are_not() -> None:
    batch = talkers([["a castle", "p83fa11", None, "castle"], ["year 1914", "42", "a castle"]])
    texts, code_E = early_strings(batch, "page")
    told = [texts[code] if code >= 0 else None for code in code_E]
    assert told == ["a castle", None, None, "castle", "year 1914", None, "a castle"]


def test_only_early_events_are_read() -> None:
    castles: list[str | None] = ["castle"] * EARLY_EVENTS
    batch = talkers([[*castles, "river"], ["garden"]])
    texts, code_E = early_strings(batch, "page")
    assert sorted(texts) == ["castle", "garden"]
    assert code_E[EARLY_EVENTS] == -1


def test_a_slice_has_the_mean_of_what_its_events_say() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    read = Read((vectors,), (np.array([0, 1, -1, 1, -1, -1]),))
    means = read.means(spans_of([0, 0, 2, 4], [2, 4, 4, 6]))
    np.testing.assert_allclose(means[:3], [[0.5, 1.0], [1 / 3, 4 / 3], [0.0, 2.0]], rtol=1e-6)
    assert np.isnan(means[3]).all()


def test_means_do_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 4)).astype(np.float32)
    read = Read((vectors,), (rng.integers(-1, 9, 500),))
    spans = spans_of(list(range(0, 500, 10)), list(range(10, 510, 10)))
    whole = read.means(spans)
    monkeypatch.setattr(sentences, "EVENTS_AT_ONCE", 64)
    np.testing.assert_array_equal(read.means(spans), whole)


def test_strings_are_embedded_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each embedding is told by the string alone, as a sentence model's would be."""
    asked: list[int] = []

    def encode(texts: Sequence[str], folder: str) -> np.ndarray:
        asked.append(len(texts))
        return np.array([[len(text), text.count("e"), 1] for text in texts], np.float32)

    monkeypatch.setattr(sentences, "encode_texts", encode)
    batch = talkers([["a castle", "river", "the sea"], ["garden", "river"], ["p83fa11"]])
    rotation = np.array([[1, 0], [0, 2], [0, 0]], np.float32)
    model = Sentences(("page",), "no folder", "", np.array([1, 0, 0], np.float32), rotation)
    whole = model.read(batch).vectors[0]
    np.testing.assert_array_equal(whole, [[7, 2], [4, 2], [6, 4], [5, 2]])
    monkeypatch.setattr(text, "STRINGS_AT_ONCE", 3)
    again = replace(model, _memory=StringMemory())
    np.testing.assert_array_equal(again.read(batch).vectors[0], whole)
    assert asked == [4, 3, 1]


def test_ids_alone_need_no_sentence_model() -> None:
    batch = talkers([[f"p{number:04x}0" for number in range(100)]])
    assert fit_sentences(batch, ["page"], "no such folder") is None


def test_a_string_is_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def by_length(texts: list[str], folder: str) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text), 1.0] for text in texts], np.float32)

    monkeypatch.setattr(sentences, "encode_texts", by_length)
    monkeypatch.setattr(text, "REMEMBERED", 3)
    model = Sentences(
        ("page",), "a folder", "", np.zeros(2, np.float32), np.eye(2, 1, dtype=np.float32)
    )
    for strings, fresh in (
        (["castle", "river"], ["castle", "river"]),
        (["river", "a garden", "castle"], ["a garden"]),
        (["museum"], ["museum"]),  # one too many: all before it are forgotten
        (["river", "museum"], ["river"]),
    ):
        own: list[str | None] = list(strings)
        means = model.read(talkers([[one] for one in own])).means(
            spans_of(list(range(len(own))), list(range(1, len(own) + 1)))
        )
        assert means[:, 0].tolist() == [len(one) for one in strings]
        assert sorted(asked) == sorted(fresh)
        asked.clear()


def test_the_text_block_embeds_a_string_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users are embedded at many ages, and what they said is nearly the same at each."""
    asked: list[str] = []

    def encode(texts: Sequence[str], folder: str) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text), 1.0] for text in texts], np.float32)

    monkeypatch.setattr(text, "encode_texts", encode)
    model = TextModel(("page",), "a folder", "", np.diag([1.0, 10]).astype(np.float32))
    batch = talkers([["castle", "a river", "castle"], ["castle"]])
    for _ in range(2):
        np.testing.assert_array_equal(model.embed(batch), [[13, 20], [6, 10]])
    assert sorted(asked) == ["a river", "castle"]
