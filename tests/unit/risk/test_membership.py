import numpy as np
import pyarrow as pa

from index.risk.membership import RingMembership

BUILD = RingMembership(
    pa.array(["a", "b", "c", "d", "e"], pa.string()),
    np.array([1, 0, -1, 1, -1]),
    np.array([True, False, True, False, False]),
    5,
)


def test_rings_are_found_by_id() -> None:
    assert BUILD.of(pa.array(["d", "stranger", "c", "a"])).tolist() == [1, -1, -1, 1]
    assert RingMembership.nobody().of(pa.array(["a"], pa.string())).tolist() == [-1]


def test_users_are_asked_about_their_own_rings() -> None:
    asked = BUILD.asked(["a", "c", None, "stranger", "d"])
    assert asked.ring_Q.tolist() == [1, -1, -1, -1, 1]
    assert asked.is_member_Q.tolist() == [True, False, False, False, True]
    assert asked.is_violator_Q.tolist() == [True, True, False, False, False]
    nobody = RingMembership.nobody().asked(["a", None])
    assert nobody.ring_Q.tolist() == [-1, -1]


def test_rates_among_some_know_nothing_of_the_others() -> None:
    everyone, some = BUILD.rates(), BUILD.rates_among(np.array([False, True, True, True, True]))
    assert everyone.users_R.tolist() == [1, 2]
    assert everyone.violators_R.tolist() == [0, 1]
    assert some.users_R.tolist() == [1, 1]
    assert some.violators_R.tolist() == [0, 0]
    assert (some.num_users, some.num_violators) == (4, 1)


def test_only_members_and_violators_are_kept() -> None:
    kept = BUILD.those_who_count()
    assert kept.user_ids.to_pylist() == ["a", "b", "c", "d"]
    assert kept.num_users == 5
