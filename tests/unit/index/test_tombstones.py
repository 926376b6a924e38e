import numpy as np
import pytest

from index.tombstones import Tombstones
from index.users import UserTable, conform_users
from tests.index_fakes import user_name, users_table


@pytest.fixture
def users() -> UserTable:
    return UserTable.of(conform_users(users_table(10)))


def test_erased_users_are_not_found_and_the_others_are(users: UserTable) -> None:
    hidden = Tombstones.none(10).adding(users, [user_name(3), user_name(9), "nobody"])
    asked = [user_name(row) for row in (0, 3, 8, 9)]
    assert hidden.rows_of(users, [*asked, "nobody"]).tolist() == [0, -1, 8, -1, -1]
    assert hidden.num_hidden == 2
    assert hidden.visible(np.arange(10)).tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert hidden.blank(np.array([[9, 8, -1], [3, 0, 3]])).tolist() == [[-1, 8, -1], [-1, 0, -1]]


def test_tombstones_add_up_and_the_same_ones_again_change_nothing(users: UserTable) -> None:
    first = Tombstones.none(10).adding(users, [user_name(3)])
    both = first.adding(users, [user_name(3), user_name(4)])
    assert both.visible(np.arange(10)).tolist() == [0, 1, 2, 5, 6, 7, 8, 9]
    assert first.num_hidden == 1, "what is in use is never changed"
    assert both.adding(users, [user_name(4)]) is both
    assert both.adding(users, ["nobody"]).num_hidden == 2


def test_without_tombstones_arrays_are_passed_through(users: UserTable) -> None:
    rows = np.array([1, -1, 2])
    assert Tombstones.none(10).blank(rows) is rows
    assert Tombstones.none(10).visible(rows) is rows
    assert Tombstones.none(10).num_expected(1000) == 0


def test_expected_hidden_neighbors_follow_the_share(users: UserTable) -> None:
    hidden = Tombstones.none(10).adding(users, [user_name(row) for row in (1, 2)])
    assert [hidden.num_expected(k) for k in (1, 5, 10)] == [1, 1, 2]
