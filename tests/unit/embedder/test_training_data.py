from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from embedder.errors import NotEnoughData
from embedder.training_data import ALWAYS_KNOWN_US, join_labels, joined, sample_users
from store.labels import LabelView
from tests.unit.embedder.people import make_people

IDS = [f"u{place:03d}" for place in range(100)]


def view_of(rows: Sequence[dict[str, Any]]) -> LabelView:
    schema = pa.schema(
        [
            ("user_id", pa.string()),
            ("label", pa.int8()),
            ("policy", pa.string()),
            ("group", pa.string()),
            ("occurred_at_us", pa.int64()),
            ("known_at_us", pa.int64()),
        ]
    )
    return LabelView(pa.Table.from_pylist(sorted(rows, key=lambda row: row["user_id"]), schema))


def test_labels_are_joined_by_user_in_the_order_asked() -> None:
    rows = [{"user_id": "u003", "label": 1, "policy": "spam", "known_at_us": 7}]
    rows += [{"user_id": one, "label": 0} for one in IDS[10:70]]
    labels = join_labels(pa.array(["nobody", *IDS[::-1]]), view_of(rows))
    asked = ["nobody", *IDS[::-1]]
    expected = {"u003": 1} | dict.fromkeys(IDS[10:70], 0)
    assert labels.label.tolist() == [expected.get(one, -1) for one in asked]
    assert [one for one, kind in zip(asked, labels.kind, strict=True) if kind >= 0] == ["u003"]
    known = dict(zip(asked, labels.known_at_us.tolist(), strict=True))
    assert (known["u003"], known["u050"]) == (7, ALWAYS_KNOWN_US)


def test_kinds_are_policies_or_groups_and_do_not_depend_on_the_order() -> None:
    rows: list[dict[str, Any]] = [
        {"user_id": "u000", "label": 1, "policy": "spam"},
        {"user_id": "u001", "label": 1, "group": "ring 7"},
        {"user_id": "u002", "label": 1, "policy": "spam", "group": "ring 7"},
        {"user_id": "u003", "label": 1},
    ]
    forward = join_labels(pa.array(IDS[:4]), view_of(rows)).kind
    backward = join_labels(pa.array(IDS[3::-1]), view_of(rows)).kind
    assert forward.tolist() == backward[::-1].tolist()
    assert forward[0] == forward[2] != forward[1]
    assert len(set(forward.tolist())) == 3


def test_where_benign_labels_are_few_everybody_not_known_is_an_other() -> None:
    labels = join_labels(pa.array(IDS), view_of([{"user_id": "u001", "label": 1}]))
    assert labels.label.tolist() == [int(one == "u001") for one in IDS]


@pytest.mark.parametrize(
    ("num_benign", "benign_min", "unlabelled"), [(4, 5, 0), (5, 5, -1), (0, 0, -1), (0, 1, 0)]
)
def test_how_many_benign_labels_are_few_is_a_setting(
    num_benign: int, benign_min: int, unlabelled: int
) -> None:
    rows: list[dict[str, Any]] = [{"user_id": "u000", "label": 1}]
    rows += [{"user_id": one, "label": 0} for one in IDS[1 : 1 + num_benign]]
    labels = join_labels(pa.array(IDS), view_of(rows), benign_min=benign_min)
    assert labels.label.tolist() == [1, *[0] * num_benign, *[unlabelled] * (99 - num_benign)]


def test_without_labels_nothing_is_known() -> None:
    labels = join_labels(pa.array(IDS), view_of([]))
    assert set(labels.label.tolist()) == {-1}
    assert set(labels.kind.tolist()) == {-1}


def test_a_group_alone_says_nothing_of_guilt() -> None:
    rows: list[dict[str, Any]] = [{"user_id": "u001", "label": None, "group": "home"}]
    labels = join_labels(pa.array(IDS[:3]), view_of(rows))
    assert labels.label.tolist() == [-1, -1, -1]


def test_joining_batches_gives_the_batch_they_came_from() -> None:
    people = make_people(30, 1)
    cut = [people.take(np.arange(first, first + 10)) for first in (0, 10, 20)]
    whole = joined(cut)
    assert list(whole.user_ids) == list(people.user_ids)
    assert whole.offsets.tolist() == people.offsets.tolist()
    assert whole.ts_us.tolist() == people.ts_us.tolist()
    assert whole.events.combine_chunks().equals(people.events.combine_chunks())
    assert joined(cut[:1]) is cut[0]


def test_a_sample_fits_the_budget_and_violators_get_half_of_it() -> None:
    rng = np.random.default_rng(0)
    users = pa.table({"user_id": IDS, "num_events": rng.integers(1, 20, len(IDS))})
    view = view_of([{"user_id": one, "label": 1} for one in IDS[:10]])
    sample = sample_users(users, view, 200, seed=3)
    assert 150 < sum(sample["num_events"].to_pylist()) <= 200
    violators = [one for one in sample["user_id"].to_pylist() if one in IDS[:10]]
    assert len(violators) >= 5
    assert sample.equals(sample_users(users, view, 200, seed=3))
    assert not sample.equals(sample_users(users, view, 200, seed=4))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("is_banned", [False, True])
def test_one_bot_with_most_of_the_events_crowds_nobody_out(seed: int, is_banned: bool) -> None:
    ids = [f"user-{number:04}" for number in range(1000)]
    sizes = np.full(len(ids), 20)
    sizes[500] = 50_000
    users = pa.table({"user_id": ids, "num_events": sizes})
    banned = ids[480:520] if is_banned else ids[:40]
    sample = sample_users(
        users, view_of([{"user_id": one, "label": 1} for one in banned]), 8000, seed
    )
    assert "user-0500" not in sample["user_id"].to_pylist()
    assert sample.num_rows == 400
    assert len(set(banned) & set(sample["user_id"].to_pylist())) >= 39


def test_a_sample_of_nearly_nobody_is_refused() -> None:
    users = pa.table({"user_id": IDS, "num_events": np.full(len(IDS), 500)})
    with pytest.raises(NotEnoughData, match="only 0 users of two events or more fit"):
        sample_users(users, view_of([]), 1000, seed=0)
