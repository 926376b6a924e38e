"""Models on disk: what is written is what is read, and damage is noticed."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from embedder.embedder import Embedder
from embedder.errors import ModelCorrupt, ModelMissing
from embedder.model_files import (
    MANIFEST,
    WEIGHTS,
    list_models,
    newest_model,
    read_manifest,
    space_of,
    write_model,
)
from store.sequences import SequenceBatch
from tests.integration.embedder.small_models import AS_OF, fit_small, train_small
from tests.unit.embedder.people import SCHEMA, make_people


@pytest.fixture(scope="module")
def people() -> SequenceBatch:
    return make_people(150, 12)


@pytest.fixture(scope="module")
def label(people: SequenceBatch) -> np.ndarray:
    return (np.arange(people.num_users) % 2).astype(np.int64)


@pytest.fixture(scope="module")
def trained(
    people: SequenceBatch, label: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return train_small(people, SCHEMA, tmp_path_factory.mktemp("models"), label=label)


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of the model, to be damaged at will."""
    return Path(shutil.copytree(trained, tmp_path / trained.name))


def test_the_folder_is_named_by_the_space(trained: Path) -> None:
    assert Embedder.load(trained).space_id == trained.name == read_manifest(trained)["space_id"]
    assert sorted(path.name for path in trained.iterdir()) == [MANIFEST, WEIGHTS]


def test_a_model_read_twice_gives_the_same_vectors(trained: Path, people: SequenceBatch) -> None:
    first, second = (Embedder.load(trained).embed(people) for _ in range(2))
    assert (first == second).all()


def test_a_model_of_before_purposes_still_loads(model: Path, people: SequenceBatch) -> None:
    manifest = read_manifest(model)
    purposes = manifest["model"].pop("purposes")
    checksum = manifest["checksums"][WEIGHTS]
    manifest["space_id"] = space_of(checksum, manifest["model"], manifest["schema"])
    assert manifest["space_id"] != model.name, "purposes are part of the space's name"
    (model / MANIFEST).write_text(json.dumps(manifest))
    old = Embedder.load(model)
    assert old.purposes == {}
    assert purposes["same_kind"].keys() == {block.name for block in old.blocks}
    assert old.embed(people).shape == (people.num_users, old.dim)


def test_equal_data_and_seed_give_the_same_space_and_another_seed_another(
    trained: Path, people: SequenceBatch, label: np.ndarray, tmp_path: Path
) -> None:
    again = train_small(people, SCHEMA, tmp_path, label=label)
    other = train_small(people, SCHEMA, tmp_path, label=label, seed=1)
    assert again.name == trained.name
    assert (again / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()
    assert other.name != trained.name


def test_labels_held_out_of_supervision_change_nothing(
    trained: Path, people: SequenceBatch, label: np.ndarray, tmp_path: Path
) -> None:
    held_out = Embedder.load(trained).held_out(pa.array(people.user_ids, pa.string()))
    shuffled = label.copy()
    shuffled[held_out] = np.random.default_rng(0).permutation(label[held_out])
    assert (shuffled != label).any()
    assert train_small(people, SCHEMA, tmp_path, label=shuffled).name == trained.name
    told = np.where(held_out, label, 1 - label)
    assert train_small(people, SCHEMA, tmp_path, label=told).name != trained.name


def test_a_model_that_is_there_already_is_left_as_it_is(
    model: Path, people: SequenceBatch, label: np.ndarray
) -> None:
    before = (model / MANIFEST).read_bytes()
    fitted = fit_small(people, SCHEMA, label=label)
    about = {"schema": SCHEMA.to_dict(), "as_of": (AS_OF + timedelta(days=1)).isoformat()}
    assert write_model(model.parent, fitted.parts, fitted.composer, about=about) == model
    assert (model / MANIFEST).read_bytes() == before


def test_a_model_trained_again_as_of_an_earlier_time_serves_that_time_too(
    model: Path, people: SequenceBatch, label: np.ndarray
) -> None:
    earlier = AS_OF - timedelta(days=1)
    fitted = fit_small(people, SCHEMA, label=label)
    about = {"schema": SCHEMA.to_dict(), "as_of": earlier.isoformat()}
    write_model(model.parent, fitted.parts, fitted.composer, about=about)
    assert newest_model(model.parent, as_of=earlier) == model
    assert Embedder.load(model).as_of == earlier


@pytest.mark.parametrize("place", [0, 8, 500, -1])
def test_a_flipped_byte_is_noticed(model: Path, place: int) -> None:
    content = bytearray((model / WEIGHTS).read_bytes())
    content[place] ^= 1
    (model / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelCorrupt, match=r"weights\.safetensors"):
        Embedder.load(model)


def test_a_cut_or_missing_weights_file_is_noticed(model: Path) -> None:
    content = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelCorrupt):
        Embedder.load(model)
    (model / WEIGHTS).unlink()
    with pytest.raises(ModelCorrupt):
        Embedder.load(model)


@pytest.mark.parametrize("part", ["blocks", "shrink_events", "target", "hash_buckets"])
def test_a_changed_description_is_noticed(model: Path, part: str) -> None:
    manifest = json.loads((model / MANIFEST).read_text())
    manifest["model"][part] = None
    (model / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelCorrupt, match="changed"):
        Embedder.load(model)


def test_a_model_of_before_clocks_were_refused_and_sentences_heard_gives_the_same_vectors(
    model: Path, people: SequenceBatch
) -> None:
    vectors = Embedder.load(model).embed(people)
    manifest = json.loads((model / MANIFEST).read_text())
    del manifest["model"]["has_clock"], manifest["model"]["opinion"]["sentences"]
    checksum = manifest["checksums"][WEIGHTS]
    manifest["space_id"] = space_of(checksum, manifest["model"], manifest["schema"])
    (model / MANIFEST).write_text(json.dumps(manifest))
    np.testing.assert_array_equal(Embedder.load(model).embed(people), vectors)


def test_a_manifest_that_is_no_json_or_of_another_format_is_refused(model: Path) -> None:
    (model / MANIFEST).write_text('{"format_version": 99}')
    with pytest.raises(ModelCorrupt, match="99"):
        Embedder.load(model)
    (model / MANIFEST).write_text("{")
    with pytest.raises(ModelCorrupt):
        Embedder.load(model)


def test_where_there_is_no_model_the_remedy_is_named(tmp_path: Path) -> None:
    for load in (lambda: Embedder.load(tmp_path), lambda: newest_model(tmp_path, as_of=AS_OF)):
        with pytest.raises(ModelMissing, match="lookalike train"):
            load()
    assert list_models(tmp_path / "nowhere") == []


def test_only_models_that_saw_nothing_later_are_used(model: Path) -> None:
    assert newest_model(model.parent, as_of=AS_OF) == model
    with pytest.raises(ModelMissing, match="every model saw later data"):
        newest_model(model.parent, as_of=AS_OF - timedelta(seconds=1))


def test_half_written_models_are_not_listed(model: Path) -> None:
    (model.parent / ".abc.staged").mkdir()
    (model.parent / "empty").mkdir()
    assert [one["space_id"] for one in list_models(model.parent)] == [model.name]


DAMAGES = {
    "missing": None,
    "empty": b"",
    "cut": b'{"format_version": 1, "space_id": "abc", "creat',
    "no object": b"[1]",
    "no text": b"\xff\xfe",
    "without a time": b'{"format_version": 1, "model": {}, "schema": {}, "space_id": "a",'
    b' "checksums": {"weights.safetensors": "ab"}, "created_at": "2026-01-01"}',
    "of a later version": b'{"format_version": 99}',
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_model_is_passed_over_with_a_warning_and_refused_when_named(
    model: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = model.parent / "0damaged"
    damaged.mkdir()
    if damage is not None:
        (damaged / MANIFEST).write_bytes(damage)
    assert newest_model(model.parent, as_of=AS_OF) == model
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("model 0damaged is passed over: ")
    with pytest.raises((ModelCorrupt, ModelMissing), match="0damaged") as refused:
        Embedder.load(damaged)
    assert "\n" not in str(refused.value)


def test_where_every_model_is_damaged_that_is_said(model: Path) -> None:
    (model / MANIFEST).write_bytes(b"{")
    with pytest.raises(ModelMissing, match="every model is damaged"):
        newest_model(model.parent, as_of=AS_OF)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS])
def test_training_again_repairs_a_damaged_model(
    model: Path, people: SequenceBatch, label: np.ndarray, name: str
) -> None:
    """Equal data give the same space, so the damaged folder is in the way of its own remedy."""
    for damage in (lambda file: file.write_bytes(b"{"), Path.unlink):
        damage(model / name)
        again = train_small(people, SCHEMA, model.parent, label=label)
        assert Embedder.load(again).space_id == model.name
