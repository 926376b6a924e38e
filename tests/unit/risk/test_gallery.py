import numpy as np
import pytest

from index.risk.gallery import AGES, WHOLE, age_of, members, usable_ages
from tests.unit.risk.reference_users import make_references, without


@pytest.mark.parametrize(
    ("num_events", "age"),
    [(1, 3), (2, 3), (3, 3), (4, 5), (7, 5), (8, 10), (14, 10), (15, 20), (32, 50), (71, WHOLE)],
)
def test_a_query_meets_the_gallery_of_the_nearest_age(num_events: int, age: int) -> None:
    ages = (*AGES, WHOLE)
    assert ages[age_of(np.array([num_events]), ages)[0]] == age


def test_with_few_ages_the_last_is_for_all_who_lived_longer() -> None:
    ages = (2, WHOLE)
    assert [ages[place] for place in age_of(np.array([1, 2, 14, 15, 99]), ages)] == [
        2,
        2,
        2,
        WHOLE,
        WHOLE,
    ]
    assert age_of(np.array([1, 1000]), (WHOLE,)).tolist() == [0, 0]


def test_a_gallery_holds_whoever_lived_past_the_age_before() -> None:
    inside = members(np.array([1, 2, 3, 5, 6, 60]), (2, 5, WHOLE))
    assert [rows.tolist() for rows in inside] == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5], [4, 5]]


def test_ages_at_which_a_class_is_missing_are_not_used() -> None:
    num_events = np.array([4] * 50 + [60] * 50)
    assert usable_ages(num_events, np.arange(100) % 2 == 0) == (*AGES, WHOLE)
    only_short_are_violators = np.arange(100) < 50
    assert usable_ages(num_events, only_short_are_violators) == (3, WHOLE)
    assert usable_ages(num_events, np.zeros(100, dtype=bool)) == (WHOLE,)


@pytest.mark.parametrize("seed", range(5))
def test_both_classes_are_in_every_gallery(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_events = np.ceil(rng.lognormal(1.5, 1.2, 200)).astype(np.int64)
    is_violator = rng.random(200) < 0.15
    ages = usable_ages(num_events, is_violator)
    for rows in members(num_events, ages):
        assert min(is_violator[rows].sum(), (~is_violator[rows]).sum()) >= 10


def test_the_base_rate_is_taken_by_votes_and_without_the_query() -> None:
    vote = np.ones(120)
    vote[1] = 4.0
    references = make_references(vote=vote)
    own = np.array([-1, 0, 1])
    expected = [40 / 123, 39 / 122, 40 / 119]
    assert references.base_rate_without(own) == pytest.approx(expected)
    alone = without(references, 0).base_rate_without(np.array([-1]))
    assert alone[0] == pytest.approx(expected[1])


def test_ids_are_found_and_strangers_are_not() -> None:
    references = make_references()
    assert references.find(["r0002", None, "nobody", "r0000"]).tolist() == [2, -1, -1, 0]
