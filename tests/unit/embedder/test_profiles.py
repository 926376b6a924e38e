from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from embedder.config import FeaturizerConfig
from embedder.featurizer import EncodedEvents, Featurizer, fit_featurizer
from embedder.fields import HashedField
from embedder.hashing import MISSING, hash_column
from embedder.profiles import (
    Floats,
    ProfileModel,
    count_slots,
    event_chunks,
    fit_profiles,
    fit_rotation,
    profile_slots,
    random_signs,
    rows_of_users,
    sketch_tokens,
    user_chunks,
)
from store.sequences import SequenceBatch
from tests.unit.embedder.people import SCHEMA, make_people


@pytest.fixture(scope="module")
def people() -> SequenceBatch:
    return make_people(60, 7)


@pytest.fixture(scope="module")
def featurizer(people: SequenceBatch) -> Featurizer:
    return fit_featurizer(people, SCHEMA, FeaturizerConfig(hash_buckets=64))


@pytest.fixture(scope="module")
def events(people: SequenceBatch, featurizer: Featurizer) -> EncodedEvents:
    return featurizer.encode(people)


@pytest.fixture(scope="module")
def profiles(featurizer: Featurizer, events: EncodedEvents) -> ProfileModel:
    return fit_profiles(featurizer, events, dim_target=256)


def histograms_of(
    profiles: ProfileModel, featurizer: Featurizer, events: EncodedEvents
) -> tuple[Floats, list[Counter[int]]]:
    """Return the histograms, and each user's summed slot weights by a plain loop."""
    users = np.arange(len(events.offsets) - 1)
    rows, user_E = rows_of_users(events.offsets, users)
    ids, weights = profile_slots(featurizer, events, rows, events.offsets[users][user_E])
    counts: list[Counter[int]] = [Counter() for _ in users]
    for user, slots, parts in zip(user_E.tolist(), ids.tolist(), weights.tolist(), strict=True):
        for slot, part in zip(slots, parts, strict=True):
            counts[user][slot] += part
    return profiles.histograms((ids, weights), user_E, len(users)), counts


def test_histograms_are_those_of_a_plain_loop(
    profiles: ProfileModel, featurizer: Featurizer, events: EncodedEvents
) -> None:
    histograms, counts = histograms_of(profiles, featurizer, events)
    num_users = len(counts)
    having = Counter(slot for user in counts for slot, total in user.items() if total > 0)
    expected = np.zeros_like(histograms, dtype=np.float64)
    for user, slots in enumerate(counts):
        for field in profiles.fields:
            part = {
                slot: np.sqrt(slots[slot]) * (np.log((1 + num_users) / (1 + having[slot])) + 1)
                for slot in range(field.start, field.stop)
            }
            norm = np.sqrt(sum(value**2 for value in part.values()))
            for slot, value in part.items():
                expected[user, slot] = value / norm if norm else 0.0
    assert histograms == pytest.approx(expected, abs=1e-5)


def test_slots_of_no_profile_field_are_not_in_histograms(
    profiles: ProfileModel, featurizer: Featurizer, events: EncodedEvents
) -> None:
    histograms, _ = histograms_of(profiles, featurizer, events)
    position = next(field for field in featurizer.layout if field.name == "position")
    assert (histograms[:, position.start : position.stop] == 0).all()
    for field in profiles.fields:
        norms = np.linalg.norm(histograms[:, field.start : field.stop], axis=1)
        assert norms == pytest.approx(1.0, abs=1e-5), field.name


def test_counts_leave_out_slots_beyond_the_size() -> None:
    ids = np.array([[0, 5], [1, 1]], dtype=np.int32)
    weights = np.array([[1.0, 9.0], [0.5, 0.25]], dtype=np.float32)
    counts = count_slots((ids, weights), np.array([1, 0]), 3, 4)
    assert counts.tolist() == [[0, 0.75, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_inner_products_of_sketches_are_cosines_of_tfidf() -> None:
    rng = np.random.default_rng(0)
    num_users, num_values = 40, 60
    words = np.array([f"page {value}" for value in range(num_values)])
    user_E = np.sort(rng.integers(0, num_users, 800))
    value_E = (rng.integers(0, num_values, 800) * rng.random(800)).astype(np.int64)
    tokens = hash_column(pa.array(words[value_E].tolist()))
    frequency = {
        value: len({int(user) for user in user_E[value_E == value]}) for value in range(num_values)
    }
    hashes = hash_column(pa.array(words.tolist()))
    order = np.argsort(hashes)
    field = HashedField(
        "page", hashes[order], np.array([frequency[int(v)] for v in order]), num_users, True
    )
    exact = np.zeros((num_users, num_values))
    for user, value in zip(user_E.tolist(), value_E.tolist(), strict=True):
        exact[user, value] += 1
    idf = np.log((1 + num_users) / (1 + np.array(list(frequency.values())))) + 1
    exact = np.sqrt(exact) * idf
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    cosine = exact @ exact.T
    for dim, tolerance in ((256, 0.07), (2048, 0.025)):
        sketch = sketch_tokens(tokens, user_E, num_users, field, dim)
        error = np.abs(sketch @ sketch.T - cosine)
        assert np.sqrt((error**2).mean()) < tolerance
    assert np.corrcoef((sketch @ sketch.T).ravel(), cosine.ravel())[0, 1] > 0.98


def test_a_user_without_values_has_an_empty_sketch() -> None:
    field = HashedField("page", np.zeros(0, np.uint64), np.zeros(0, np.int64), 5, True)
    tokens = np.array([MISSING, 7], dtype=np.uint64)
    sketch = sketch_tokens(tokens, np.array([0, 1]), 3, field, 64)
    assert np.linalg.norm(sketch, axis=1) == pytest.approx([0.0, 1.0, 0.0], abs=1e-6)


def test_signs_are_balanced_and_of_nearly_orthogonal_values() -> None:
    signs = random_signs(np.arange(1, 301, dtype=np.uint64), 256)
    assert np.linalg.norm(signs, axis=1) == pytest.approx(1.0, abs=1e-5)
    cosine = signs @ signs.T - np.eye(300)
    assert np.abs(cosine).max() < 0.35
    assert abs(float(signs.mean())) < 0.002


def test_the_rotation_keeps_inner_products_where_it_keeps_all_directions(
    profiles: ProfileModel, featurizer: Featurizer, events: EncodedEvents
) -> None:
    histograms, _ = histograms_of(profiles, featurizer, events)
    full = fit_rotation(lambda: iter([histograms]), profiles, dim=10_000)
    weighted = histograms * profiles.slot_scale
    assert full.statistics(histograms) @ full.statistics(histograms).T == pytest.approx(
        weighted @ weighted.T, abs=1e-3
    )
    few = fit_rotation(lambda: iter([histograms]), profiles, dim=8)
    lost = few.statistics(histograms) @ few.statistics(histograms).T - weighted @ weighted.T
    values = np.sort(np.linalg.eigvalsh(weighted.astype(np.float64) @ weighted.T))[::-1]
    assert np.linalg.norm(lost) == pytest.approx(np.sqrt((values[8:] ** 2).sum()), rel=0.02)
    assert few.rotation_VD.shape[1] == 8


def test_with_many_slots_the_same_directions_are_found_without_all_pairs(
    profiles: ProfileModel,
    featurizer: Featurizer,
    events: EncodedEvents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    histograms, _ = histograms_of(profiles, featurizer, events)
    halves = np.array_split(histograms, 2)
    exact = fit_rotation(lambda: iter(halves), profiles, dim=8)
    monkeypatch.setattr("embedder.profiles.DENSE_SLOTS", 10)
    found = fit_rotation(lambda: iter(halves), profiles, dim=8)
    assert found.rotation_VD.T @ found.rotation_VD == pytest.approx(np.eye(8), abs=1e-5)
    assert np.linalg.norm(found.statistics(histograms)) == pytest.approx(
        np.linalg.norm(exact.statistics(histograms)), rel=1e-3
    )
    again = fit_rotation(lambda: iter(halves), profiles, dim=8)
    assert (again.rotation_VD == found.rotation_VD).all()


def test_field_weights_scale_what_fields_say(
    profiles: ProfileModel, featurizer: Featurizer, events: EncodedEvents
) -> None:
    only = np.zeros(len(profiles.names), dtype=np.float32)
    only[profiles.names.index("agent")] = 1.0
    one_field = profiles.weighted(only)
    histograms, _ = histograms_of(profiles, featurizer, events)
    agent = next(field for field in profiles.fields if field.name == "agent")
    scaled = histograms * one_field.slot_scale
    assert scaled[:, agent.start : agent.stop] == pytest.approx(
        histograms[:, agent.start : agent.stop]
    )
    scaled[:, agent.start : agent.stop] = 0
    assert not scaled.any()


def test_the_target_block_adds_sketches_by_weight(
    profiles: ProfileModel, events: EncodedEvents
) -> None:
    rows, user_E = rows_of_users(events.offsets, np.arange(60))
    (sketch,) = profiles.sketches(events, rows, user_E, 60)
    weight = profiles.field_weights[-1]
    assert profiles.target([sketch]) == pytest.approx(np.sqrt(weight) * sketch)


def test_users_are_cut_into_runs_that_cover_all() -> None:
    runs = user_chunks(5000)
    assert np.concatenate(runs).tolist() == list(range(5000))
    assert max(map(len, runs)) <= 2048
    assert user_chunks(0) == []


def test_runs_of_users_hold_few_events_unless_one_user_has_many() -> None:
    sizes = np.random.default_rng(0).integers(1, 400, 3000)
    sizes[1000] = 500_000
    runs = event_chunks(np.append(0, np.cumsum(sizes)))
    assert np.concatenate(runs).tolist() == list(range(3000))
    assert max(map(len, runs)) <= 2048
    assert sorted(sizes[run].sum() for run in runs)[-2] <= 131_072
    assert [1000] in [run.tolist() for run in runs]
    assert event_chunks(np.zeros(1, dtype=np.int64)) == []
