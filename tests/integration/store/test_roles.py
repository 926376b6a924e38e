"""The inferred roles of columns, and the operator's word against them."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store.config import SchemaConfig
from store.errors import LakeEmpty, SchemaOverrideError
from store.lake import EventLake
from store.roles import infer_schema
from store.schema import EventSchema, Role
from store.workspace import Workspace
from tests.integration.store.files import NOW, add_events, event, ingest, write_parquet

NUM_EVENTS = 3000
Value = Callable[[int, np.random.Generator], Any]

COLUMNS: dict[str, tuple[Value, set[str]]] = {
    "flag": (lambda i, rng: bool(rng.integers(0, 2)), {"flag"}),
    "zero_one": (lambda i, rng: int(rng.integers(0, 2)), {"flag"}),
    "constant": (lambda i, rng: "same", {"ignore"}),
    "constant_number": (lambda i, rng: 7, {"ignore"}),
    "often_missing": (lambda i, rng: "x" if i % 3 else None, {"ignore"}),
    "amount": (lambda i, rng: float(rng.normal()), {"number"}),
    "count": (lambda i, rng: int(rng.integers(0, 1000)), {"number"}),
    "level": (lambda i, rng: int(rng.integers(0, 20)), {"category", "number"}),
    "region": (lambda i, rng: f"r{rng.integers(0, 12)}", {"category"}),
    "page": (lambda i, rng: f"p{rng.integers(0, 900)}", {"target"}),
    "section": (lambda i, rng: f"s{rng.integers(0, 200)}", {"category"}),
    "session": (lambda i, rng: f"{i % 100}-{i // 1000}", {"category"}),
    "request": (lambda i, rng: rng.bytes(8).hex(), {"ignore"}),
    "message": (
        lambda i, rng: " ".join(f"w{word}" for word in rng.integers(0, 500, 8)),
        {"text"},
    ),
    "canned": (lambda i, rng: f"one of a few answers {rng.integers(0, 9)}", {"category"}),
    "seen_at": (lambda i, rng: datetime(2024, 1, 1 + i % 28, tzinfo=UTC), {"ignore"}),
    "event_id": (lambda i, rng: f"id{i}", {"ignore"}),
    "leak_label": (lambda i, rng: i % 2, set()),
}


def make_rows(columns: dict[str, Value], num_events: int = NUM_EVENTS) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    return [
        event(
            f"u{number % 100}",
            number,
            **{name: value(number, rng) for name, value in columns.items()},
        )
        for number in range(num_events)
    ]


def infer(workspace: Workspace, **config: Any) -> EventSchema:
    return infer_schema(EventLake(workspace), as_of=NOW, config=SchemaConfig(**config))


def test_every_kind_of_column_gets_its_role(workspace: Workspace, tmp_path: Path) -> None:
    rows = make_rows({name: value for name, (value, _) in COLUMNS.items()})
    ingest(workspace, write_parquet(tmp_path / "a.parquet", rows))
    expected = {name: sorted(roles) for name, (_, roles) in COLUMNS.items() if roles}
    schema = infer(workspace)
    assert schema.to_dict() == expected | {"event_type": ["category"]}
    assert schema.target == "page"
    assert [column.name for column in schema.columns] == sorted(schema.to_dict())
    assert EventSchema.from_dict(schema.to_dict()) == schema


def test_titles_are_target_and_text(workspace: Workspace) -> None:
    titles: Value = lambda i, rng: f"The title {rng.integers(0, 500)}"  # noqa: E731
    add_events(workspace, "a", make_rows({"title": titles}, 2000))
    assert infer(workspace).to_dict()["title"] == ["target", "text"]


def test_a_column_that_users_do_not_share_is_no_target(workspace: Workspace) -> None:
    own: Value = lambda i, rng: f"own page of {i % 100} {i % 7}"  # noqa: E731
    add_events(workspace, "a", make_rows({"page": own}, 1500))
    assert infer(workspace).target is None


@pytest.fixture
def small(workspace: Workspace) -> Workspace:
    names = ("page", "region", "amount", "level", "leak_label", "event_id")
    add_events(workspace, "a", make_rows({name: COLUMNS[name][0] for name in names}, 1500))
    return workspace


def test_the_operators_roles_win(small: Workspace) -> None:
    schema = infer(small, target="region", roles={"page": ["category", "text"], "level": "ignore"})
    assert schema.to_dict() == {
        "amount": ["number"],
        "event_id": ["ignore"],
        "event_type": ["category"],
        "level": ["ignore"],
        "page": ["category", "text"],
        "region": ["target"],
    }
    by_role = infer(small, roles={"region": ["target", "category"]})
    assert by_role.target == "region"
    assert by_role.to_dict()["page"] == ["category"]
    assert infer(small, roles={"page": "category"}).target is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"target": "pages"}, r"names the column pages.*columns are: amount, level, page, region"),
        ({"roles": {"absent": "text"}}, "names the column absent"),
        ({"roles": {"leak_label": "flag"}}, "names the column leak_label"),
        ({"roles": {"event_id": "category"}}, "names the column event_id"),
        ({"roles": {"event_type": "ignore"}}, "names the column event_type"),
        ({"target": "page", "roles": {"region": "target"}}, "makes 2 columns the target"),
        ({"roles": {"page": "target", "region": "target"}}, "page, region"),
        ({"roles": {"page": ["ignore", "text"]}}, "both ignores and uses"),
        ({"target": "page", "roles": {"page": "ignore"}}, "both ignores and uses"),
    ],
)
def test_overrides_that_can_not_be_meant_are_refused(
    small: Workspace, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(SchemaOverrideError, match=message):
        infer(small, **config)


def test_an_empty_lake_has_no_schema(workspace: Workspace) -> None:
    with pytest.raises(LakeEmpty, match="no events before"):
        infer(workspace)


def test_a_large_lake_is_sampled_by_whole_users(small: Workspace) -> None:
    lake = EventLake(small)
    full = lake.profile(as_of=NOW, sample_events_max=10**6)
    sampled = lake.profile(as_of=NOW, sample_events_max=500)
    assert sampled == lake.profile(as_of=NOW, sample_events_max=500)
    assert full.num_events == sampled.num_events == 1500
    page, amount = (
        next(column for column in profile.columns if column.name == "page")
        for profile in (full, sampled)
    )
    assert page.num_values == 1500
    assert 150 < amount.num_values < 900
    assert amount.num_values % 15 == 0
    assert Role.TARGET in infer(small).columns[-2].roles
