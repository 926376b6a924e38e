import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from index.answers import Filter
from index.build import load_build, write_build
from index.config import IndexConfig
from index.errors import MilvusNotConfigured
from index.milvus.client import MilvusServer
from index.milvus.config import MilvusConfig
from index.milvus.entities import EntityTable, policy_codes, sentinel_key
from index.milvus.expressions import EVERYONE, NOBODY, expression_of
from store.workspace import Workspace
from tests.index_fakes import NOW, build_input, unit_vectors

CODES = {"spam": 0, "theft": 1}
MOMENT = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Filter(), EVERYONE),
        (Filter(label=1), "violator == true"),
        (Filter(label=0), "benign == true"),
        (Filter(min_events=3, max_events=9), "num_events_max >= 3 and num_events_min <= 9"),
        (Filter(min_events=2**70), "num_events_max >= 9223372036854775807"),
        (Filter(first_seen_after=MOMENT), "first_us_max >= 1000000"),
        (Filter(last_seen_before=MOMENT), "last_us_min < 1000000"),
        (
            Filter(policies=("theft", "spam", "spam")),
            "violator == true and array_contains_any(policies, [0, 1])",
        ),
        (Filter(policies=('spam") or entry >= (0',)), NOBODY),
    ],
)
def test_a_filter_is_what_every_entry_fulfils_that_has_a_user_who_passes(
    condition: Filter, expected: str
) -> None:
    assert expression_of(condition, known_violators=False, codes=CODES) == expected


def test_known_violators_are_one_more_condition() -> None:
    found = expression_of(Filter(min_events=3), known_violators=True, codes=CODES)
    assert found == "violator == true and num_events_max >= 3"
    assert expression_of(None, known_violators=True, codes=CODES) == "violator == true"


def test_a_sentinel_is_no_entry_and_of_one_build() -> None:
    keys = {sentinel_key(f"b{number}") for number in range(1_000)}
    assert len(keys) == 1_000
    assert all(-(2**63) <= key < 0 for key in keys)


def test_an_entry_has_the_bounds_and_policies_of_all_its_users(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "workspace")
    vectors = unit_vectors(9)
    vectors[[6, 8]] = vectors[2]
    given = build_input(vectors, violators=[2, 8])
    table = given.users.set_column(
        given.users.schema.get_field_index("policy"),
        "policy",
        [["spam", None, "spam", None, None, None, None, None, "theft"]],
    )
    staged = write_build(workspace, replace(given, users=table), IndexConfig(), now=NOW)
    build = load_build(staged)
    codes = policy_codes(build.users)
    assert codes == {"spam": 0, "theft": 1}
    entities = EntityTable(build.users, build.entries, codes)
    assert entities.policies_max() == 2
    blocks = [entities.attributes(block) for block in (slice(0, 3), slice(3, 7))]
    columns = {key: [*blocks[0][key], *blocks[1][key]] for key in blocks[0]}
    assert columns["policies"] == [[0], [], [0, 1], [], [], [], []]
    assert columns["num_events_min"][2:] == [3, 4, 5, 6, 8]
    assert columns["num_events_max"][2:] == [9, 4, 5, 6, 8]
    assert columns["violator"] == [False, False, True, False, False, False, False]
    assert columns["benign"] == [True, True, True, True, True, False, True]


@pytest.mark.parametrize(
    "settings",
    [
        {"backend": "milvus"},
        {"milvus": {"uri": "http://root:Milvus@host:19530"}},
        {"backend": "milvus", "milvus": {"uri": "http://host:19530"}, "kind": "hnsw"},
    ],
    ids=["no address", "a secret in the address", "an index of this process"],
)
def test_settings_that_can_not_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"uri|token|kind"):
        IndexConfig.model_validate(settings)


def test_without_the_client_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(MilvusNotConfigured, match=r"constraints\.txt '\.\[milvus\]'"):
        MilvusServer(MilvusConfig(uri="http://127.0.0.1:1"))
