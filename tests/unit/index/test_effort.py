import pytest

from index.effort import Effort


@pytest.mark.parametrize(
    ("k", "expected"), [(1, 20), (10, 20), (11, 22), (55, 110), (100, 200), (190, 380)]
)
def test_effort_lies_on_a_line_through_both_depths(k: int, expected: int) -> None:
    assert Effort(20, 200).at(k) == expected


def test_effort_is_rounded_up_so_that_no_depth_gets_less_than_its_share() -> None:
    assert Effort(4, 5).at(11) == 5
    assert Effort(4, 5).at(10) == 4


def test_one_effort_may_serve_all_depths() -> None:
    assert {Effort.same(8).at(k) for k in (1, 10, 100, 1_000)} == {8}
