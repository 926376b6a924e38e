from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from embedder.composite import unit_rows
from embedder.config import FeaturizerConfig
from embedder.featurizer import fit_featurizer, name_of_slots
from embedder.profiles import Floats, fit_profiles
from embedder.weighting import (
    DAY_US,
    are_apart,
    draw_look_alikes,
    learn_field_weights,
    look_alikes,
    solve_weights,
    weights_of_fields,
)
from store.schema import EventSchema, Role
from tests.unit.embedder.people import SCHEMA, make_people, with_column


def unit_noise(rng: np.random.Generator, count: int, dim: int) -> Floats:
    values = rng.normal(size=(count, dim))
    return unit_rows(values.astype(np.float32))


def test_the_telling_part_gets_the_weight_and_noise_hardly_any() -> None:
    rng = np.random.default_rng(0)
    own = unit_noise(rng, 300, 16)
    near = own + 0.3 * unit_noise(rng, 300, 16)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    same = np.tile(unit_noise(rng, 1, 16), (300, 1))
    first = [own, unit_noise(rng, 300, 16), same]
    second = [near, unit_noise(rng, 300, 16), same]
    weights = solve_weights(first, second, np.random.default_rng(1))
    assert weights.sum() == pytest.approx(1.0, abs=1e-5)
    assert weights[0] > 0.8
    assert weights[1:].max() < 0.1


def test_two_equally_telling_parts_share_the_weight() -> None:
    rng = np.random.default_rng(2)
    parts = [unit_noise(rng, 300, 12) for _ in range(2)]
    others = [part + 0.9 * unit_noise(rng, 300, 12) for part in parts]
    others = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in others]
    weights = solve_weights(parts, others, np.random.default_rng(3))
    assert weights == pytest.approx([0.5, 0.5], abs=0.1)


def test_habits_outweigh_a_column_of_dice() -> None:
    people = make_people(250, 5)
    dice = np.random.default_rng(0).integers(0, 6, len(people.ts_us)).astype(str)
    batch, schema = with_column(people, SCHEMA, "dice", Role.CATEGORY, pa.array(dice))
    featurizer = fit_featurizer(batch, schema, FeaturizerConfig(hash_buckets=64))
    events = featurizer.encode(batch)
    profiles = fit_profiles(featurizer, events, dim_target=256)
    learned, named = learn_field_weights(featurizer, events, profiles, np.random.default_rng(0))
    assert sum(named.values()) == pytest.approx(1.0, abs=1e-3)
    assert named["dice"] < 0.03
    assert min(named["page"], named["hour"]) > 3 * named["dice"]
    assert (learned.field_weights >= 0).all()


def test_too_few_users_leave_the_weights_equal() -> None:
    people = make_people(20, 5)
    featurizer = fit_featurizer(people, SCHEMA, FeaturizerConfig(hash_buckets=64))
    events = featurizer.encode(people)
    profiles = fit_profiles(featurizer, events, dim_target=64)
    learned, _ = learn_field_weights(featurizer, events, profiles, np.random.default_rng(0))
    assert (learned.field_weights == profiles.field_weights).all()
    assert learned.field_weights.sum() == pytest.approx(1.0)


def test_a_field_in_which_all_are_alike_has_next_to_no_weight() -> None:
    """Alone, the problem would rather have it than a field that tells users apart a little."""
    rng = np.random.default_rng(1)
    kinds = np.eye(2, dtype=np.float32)[rng.integers(0, 2, 300)]
    alike = np.ones((300, 1), dtype=np.float32)
    assert solve_weights([kinds, alike], [kinds, alike], np.random.default_rng(0))[1] > 0.1
    told = np.ones(2, bool)
    weights = weights_of_fields([kinds, alike], [kinds, alike], told, np.random.default_rng(0))
    assert weights == pytest.approx([0.999, 0.001], abs=1e-6)
    both = weights_of_fields([alike, alike], [alike, alike], told, np.random.default_rng(0))
    assert both.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("target", ["page", "hour"])
def test_lives_of_an_afternoon_give_the_clock_no_weight(target: str) -> None:
    people = make_people(250, 5)
    size = people.num_events
    place = np.arange(len(people.ts_us)) - np.repeat(people.offsets[:-1], size)
    begun = np.repeat(np.random.default_rng(0).integers(0, 24, 250) * DAY_US // 24, size)
    events = people.events.rename_columns({"page": target})
    hasty = replace(people, ts_us=begun + place * 60_000_000, events=events)
    schema = EventSchema(
        tuple(replace(one, name=target) if one.name == "page" else one for one in SCHEMA.columns)
    )
    featurizer = fit_featurizer(hasty, schema, FeaturizerConfig(hash_buckets=64))
    encoded = featurizer.encode(hasty)
    profiles = fit_profiles(featurizer, encoded, dim_target=256)
    _, named = learn_field_weights(featurizer, encoded, profiles, np.random.default_rng(0))
    assert named["hour"] + named["weekday"] < 0.01
    assert named[name_of_slots(target)] > 0.2


def test_halves_are_apart_when_a_day_lies_between_their_middles() -> None:
    ts_us = np.array([0, 1, 2, 3, 0, 1, DAY_US + 1, DAY_US + 2], dtype=np.int64)
    offsets = np.array([0, 4, 8])
    assert are_apart(ts_us, offsets, np.array([0, 1])).tolist() == [False, True]


def test_a_batch_holds_users_and_those_nearest_to_them() -> None:
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(40), 32)
    centres = unit_noise(rng, 40, 32)
    parts = [unit_rows(centres[group] + 0.1 * unit_noise(rng, len(group), 32))]
    nearest_NK = look_alikes(parts)
    assert (group[nearest_NK] == group[:, None]).all()
    rows = draw_look_alikes(nearest_NK, rng)
    assert len(rows) == len(set(rows.tolist()))
    _, count = np.unique(group[rows], return_counts=True)
    assert count.min() >= 16
