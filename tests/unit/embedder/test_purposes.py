from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from embedder.composite import unit_rows
from embedder.embedder import raw_blocks
from embedder.halves import Halves, at_new_targets
from embedder.profiles import Floats
from embedder.purposes import SAME_KIND, TARGET
from embedder.training import Trained
from index.purposes import scale_of
from store.sequences import SequenceBatch
from tests.integration.embedder.small_models import fit_small
from tests.unit.embedder.people import SCHEMA, make_people


def make_travellers(num_users: int, seed: int) -> SequenceBatch:
    """Return people of habits who go to their few pages, and later to new ones as well."""
    people = make_people(num_users, seed, mean_events=24.0)
    rng = np.random.default_rng(seed)
    size = people.num_events
    place_E = np.arange(len(people.ts_us)) - np.repeat(people.offsets[:-1], size)
    goes_on = (place_E >= np.repeat(size // 2, size)) & (rng.random(len(place_E)) < 0.6)
    elsewhere = pa.array([f"page {page}" for page in rng.integers(10_000, 10_200, len(place_E))])
    page = pc.if_else(pa.array(goes_on), elsewhere, people.events["page"])
    where = people.events.schema.get_field_index("page")
    return replace(people, events=people.events.set_column(where, "page", page))


def halves_of(batch: SequenceBatch) -> Halves:
    rows, middle = np.arange(batch.num_users), batch.num_events // 2
    halves = Halves(batch.take(rows, stop=middle), batch.take(rows, start=middle))
    return at_new_targets(halves, "page", events_min=3)


def hit_at_1(first: Floats, second: Floats) -> float:
    return float(((first @ second.T).argmax(axis=1) == np.arange(len(first))).mean())


@pytest.fixture(scope="module")
def trained() -> Trained:
    return fit_small(make_travellers(1500, 3), SCHEMA)


def test_the_same_kind_does_not_lean_on_targets_where_the_vector_does(trained: Trained) -> None:
    weights = trained.composer.purposes[SAME_KIND]
    own = {block.name: block.weight for block in trained.composer.blocks}
    assert weights.keys() == own.keys()
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-5)
    assert own[TARGET] > 0.2
    assert weights[TARGET] < own[TARGET] / 5
    assert weights == pytest.approx(trained.metrics["purpose_weights"][SAME_KIND], abs=1e-4)


def test_strangers_at_new_pages_are_found_better_by_their_kind(trained: Trained) -> None:

    halves = halves_of(make_travellers(400, 8))
    composer = trained.composer
    first, second = (
        composer.compose(raw_blocks(trained.parts, half, torch.device("cpu")), half.num_events)
        for half in (halves.first, halves.second)
    )
    root_D = np.sqrt(scale_of(composer.blocks, composer.purposes[SAME_KIND]))
    as_stored = hit_at_1(first, second)
    assert hit_at_1(unit_rows(first * root_D), unit_rows(second * root_D)) > 1.2 * as_stored


def test_who_never_goes_anywhere_new_leaves_the_vector_without_targets() -> None:
    composer = fit_small(make_people(150, 12), SCHEMA).composer
    own = {block.name: block.weight for block in composer.blocks}
    weights = composer.purposes[SAME_KIND]
    assert weights[TARGET] == 0.0
    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights["statistics"] / weights["behavior"] == pytest.approx(
        own["statistics"] / own["behavior"]
    )


def test_events_at_pages_of_the_first_half_are_dropped() -> None:
    people = make_travellers(50, 1)
    halves = halves_of(people)
    for row in range(halves.first.num_users):
        one = halves.rows(np.array([row]))
        pages = [set(half.events["page"].to_pylist()) for half in (one.first, one.second)]
        assert not pages[0] & pages[1]
        assert one.second.num_events[0] >= 3
