from datetime import UTC, datetime

import pytest

from index.answers import Filter, NeighborRequest
from index.errors import InvalidRequest


@pytest.mark.parametrize("k", [0, -1, 1_001, 10**9])
def test_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(InvalidRequest, match="k must be 1 to 1000") as caught:
        NeighborRequest(k=k)
    assert caught.value.pointer == "k"


@pytest.mark.parametrize("ef_search", [0, 10**9])
def test_beam_out_of_range_is_refused(ef_search: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        NeighborRequest(ef_search=ef_search)
    assert caught.value.pointer == "params/ef_search"


def test_limits_are_allowed() -> None:
    assert NeighborRequest(k=1).k == 1
    assert NeighborRequest(k=1_000, ef_search=4_096).ef_search == 4_096


def test_time_without_zone_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Filter(last_seen_before=datetime(2026, 1, 1))  # noqa: DTZ001  # what is refused
    assert caught.value.pointer == "filter/last_seen_before"
    Filter(last_seen_before=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("num", [0, 101])
def test_number_of_policies_is_bounded(num: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Filter(policies=("spam",) * num)
    assert caught.value.pointer == "filter/policies"


@pytest.mark.parametrize("members", [-1, 1_001, 500])
def test_members_out_of_range_are_refused(members: int) -> None:
    with pytest.raises(InvalidRequest, match="members must be 0 to 400 for a k of 25") as caught:
        NeighborRequest(k=25, count="behaviors", members=members)
    assert caught.value.pointer == "members"


def test_members_are_of_behaviors() -> None:
    assert NeighborRequest(k=10, count="behaviors", members=1_000).members == 1_000
    with pytest.raises(InvalidRequest, match='members need count "behaviors"'):
        NeighborRequest(members=1)
