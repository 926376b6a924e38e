"""Search and exports of a live build, through the command line."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from index.answers import NeighborAnswer, NeighborRequest
from index.config import IndexConfig
from index.service import LookalikeService
from jobs.export_features import read_user_ids
from store.audit import EVERYONE
from store.audit import read as read_audit
from store.database import Database
from store.workspace import Workspace
from tests.integration.jobs.conftest import WITH_RISK, invoke
from tests.integration.jobs.test_rebuild import live_build, some_users


def test_exported_vectors_are_those_of_the_build(built_workspace: Path, tmp_path: Path) -> None:
    file = tmp_path / "vectors.parquet"
    report = invoke("export", "vectors", "-o", file, "-w", built_workspace)
    table, build = pq.read_table(file), live_build(built_workspace)
    assert table.column_names == ["user_id", "vector", "num_events", "space_id"]
    assert table.schema.field("vector").type == pa.list_(pa.float32())
    assert table["user_id"].to_pylist() == build.users.ids.to_pylist()
    assert np.array_equal(np.array(table["vector"].to_pylist(), np.float32), build.vectors_ND)
    assert set(table["space_id"].to_pylist()) == {report["space_id"]}
    assert report["num_users"] == table.num_rows


def test_a_search_answers_as_the_service_does(built_workspace: Path) -> None:
    (user,) = some_users(live_build(built_workspace), 1)
    report = invoke("search", user, "-k", "5", "--known-violators", "-w", built_workspace)
    service = LookalikeService.open(Workspace.open(built_workspace), config=IndexConfig())
    request = NeighborRequest(k=5, known_violators=True)
    (answer,) = service.neighbors_of_users([user], request)
    assert isinstance(answer, NeighborAnswer)
    assert [hit["user_id"] for hit in report["neighbors"]] == [hit.user_id for hit in answer.hits]
    assert len(report["neighbors"]) == 5
    assert all(hit["known_violator"] and hit["user_id"] != user for hit in report["neighbors"])


def test_a_search_for_the_same_kind_weighs_the_blocks_otherwise(built_workspace: Path) -> None:
    (user,) = some_users(live_build(built_workspace), 1)
    asked = ("search", user, "-k", "5", "-w", built_workspace)
    plain, evader = invoke(*asked), invoke(*asked, "--purpose", "evader")
    kind = invoke(*asked, "--purpose", "same_kind")
    assert evader["neighbors"] == plain["neighbors"] != kind["neighbors"]
    assert (plain["purpose"], kind["purpose"], kind["search_mode"]) == (None, "same_kind", "exact")


def test_every_read_of_a_user_leaves_an_audit_row(workspace: Path, tmp_path: Path) -> None:
    invoke("rebuild", "-w", workspace)
    (user,) = some_users(live_build(workspace), 1)
    invoke("search", user, "-w", workspace)
    invoke("export", "vectors", "-o", tmp_path / "vectors.parquet", "-w", workspace)
    rows = read_audit(Database(Workspace.open(workspace).ops_url))
    assert [(row.action, row.subject) for row in rows] == [
        ("export vectors", EVERYONE),
        ("search", user),
    ]
    manifest = live_build(workspace).manifest
    assert rows[0].details["build_id"] == manifest.build_id
    assert rows[0].details["num_users"] == manifest.num_users
    assert all(row.key_name.startswith("terminal:") for row in rows)


def test_an_export_of_features_says_whose_were_read(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*WITH_RISK)
    invoke("rebuild", "-w", workspace)
    two = some_users(live_build(workspace), 2)
    users, file = tmp_path / "users.txt", tmp_path / "features.parquet"
    users.write_text("\n".join(two))
    database = Database(Workspace.open(workspace).ops_url)
    export = ("export", "features", "-o", file, "-w", workspace)
    invoke(*export, "--users", users)
    assert sorted(row.subject or "" for row in read_audit(database)) == two
    invoke(*export)
    invoke(*export, "--as-of", "2025-05-10")
    past, live = read_audit(database, limit=2)
    assert (past.subject, live.subject) == (EVERYONE, EVERYONE)
    assert live.details["num_users"] == live_build(workspace).manifest.num_users
    assert 0 < past.details["num_users"] <= live.details["num_users"]
    assert past.details["as_of"] == "2025-05-10T00:00:00+00:00"
    database.close()


def test_an_export_that_fails_leaves_no_file(built_workspace: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "vectors.parquet"
    error = invoke("export", "vectors", "-o", absent, "-w", built_workspace, status=1)["error"]
    assert "absent" in error
    assert list(tmp_path.iterdir()) == []


def test_without_a_live_build_the_remedy_is_told(trained_workspace: Path, tmp_path: Path) -> None:
    for command in (
        ["search", "ann"],
        ["export", "vectors", "-o", tmp_path / "vectors.parquet"],
        ["export", "features", "-o", tmp_path / "features.parquet"],
    ):
        error = invoke(*command, "-w", trained_workspace, status=1)["error"]
        assert 'run "lookalike rebuild"' in error


def test_exported_features_are_those_that_the_service_gives(
    built_workspace: Path, tmp_path: Path
) -> None:
    file, users = tmp_path / "features.parquet", tmp_path / "users.txt"
    known = some_users(live_build(built_workspace), 20)
    users.write_text("\n".join([*known[:10], "nobody", *known[10:]]) + "\n")
    report = invoke("export", "features", "--users", users, "-o", file, "-w", built_workspace)
    assert (report["num_users"], report["num_unknown"]) == (21, 1)
    service = LookalikeService.open(Workspace.open(built_workspace), config=IndexConfig())
    expected = service.features_of_users([*known[:10], "nobody", *known[10:]])
    written = pq.read_table(file)
    assert written.equals(expected)
    assert {key.decode(): value.decode() for key, value in written.schema.metadata.items()} == {
        "lookalike.build_id": service.build_id,
        "lookalike.space_id": service.space_id,
        "lookalike.data_as_of": service.data_as_of.isoformat(),
    }


def test_features_of_a_past_time_are_those_of_a_build_of_that_time(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live build knows more, and none of it may show."""
    monkeypatch.setenv(*WITH_RISK)
    past, live = tmp_path / "past.parquet", tmp_path / "live.parquet"
    invoke("rebuild", "-w", workspace)
    invoke("export", "features", "--as-of", "2025-05-10", "-o", past, "-w", workspace)
    builds = invoke("builds", "list", "-w", workspace)["builds"]
    assert len(builds) == 1, "an export publishes nothing"
    assert not list((workspace / "builds").glob(".staging-*")), "and leaves nothing behind"
    (workspace / "live.json").unlink()
    invoke("rebuild", "--as-of", "2025-05-10", "-w", workspace)
    invoke("export", "features", "-o", live, "-w", workspace)
    assert_same_but_for_rounding(pq.read_table(past), pq.read_table(live))


def assert_same_but_for_rounding(one: pa.Table, other: pa.Table) -> None:
    """Products are rounded by how many users are embedded together, on some processors."""
    assert one.schema.equals(other.schema)
    for name in one.column_names:
        if pa.types.is_floating(one.schema.field(name).type):
            np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=2e-5, err_msg=name)
        else:
            assert one[name].equals(other[name]), name


def test_features_of_a_time_before_any_model_are_refused_with_the_remedy(
    built_workspace: Path, tmp_path: Path
) -> None:
    file = tmp_path / "features.parquet"
    arguments = ["export", "features", "--as-of", "2025-04-01", "-o", file]
    error = invoke(*arguments, "-w", built_workspace, status=1)["error"]
    assert "every model saw later data" in error
    assert 'run "lookalike train --as-of' in error
    assert not file.exists()


def test_ids_are_read_as_they_are_written_whatever_unicode_calls_a_line(tmp_path: Path) -> None:
    users = tmp_path / "users.txt"
    users.write_bytes("\ufeffu1\r\na\u2028b\n\x1cc d \u0085\n\n".encode())
    assert read_user_ids(users) == ["u1", "a\u2028b", "\x1cc d \u0085"]


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\xff\xfe\x00", b"u1\na\0b\n", "漢".encode() * 867]
)
def test_a_list_without_users_is_refused(
    built_workspace: Path, tmp_path: Path, content: bytes
) -> None:
    users = tmp_path / "users.txt"
    users.write_bytes(content)
    arguments = ["export", "features", "--users", users, "-o", tmp_path / "features.parquet"]
    assert "users.txt" in invoke(*arguments, "-w", built_workspace, status=1)["error"]
